"""Losses as (sum, weight) pairs: divided once, after micro-batches and devices have been added up.

The equations are those of the paper (Empatheia, WWW 2025, section 5): (8) next-token cross-entropy, (9) and (10)
squared errors of content and style, (11) cross-entropies of the classifiers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.nn.sharding import over_batch

Pair = tuple[Float[Array, ""], Float[Array, ""]]


def mean(pair: Pair) -> Float[Array, ""]:
    """Sum / weight; 0 where nothing has weight."""
    total, weight = pair
    return total / jnp.where(weight == 0, 1, weight)


def token_losses(logits: Float[Array, "*n V"], labels: Int[Array, "*n"]) -> Float[Array, "*n"]:
    """−log softmax(logits)[label], in float32 or better."""
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    picked = jnp.take_along_axis(wide, labels[..., None], axis=-1, mode="clip")[..., 0]
    return jax.nn.logsumexp(wide, axis=-1) - picked


def chunked_cross_entropy(
    logits: Callable[[Float[Array, "B c D"]], Float[Array, "B c V"]],
    hidden: Float[Array, "B T D"],
    labels: Int[Array, "B T"],
    mask: Float[Array, "B T"] | Bool[Array, "B T"],
    *,
    chunk: int | None = 128,
) -> tuple[Pair, Pair]:
    """Equation (8) without ever holding the logits of the whole batch.

    Positions that count come first, row by row; then it runs over T in chunks of `chunk` positions, and a chunk in which none
    counts has no logits at all. A chunk's logits (B, chunk, V) are dropped and computed again for its gradient.
    `labels[:, t]` is what `hidden[:, t]` must predict (shift before the call), `mask` its weight.
    `chunk=None` does all positions at once and keeps the logits for the backward pass: faster where they fit.

    Returns:
      The pair (sum of −log P, sum of weights), and the pair (weight of positions whose best token is the label, sum of
      weights) for the accuracy.
    """
    mask = mask.astype(jnp.promote_types(hidden.dtype, jnp.float32))

    def piece(hidden, labels, mask):
        scores = logits(over_batch(hidden))
        correct = (jnp.argmax(scores, axis=-1) == labels) * mask
        return jnp.sum(token_losses(scores, labels) * mask), jnp.sum(jax.lax.stop_gradient(correct))

    length = hidden.shape[1]
    if chunk is None or length <= chunk:
        total, correct = piece(hidden, labels, mask)
    else:
        count = -(-length // chunk)
        order = jnp.argsort(mask == 0, axis=1, stable=True)
        hidden = jnp.take_along_axis(hidden, order[..., None], axis=1)
        labels, mask = (jnp.take_along_axis(x, order, axis=1) for x in (labels, mask))
        parts = [_chunks(x, count, chunk) for x in (hidden, labels, mask)]
        zero = jnp.zeros((), mask.dtype)

        def nothing(hidden, labels, mask):
            return zero, zero

        def body(carry, part):
            counts = jnp.any(part[2] != 0)
            total, correct = jax.lax.cond(counts, jax.checkpoint(piece), nothing, *part)
            return (carry[0] + total, carry[1] + correct), None

        (total, correct), _ = jax.lax.scan(body, (zero, zero), tuple(parts))
    weight = jnp.sum(mask)
    return (total, weight), (correct, weight)


def _chunks(x: Array, count: int, chunk: int) -> Array:
    """(B, T, …) → (count, B, chunk, …), zero-padded; the batch axis stays whole, so its sharding does too."""
    padding = [(0, 0)] * x.ndim
    padding[1] = (0, count * chunk - x.shape[1])
    x = jnp.pad(x, padding).reshape(x.shape[0], count, chunk, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0)


def regression(
    prediction: Float[Array, "B *n D"],
    target: Float[Array, "B *n D"],
    *,
    weight: Float[Array, " B"],
    lengths: Int[Array, " B"] | None = None,
    kind: Literal["mse", "l2", "sum"] = "mse",
) -> Pair:
    """Equations (9) and (10): squared error, by default the mean over the feature dimensions and the valid positions.

    `(B, D)` is one position per example; with `lengths`, axis 1 holds positions and those from `lengths[b]` on do not
    count. Dimensions between the positions and the last (the window of the talking head's content) are averaged.
    `kind="l2"` takes the Euclidean norm of the error over the last dimension instead of its mean square; `kind="sum"` is the
    letter of the equations, the squared norm of an example's whole error, summed over positions and dimensions.

    Returns:
      (sum over valid positions, number of valid positions), both weighted by `weight` (0 = padding example); of "sum":
      (sum over examples, number of examples).
    """
    wide = jnp.promote_types(prediction.dtype, jnp.float32)
    error = prediction.astype(wide) - target.astype(wide)
    positions = 1 if lengths is None else 2
    if lengths is None:
        mask = weight.astype(wide)
    else:
        mask = (jnp.arange(error.shape[1])[None, :] < lengths[:, None]) * weight.astype(wide)[:, None]
    # Padding may hold anything, infinities of an overlong exponent included: select, do not multiply.
    error = jnp.where(mask.reshape(*mask.shape, *(1,) * (error.ndim - mask.ndim)) > 0, error, 0)
    squares = jnp.square(error)
    if kind == "sum":
        weight = weight.astype(wide)
        return jnp.sum(jnp.sum(squares, axis=tuple(range(1, squares.ndim))) * weight), jnp.sum(weight)
    if kind == "mse":
        per_position = jnp.mean(squares, axis=tuple(range(positions, error.ndim)))
    elif kind == "l2":
        total = jnp.sum(squares, axis=-1)
        # The gradient of sqrt at 0 is infinite; a perfect (or padded) position must not poison the batch.
        norm = jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1)), 0)
        per_position = jnp.mean(norm, axis=tuple(range(positions, norm.ndim)))
    else:
        raise ValueError(f"kind={kind!r}; expected 'mse', 'l2' or 'sum'")
    return jnp.sum(per_position * mask), jnp.sum(mask)


def classification(
    logits: Float[Array, "B K"], labels: Int[Array, " B"], weight: Float[Array, " B"]
) -> tuple[Pair, Pair]:
    """One term of equation (11), with the minus that the paper forgot; labels of −1 (unknown) do not count.

    Returns:
      The pairs of the cross-entropy and of the accuracy.
    """
    wide = jnp.promote_types(logits.dtype, jnp.float32)
    mask = weight.astype(wide) * (labels >= 0)
    losses = jnp.where(mask > 0, token_losses(logits, jnp.maximum(labels, 0)), 0)
    correct = jax.lax.stop_gradient((jnp.argmax(logits, axis=-1) == labels) * mask)
    total = jnp.sum(mask)
    return (jnp.sum(losses * mask), total), (jnp.sum(correct), total)
