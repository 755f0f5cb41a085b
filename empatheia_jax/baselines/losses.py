"""The losses of KEMP, CEM and CASE as (sum, weight) pairs.

Letters: B batch, T words of a reply, V words of the vocabulary.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from empatheia_jax.baselines.words import EOS, PAD

Pair = tuple[Float[Array, ""], Float[Array, ""]]
COUNT = 2.0**-20
"""What one occurrence adds to a word's frequency. Only ratios matter; a small unit keeps the norm of the gradients readable."""


def picked(log_probabilities: Float[Array, "B T V"], target: Int[Array, "B T"]) -> Float[Array, "B T"]:
    """−log P of each word of the reply."""
    return -jnp.take_along_axis(log_probabilities, target[..., None], axis=-1)[..., 0]


def counted(target: Int[Array, "B T"], weight: Float[Array, " B"]) -> Float[Array, "B T"]:
    """1 at the words that count, the end mark among them."""
    return (target != PAD) * weight[:, None]


def reply(log_probabilities: Float[Array, "B T V"], target: Int[Array, "B T"], weight: Float[Array, " B"]) -> Pair:
    """Negative log likelihood per word."""
    kept = counted(target, weight)
    return jnp.sum(picked(log_probabilities, target) * kept), jnp.sum(kept)


def smoothed(
    log_probabilities: Float[Array, "B T V"],
    target: Int[Array, "B T"],
    weight: Float[Array, " B"],
    smoothing: float = 0.1,
) -> Pair:
    """Divergence from the target with `smoothing` of its mass spread over the other words, padding apart; per example (KEMP)."""
    others = log_probabilities.shape[-1] - 2
    share, right = smoothing / others, picked(log_probabilities, target)
    rest = -jnp.sum(log_probabilities, axis=-1) + log_probabilities[..., PAD] - right
    entropy = smoothing * jnp.log(share) + (1 - smoothing) * jnp.log(1 - smoothing)
    found = (1 - smoothing) * right + share * rest + entropy
    return jnp.sum(found * counted(target, weight)), jnp.sum(weight)


def emotion(logits: Float[Array, "B 32"], label: Int[Array, " B"], weight: Float[Array, " B"]) -> tuple[Pair, Pair]:
    """Cross-entropy of the emotion, and its accuracy; examples without a label do not count."""
    known = (label >= 0) * weight
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(label, 0)[:, None], axis=-1)[:, 0]
    right = jax.lax.stop_gradient((jnp.argmax(logits, axis=-1) == label) * known)
    return (jnp.sum(losses * known), jnp.sum(known)), (jnp.sum(right), jnp.sum(known))


def occurrences(
    log_probabilities: Float[Array, "B T V"], target: Int[Array, "B T"], weight: Float[Array, " B"]
) -> Float[Array, " V"]:
    """How often each word is the best one, up to the first end mark and within the length of the target."""
    best = jnp.argmax(log_probabilities, axis=-1)
    ended = jnp.cumsum(best == EOS, axis=1)  # the end mark itself is not counted either
    kept = counted(target, weight) * (ended == 0)
    return jax.lax.stop_gradient(jnp.zeros(log_probabilities.shape[-1]).at[best].add(kept))


def word_weights(frequency: Float[Array, " V"]) -> Float[Array, " V"]:
    """Weights that fall with a word's frequency among what the model writes, with mean 1 (CEM)."""
    found = 1 - frequency / jnp.maximum(jnp.max(frequency), COUNT)
    return found / jnp.maximum(jnp.mean(found), 1e-12)


def diversity(
    log_probabilities: Float[Array, "B T V"],
    target: Int[Array, "B T"],
    weight: Float[Array, " B"],
    frequency: Float[Array, " V"],
) -> tuple[Pair, Pair]:
    """Negative log likelihood per word with `word_weights`, and what moves the frequency.

    The frequency is a running count over the training, this batch included. It is kept as a parameter, so that it is saved and
    restored with the others: the second pair is 0, and its gradient is minus this batch's counts, which gradient descent with
    the rate 1 adds.
    """
    counts = COUNT * occurrences(log_probabilities, target, weight)
    now = jax.lax.stop_gradient(frequency) + counts
    kept = counted(target, weight) * word_weights(now)[target]
    moving = -jnp.sum((frequency - jax.lax.stop_gradient(frequency)) * counts)
    total = jnp.sum(picked(log_probabilities, target) * kept), jnp.sum(counted(target, weight))
    return total, (moving, jnp.ones(()))


def divergence(
    posterior: Float[Array, "B K"], prior: Float[Array, "B K"], valid: Bool[Array, "B K"], weight: Float[Array, " B"]
) -> Pair:
    """KL(posterior ‖ prior) per entry that is read, the posterior held fast (CASE)."""
    posterior = jax.lax.stop_gradient(posterior)
    positive = jnp.where(posterior > 0, posterior, 1)
    terms = posterior * (jnp.log(positive) - jnp.log(prior + 1e-20))
    kept = valid * weight[:, None]
    return jnp.sum(terms * kept), jnp.sum(kept)


def alignment(
    one: Float[Array, "*n D"],
    other: Float[Array, "*n D"],
    one_wrong: Float[Array, "*n D"],
    other_wrong: Float[Array, "*n D"],
) -> Float[Array, "*n"]:
    """Mutual-information maximisation by scores (CASE): softplus(−σ(σ(a·b) − σ(a'·b))) + softplus(−σ(σ(a·b) − σ(a·b'))).

    The difference passes a sigmoid before a loss that expects logits and takes another one, as in the repository.
    """

    def score(a: Array, b: Array) -> Array:
        return jax.nn.sigmoid(jnp.sum(a * b, axis=-1))

    right = score(one, other)
    wrong = score(one_wrong, other), score(one, other_wrong)
    return sum((jax.nn.softplus(-jax.nn.sigmoid(right - each)) for each in wrong), jnp.zeros(()))
