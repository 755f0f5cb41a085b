"""AdamW with warm-up, decay and a learning rate per group of parameters."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from empatheia_jax.errors import UserError
from empatheia_jax.settings.choices import Decay


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """What moves the trainable parameters, and how fast.

    learning_rate  peak rate, reached after `warmup_steps`; then `decay` to `final_fraction` of it at `steps`
    group_rates    glob on the parameter's path → factor on the learning rate (the first match counts, 1 elsewhere)
    weight_decay   decoupled; on matrices only, unless `decay_vectors`
    clip           largest global norm of the gradient (applied by the step, which logs the norm); None = off
    ema            decay of a moving average of the parameters (0.999, say); None = none is kept
    """

    learning_rate: float
    steps: int
    warmup_steps: int = 0
    decay: Decay = "cosine"
    final_fraction: float = 0.0
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_vectors: bool = False
    group_rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    clip: float | None = 1.0
    ema: float | None = None

    def __post_init__(self):
        if self.learning_rate <= 0 or self.steps < 1:
            raise UserError(
                f"learning_rate={self.learning_rate}, steps={self.steps}: both must be positive; correct the config"
            )
        if not 0 <= self.warmup_steps <= self.steps:
            raise UserError(f"warmup_steps={self.warmup_steps} must lie between 0 and steps={self.steps}")
        if self.decay not in ("cosine", "linear", "constant"):
            raise UserError(f"decay={self.decay!r}; expected cosine, linear or constant")


def schedule(config: OptimizerConfig) -> optax.Schedule:
    """Learning rate by optimizer step. The first step is not wasted on a rate of 0: step k of a warm-up of W has
    (k + 1) / W of the peak.
    """
    peak, rest = config.learning_rate, max(1, config.steps - config.warmup_steps)
    if config.decay == "constant":
        after = optax.constant_schedule(peak)
    elif config.decay == "linear":
        after = optax.linear_schedule(peak, peak * config.final_fraction, rest)
    else:
        after = optax.cosine_decay_schedule(peak, rest, alpha=config.final_fraction)

    def rate(count):
        warm = peak * (count + 1) / max(1, config.warmup_steps)
        return jnp.where(count < config.warmup_steps, warm, after(count - config.warmup_steps))

    return rate


def _is_matrix(path: str, value: jax.Array) -> bool:
    # By name too: the biases and norms of stacked layers have two dimensions.
    return value.ndim >= 2 and path.rsplit(".", 1)[-1] not in ("bias", "scale")


def _scale_groups(rates: Mapping[str, float]) -> optax.GradientTransformation:
    def update(updates, state, params=None):
        def factor(path: str) -> float:
            return next((rate for glob, rate in rates.items() if fnmatch.fnmatchcase(path, glob)), 1.0)

        return {path: value * factor(path) for path, value in updates.items()}, state

    def init(params):
        for glob in rates:
            if not any(fnmatch.fnmatchcase(path, glob) for path in params):
                raise UserError(f"group_rates names {glob!r}, which matches no trainable parameter; correct it")
        return optax.EmptyState()

    return optax.GradientTransformation(init, update)


def build(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimizer for a flat dictionary path → parameter.

    Raises (when its state is made):
      UserError: a group of `group_rates` matches no trainable parameter.
    """
    decayed = None if config.decay_vectors else lambda params: {path: _is_matrix(path, p) for path, p in params.items()}
    return optax.chain(
        optax.scale_by_adam(config.b1, config.b2, config.eps),
        optax.add_decayed_weights(config.weight_decay, decayed) if config.weight_decay else optax.identity(),
        _scale_groups(config.group_rates),
        optax.scale_by_learning_rate(schedule(config)),
    )
