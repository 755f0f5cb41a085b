"""One attention function for every network of the house, with interchangeable implementations.

`xla` holds all scores at once. `blocked` works on 256 queries at a time and computes their scores again in the backward
pass: the same numbers in less memory, and with `causal` half the arithmetic, since a block leaves out the keys that none
of its queries sees. Both run everywhere. `cudnn` (NVIDIA GPUs) and `splash` (TPUs) are fused kernels. `auto` takes cuDNN's on
GPUs and `blocked` elsewhere: splash does not split over a mesh by itself, so it is for those who ask for it. Where the
one asked for cannot serve a call, `select` says why, the reason is logged once, and `blocked` serves it.

Axis letters: b batch, t queries, s keys, n query heads, k key/value heads (n is a multiple of k), h channels of a head.
Query head i is served by key/value head i // (n / k): grouped heads repeat as k0, k0, k1, k1.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.nn import packed_attention
from empatheia_jax.nn.platform import platform

IMPLEMENTATIONS = ("xla", "blocked", "cudnn", "splash", "auto")
QUERY_BLOCK = 256
SPLASH_BLOCK = 128
"""Splash works on blocks of this many queries, keys and channels."""


class Selection(NamedTuple):
    """The implementation that serves a call, and why it is not the one asked for (empty when it is)."""

    name: str
    reason: str


def select(
    requested: str | None,
    *,
    platform: str,
    dtype,
    head_dim: int,
    queries: int,
    keys: int,
    causal: bool = False,
    lengths: bool = False,
    mask: bool = False,
    segments: bool = False,
    window: bool = False,
    bias: bool = False,
) -> Selection:
    """Which implementation serves a call of this form; the flags say which restrictions it has.

    Raises ValueError for a name that does not exist.
    """
    if requested not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attention implementation {requested!r}; expected one of {IMPLEMENTATIONS}")
    if requested == "auto":
        requested = {"gpu": "cudnn", "cuda": "cudnn"}.get(platform, "blocked")
    if requested in (None, "xla", "blocked"):
        return Selection(requested or "xla", "")
    if requested == "cudnn":
        half = dtype in (jnp.bfloat16, jnp.float16)
        obstacles: tuple[tuple[Any, str], ...] = (
            (platform not in ("gpu", "cuda"), f"cudnn needs an NVIDIA GPU and this is {platform}"),
            (not half, f"cudnn needs bfloat16 or float16 and this is {jnp.dtype(dtype)}"),
            (head_dim % 8 or head_dim > 128, f"cudnn needs heads of 8, 16, …, 128 channels, not {head_dim}"),
            (mask, "cudnn would turn a mask into a bias on all pairs of every head; give lengths or segments instead"),
            (window and not causal, "cudnn takes a window only together with causal"),
        )
    else:
        ragged = queries % SPLASH_BLOCK or keys % SPLASH_BLOCK
        obstacles = (
            (platform != "tpu", f"splash needs a TPU and this is {platform}"),
            (head_dim % SPLASH_BLOCK, f"splash needs heads of a multiple of {SPLASH_BLOCK} channels, not {head_dim}"),
            (ragged, f"splash needs multiples of {SPLASH_BLOCK} queries and keys, not {queries} and {keys}"),
            (mask, "splash takes no mask that depends on the data; give lengths or segments instead"),
            (lengths and segments, "splash takes lengths or segments, not both"),
            (lengths and queries != keys, "splash takes lengths only where queries and keys are the same tokens"),
            (bias, "splash takes no bias"),
            (window and not causal, "splash takes a window only together with causal"),
        )
    reason = next((why for blocked, why in obstacles if blocked), "")
    return Selection("blocked" if reason else requested, reason)


@functools.cache
def _log_once(requested: str, reason: str) -> None:
    logging.getLogger(__name__).info("attention: %s was asked for, blocked is used: %s", requested, reason)


def attention(
    q: Float[Array, "b t n h"],
    k: Float[Array, "b s k h"],
    v: Float[Array, "b s k h"],
    *,
    causal: bool = False,
    lengths: Int[Array, " b"] | None = None,
    mask: Bool[Array, "b *n t s"] | None = None,
    segment_ids: Int[Array, "b t"] | tuple[Int[Array, "b t"], Int[Array, "b s"]] | None = None,
    window: int | None = None,
    bias: Float[Array, "#b #n t s"] | None = None,
    scale: float | None = None,
    implementation: str | None = None,
) -> Float[Array, "b t n h"]:
    """`softmax(scale · q kᵀ + bias) v`; the softmax runs in float32 or better.

    A key is seen where every given restriction allows it: `causal` (key index ≤ query index, both from 0), `lengths`
    (key index < length: right padding), `mask` (True = seen), `segment_ids` (equal segments, for packed sequences;
    one array, or one for queries and one for keys), `window` (query index − key index < window, with causal).
    On Hopper GPUs `cudnn` expects ids that rise from left to right, zeros (padding) last, in at most
    `packed_attention.MOST_SEGMENTS` segments; a row of another form comes out as not-a-number.
    What comes out for a query that sees no key, or that is padding itself, is finite and meaningless. `scale` defaults to
    1/sqrt(h). implementation: one of `IMPLEMENTATIONS`; None means `xla`. See `select`.
    Raises ValueError for a head count that does not divide or an implementation that does not exist.
    """
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"{q.shape[2]} query heads cannot share {k.shape[2]} key/value heads")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    name, reason = select(
        implementation,
        platform=platform(),
        dtype=q.dtype,
        head_dim=q.shape[-1],
        queries=q.shape[1],
        keys=k.shape[1],
        causal=causal,
        lengths=lengths is not None,
        mask=mask is not None,
        segments=segment_ids is not None,
        window=window is not None,
        bias=bias is not None,
    )
    if reason:
        _log_once(implementation, reason)
    if name == "cudnn":
        return _cudnn(q, k, v, causal, lengths, segment_ids, window, bias, scale)
    if name == "splash":
        return _splash(q, k, v, causal, lengths, segment_ids, window, scale)
    seen = combined_mask(q.shape[1], k.shape[1], causal, lengths, mask, segment_ids, window)
    if name == "blocked":
        return _blocked(q, k, v, seen, bias, scale, causal)
    return _xla(q, k, v, seen, bias, scale)


def _cudnn(q, k, v, causal, lengths, segment_ids, window, bias, scale):
    own = {}
    if segment_ids is not None:
        alone = lengths is None and window is None and bias is None and not isinstance(segment_ids, tuple)
        if alone and q.shape[2] == k.shape[2] and (kernel := packed_attention.kernel()):
            return packed_attention.attend(kernel, q, k, v, causal, segment_ids, scale)
        own["mask"] = combined_mask(q.shape[1], k.shape[1], segment_ids=segment_ids)  # becomes one bias for all heads
    if lengths is not None:
        # padded queries may see what they like, so only the keys' lengths matter; both must be given
        every = jnp.full_like(lengths, q.shape[1], jnp.int32)
        own |= {"query_seq_lengths": every, "key_value_seq_lengths": lengths.astype(jnp.int32)}
    if window is not None:
        own["local_window_size"] = (window - 1, 0)
    if bias is not None:
        bias = bias.astype(q.dtype)
    return jax.nn.dot_product_attention(
        q, k, v, bias=bias, is_causal=causal, scale=scale, implementation="cudnn", **own
    )


def _splash(q, k, v, causal, lengths, segment_ids, window, scale, interpret=False):
    # imported here: a TPU-only module
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    b, t, n, h = q.shape
    s, heads = k.shape[1:3]
    if window is not None:
        each = masks.LocalMask((t, s), (window - 1, 0), 0)
    else:
        each = masks.CausalMask((t, s)) if causal else masks.FullMask((t, s))
    kernel = kernels.make_splash_mqa_single_device(
        masks.MultiHeadMask([each] * (n // heads)), interpret=interpret, block_sizes=None
    )
    if lengths is not None:
        valid = (jnp.arange(s)[None] < lengths[:, None]).astype(jnp.int32)
        segment_ids = (valid, valid)
    elif segment_ids is not None and not isinstance(segment_ids, tuple):
        segment_ids = (segment_ids, segment_ids)
    grouped = (q * jnp.asarray(scale, q.dtype)).reshape(b, t, heads, n // heads, h).transpose(0, 2, 3, 1, 4)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    if segment_ids is None:
        out = jax.vmap(jax.vmap(kernel))(grouped, k, v)
    else:
        over_heads = jax.vmap(kernel, (0, 0, 0, None))
        out = jax.vmap(over_heads)(grouped, k, v, kernels.SegmentIds(*segment_ids))
    return out.transpose(0, 3, 1, 2, 4).reshape(b, t, n, h)


def combined_mask(t, s, causal=False, lengths=None, mask=None, segment_ids=None, window=None):
    """All restrictions as one boolean array that broadcasts to (b, n, t, s), or None when there are none."""
    parts = []
    if causal or window is not None:
        distance = jnp.arange(t)[:, None] - jnp.arange(s)[None, :]
        if causal:
            parts.append((distance >= 0)[None, None])
        if window is not None:
            parts.append((distance < window)[None, None])
    if lengths is not None:
        parts.append((jnp.arange(s)[None, :] < lengths[:, None])[:, None, None, :])
    if mask is not None:
        parts.append(mask if mask.ndim == 4 else mask[:, None])
    if segment_ids is not None:
        queries, keys = segment_ids if isinstance(segment_ids, tuple) else (segment_ids, segment_ids)
        parts.append((queries[:, :, None] == keys[:, None, :])[:, None])
    if not parts:
        return None
    seen = parts[0]
    for part in parts[1:]:
        seen = seen & part
    return seen


def _xla(q, k, v, seen, bias, scale):
    b, t, n, h = q.shape
    s, heads = k.shape[1:3]
    wide = jnp.promote_types(q.dtype, jnp.float32)
    grouped = q.reshape(b, t, heads, n // heads, h)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=wide) * jnp.asarray(scale, wide)
    if bias is not None:
        bias = jnp.broadcast_to(bias, (bias.shape[0], n, t, s))
        scores = scores + bias.reshape(bias.shape[0], heads, n // heads, t, s).astype(wide)
    if seen is not None:
        if seen.shape[1] == n and n > 1:
            seen = seen.reshape(seen.shape[0], heads, n // heads, *seen.shape[2:])
        else:
            seen = seen[:, :, None]
        scores = jnp.where(seen, scores, jnp.finfo(wide).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    out = jnp.einsum("bkgts,bskh->btkgh", weights, v)
    return out.reshape(b, t, n, v.shape[-1])


def cached_attention(
    q: Float[Array, "b t n h"],
    k: Float[Array, "*b k h s"],
    v: Float[Array, "*b k s h"],
    *,
    mask: Bool[Array, "b t s"],
    bias: Float[Array, "#b #n t s"] | None = None,
    scale: float | None = None,
) -> Float[Array, "b t n h"]:
    """`attention` of few queries over a cache, whose heads come before its slots, and the slots of the keys last: nothing is
    transposed at a token. The keys and values of a single row may come without the axis of the rows.
    """
    b, t, n, h = q.shape
    *rows, heads, _, s = k.shape
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scale = h**-0.5 if scale is None else scale
    grouped = q.reshape(b, t, heads, n // heads, h).transpose(0, 2, 3, 1, 4).reshape(*rows, heads, n // heads, t, h)
    scores = jnp.einsum("...kgth,...khs->...kgts", grouped, k, preferred_element_type=wide) * jnp.asarray(scale, wide)
    scores = scores.reshape(b, heads, n // heads, t, s)
    if bias is not None:
        bias = jnp.broadcast_to(bias, (bias.shape[0], n, t, s))
        scores = scores + bias.reshape(bias.shape[0], heads, n // heads, t, s).astype(wide)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(wide).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype).reshape(*rows, heads, n // heads, t, s)
    out = jnp.einsum("...kgts,...ksh->...kgth", weights, v).reshape(b, heads, n // heads, t, h)
    return out.transpose(0, 3, 1, 2, 4).reshape(b, t, n, h)


def _blocked(q, k, v, seen, bias, scale, causal):
    t, s = q.shape[1], k.shape[1]
    if t <= QUERY_BLOCK:
        return _xla(q, k, v, seen, bias, scale)
    blocks = []
    for start in range(0, t, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, t)
        keys = min(stop, s) if causal else s

        def cut(x, rows=slice(start, stop), keys=keys):
            if x is None:
                return None
            return x[:, :, rows if x.shape[2] == t else slice(None), slice(keys) if x.shape[3] == s else slice(None)]

        block = jax.checkpoint(lambda *arrays: _xla(*arrays, scale))
        blocks.append(block(q[:, start:stop], k[:, :keys], v[:, :keys], cut(seen), cut(bias)))
    return jnp.concatenate(blocks, axis=1)
