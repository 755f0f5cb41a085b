"""Attention over packed rows by cuDNN's kernel for sequences that begin at given offsets (NVIDIA GPUs from Hopper on).

Without it a packed row's segments are a bias on all pairs of its tokens, which takes about five times as long at 4,096 tokens.
JAX contains the call, but `jax.nn.dot_product_attention` does not hand the offsets on, and what is private can change. So the
kernel is used only after it has agreed with XLA's attention once in this process, on the device at hand, forward and backward.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.errors import first_line

MOST_SEGMENTS = 32
"""Segments of a row that the kernel is built for. It takes longer with a larger number, also where there are fewer segments."""
AGREEMENT = 2e-2
"""Largest relative difference to XLA's attention in float32 that bfloat16 explains."""


@functools.cache
def kernel() -> Any:
    """The module of JAX that calls cuDNN; None where it is not to be used, and the log says why."""
    if jax.default_backend() != "gpu" or not re.match(r"9|1\d", jax.local_devices()[0].compute_capability):
        return None
    try:
        from jax._src.cudnn import fused_attention_stablehlo as own
    except ImportError as error:
        reason = str(error)
    else:
        reason = disagreement(own)
    if reason:
        logging.getLogger(__name__).warning("packed attention: segments become a bias on all pairs, since %s", reason)
        return None
    return own


def disagreement(own: Any) -> str:
    """Why the call is not to be trusted: it fails, or differs from XLA's attention on two small packed rows. Empty where it is.

    May be asked while a program is traced: what it computes is computed at once.
    """
    ids = np.zeros((2, 256), np.int32)
    ids[0, :193], ids[1] = np.repeat([1, 2, 3], [100, 3, 90]), 1
    rng = np.random.default_rng(0)
    real = (ids > 0)[..., None, None]
    seen = (ids[:, :, None] == ids[:, None, :])[:, None]

    def theirs(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, mask=jnp.asarray(seen), is_causal=True, implementation="xla")

    def both(attend, q, k, v, g):
        out, pull = jax.vjp(attend, q, k, v)
        return out, *pull(g.astype(out.dtype))

    try:
        if not {"q_offsets", "kv_offsets"} <= inspect.signature(own.dot_product_attention).parameters.keys():
            return "this version of JAX takes no offsets"
        with jax.ensure_compile_time_eval(), jax.default_matmul_precision("highest"):
            q, k, v, g = (jnp.asarray(rng.standard_normal((2, 256, 2, 64)), jnp.bfloat16) for _ in range(4))
            g = jnp.where(real, g, 0)
            found = jax.jit(lambda *x: both(lambda q, k, v: attend(own, q, k, v, True, jnp.asarray(ids), 0.125), *x))
            expected = jax.jit(lambda *x: both(theirs, *x))
            wide = [x.astype(jnp.float32) for x in (q, k, v, g)]
            pairs = [
                (np.where(real, np.asarray(a, np.float32), 0), np.where(real, np.asarray(b), 0))
                for a, b in zip(found(q, k, v, g), expected(*wide), strict=True)
            ]
    except Exception as error:  # a private call may fail in any way
        return f"cuDNN's call failed: {first_line(error)}"
    worst = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
    return "" if worst < AGREEMENT else f"cuDNN's call differs from XLA's attention by {worst:.1e} on this device"


def attend(
    own: Any,
    q: Float[Array, "b t n h"],
    k: Float[Array, "b t n h"],
    v: Float[Array, "b t n h"],
    causal: bool,
    segment_ids: Int[Array, "b t"],
    scale: float,
) -> Float[Array, "b t n h"]:
    """Attention within segments by `kernel()`'s module. Not-a-number for rows whose segments are not of the form in `runs`."""
    starts, lengths, as_expected = runs(segment_ids)
    masks = own.MaskType
    out = own.dot_product_attention(
        q,
        k,
        v,
        q_seqlen=lengths,
        kv_seqlen=lengths,
        q_offsets=starts,
        kv_offsets=starts,
        scale=scale,
        mask_type=masks.PADDING_CAUSAL if causal else masks.PADDING,
    )
    return jnp.where(as_expected[:, None, None, None], out, jnp.nan)


def runs(
    segment_ids: Int[Array, "b t"],
) -> tuple[Int[Array, "b starts"], Int[Array, "b runs"], Bool[Array, " b"]]:
    """Where each run of equal ids begins, and behind the last the row's end; how long each run is; -1 where there is none.
    Padding is a run like others, since the kernel writes nothing for tokens outside all runs.

    The third value says of each row whether its ids rise from left to right, with zeros (padding) last, in at most
    `MOST_SEGMENTS` segments.
    """
    before, after = segment_ids[:, :-1], segment_ids[:, 1:]
    changes = jnp.pad(before != after, ((0, 0), (1, 0)))
    number = jnp.cumsum(changes, axis=1)
    each = jnp.arange(MOST_SEGMENTS + 1)  # one more for the padding
    lengths = jnp.sum(number[:, :, None] == each, axis=1, dtype=jnp.int32)
    starts = jnp.pad(jnp.cumsum(lengths, axis=1, dtype=jnp.int32), ((0, 0), (1, 0)))
    count = number[:, -1:] + 1
    starts = jnp.where(jnp.arange(MOST_SEGMENTS + 2) <= count, starts, -1)
    rising = jnp.all(((before <= after) & (before > 0)) | (after == 0), axis=1)
    few = jnp.max(jnp.where(segment_ids > 0, number, -1), axis=1) < MOST_SEGMENTS
    return starts, jnp.where(each < count, lengths, -1), rising & few
