"""One attention function for every network of the house.

Axis letters: b batch, t queries, s keys, n query heads, k key/value heads (n is a multiple of k), h channels of a
head. Query head i is served by key/value head i // (n / k): grouped heads repeat as k0, k0, k1, k1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

IMPLEMENTATIONS = ("xla", "blocked")
QUERY_BLOCK = 256


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
    one array, or one for queries and one for keys), `window` (query index − key index < window, with causal). A query
    that sees no key gets the
    mean of the values: finite, and meaningless. `scale` defaults to 1/sqrt(h).
    implementation: None means `xla`, which holds all scores at once. `blocked` works on 256 queries at a time and computes
    their scores again in the backward pass: the same numbers in less memory, and with `causal` half the
    arithmetic, since a block leaves out the keys that all of its queries must not see.
    Raises ValueError for a head count that does not divide or an implementation that does not exist.
    """
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"{q.shape[2]} query heads cannot share {k.shape[2]} key/value heads")
    if implementation not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"attention implementation {implementation!r}; expected one of {IMPLEMENTATIONS}")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    seen = combined_mask(q.shape[1], k.shape[1], causal, lengths, mask, segment_ids, window)
    if implementation == "blocked":
        return _blocked(q, k, v, seen, bias, scale, causal)
    return _xla(q, k, v, seen, bias, scale)


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
