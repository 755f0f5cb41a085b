"""Low-rank adapters (Hu et al., "LoRA", 2021; rank-stabilised scaling: Kalajdzievski 2023) on any `nn.linear.Linear`.

`y = W x + s · B(A dropout(x))` with s = alpha / rank, or alpha / sqrt(rank) when rank-stabilised. Several adapters
may hang on one model by name; the active ones add up. Parameters are `nnx.LoRAParam`, so one filter selects them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.errors import UserError
from empatheia_jax.nn.linear import Linear
from empatheia_jax.nn.parameters import parameter


@dataclass(frozen=True)
class LoRAConfig:
    """rank, alpha: size and strength. targets: names of the linear maps, the last part of their path (`q_proj`) or
    more of it (`attention.q_proj`). dropout: on the adapter's input, in training. rslora: rank-stabilised scaling.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...]
    dropout: float = 0.0
    rslora: bool = False

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(sorted(self.targets)))
        if self.rank < 1 or not self.targets or not 0.0 <= self.dropout < 1.0:
            raise UserError(
                f"LoRA rank={self.rank}, dropout={self.dropout}, targets={self.targets}: "
                "expected a rank of at least 1, a dropout in [0, 1) and at least one target"
            )

    @property
    def scale(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class LoRA(nnx.Module):
    """One adapter of one linear map (or of a stack of them). a: (in, rank), b: (rank, out), with the base's leading
    axis.
    """

    def __init__(self, base: Linear, config: LoRAConfig, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        stack, names = ((), ()) if base.layers is None else ((base.layers,), ("layers",))
        self.config, self.active, self.merged = config, True, False
        self.a = parameter(
            rngs,
            _uniform_fan_in,
            (*stack, base.in_features, config.rank),
            param_dtype,
            (*names, base.axes[0], "lora"),
            nnx.LoRAParam,
        )
        self.b = parameter(
            rngs,
            jax.nn.initializers.zeros,
            (*stack, config.rank, base.out_features),
            param_dtype,
            (*names, "lora", base.axes[1]),
            nnx.LoRAParam,
        )

    def __call__(self, x: Float[Array, "... i"], rng: jax.Array | None = None) -> Float[Array, "... o"]:
        dropout = self.config.dropout
        if rng is not None and dropout:
            keep = jax.random.bernoulli(rng, 1.0 - dropout, x.shape)
            x = jnp.where(keep, x / (1.0 - dropout), 0.0)
        low = x @ self.a[...].astype(x.dtype)
        return (low @ self.b[...].astype(x.dtype)) * jnp.asarray(self.config.scale, x.dtype)

    def delta(self) -> Float[Array, "... i o"]:
        """What the adapter adds to the kernel, in float32 or better."""
        wide = jnp.promote_types(self.a.dtype, jnp.float32)
        return jnp.matmul(self.a[...].astype(wide), self.b[...].astype(wide), precision="highest") * self.config.scale


def _uniform_fan_in(key, shape, dtype):
    bound = shape[-2] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def linears(model: nnx.Module) -> Iterator[tuple[str, Linear]]:
    """Dotted path and module of every linear map in `model`."""
    for path, module in nnx.iter_modules(model):
        if isinstance(module, Linear):
            yield ".".join(map(str, path)), module


def matches(path: str, targets: tuple[str, ...]) -> bool:
    """Whether a module is a target: by its whole path, or by the last names of it."""
    return any(path == target or path.endswith("." + target) for target in targets)


def add_lora(
    model: nnx.Module, config: LoRAConfig, *, rngs: nnx.Rngs, name: str = "default", param_dtype=jnp.float32
) -> list[str]:
    """Hangs an adapter called `name` on every target; returns their paths. B starts at zero: nothing changes until it
    trains.

    Raises UserError for a target that matches no linear map, or a name that is taken.
    """
    found = dict(linears(model))
    for target in config.targets:
        if not any(matches(path, (target,)) for path in found):
            names = ", ".join(sorted({path.rsplit(".", 1)[-1] for path in found}))
            raise UserError(
                f"lora.targets: {target!r} matches no linear map of the model; expected names out of {names}"
            )
    chosen = {path: module for path, module in found.items() if matches(path, config.targets)}
    for path, module in chosen.items():
        if path == "lm_head":
            raise UserError(
                "LoRA on lm_head is not implemented; train the head's added rows (core.added_tokens) instead"
            )
        if name in module.lora:
            raise UserError(f"the model already has an adapter called {name!r} at {path}; choose another name")
    for module in chosen.values():
        module.lora[name] = LoRA(module, config, rngs=rngs, param_dtype=param_dtype)
    return sorted(chosen)


def adapters(model: nnx.Module, name: str | None = None) -> Iterator[tuple[str, Linear, str, LoRA]]:
    """(path of the linear map, the map, adapter name, adapter), for one name or all."""
    for path, module in linears(model):
        for key, adapter in module.lora.items():
            if name is None or key == name:
                yield path, module, key, adapter


def _named(model: nnx.Module, name: str | None) -> list[tuple[str, Linear, str, LoRA]]:
    found = list(adapters(model, name))
    if not found:
        present = sorted({key for _, _, key, _ in adapters(model)})
        raise UserError(f"the model has no adapter called {name!r}; it has {', '.join(present) or 'none'}")
    return found


def set_active(model: nnx.Module, names: tuple[str, ...] | list[str]) -> None:
    """Switches exactly the adapters `names` on and all others off. Raises UserError for a name that the model
    lacks.
    """
    for name in names:
        _named(model, name)
    for _, _, name, adapter in adapters(model):
        if adapter.merged:
            raise UserError(f"adapter {name!r} is merged into the weights; unmerge it before switching adapters")
        adapter.active = name in names


def merge(model: nnx.Module, name: str = "default") -> None:
    """Folds an adapter into the base kernels; the sum is taken in float32 or better and rounded once to the kernel's
    dtype.
    """
    for path, module, _, adapter in _named(model, name):
        if adapter.merged:
            raise UserError(f"adapter {name!r} is already merged at {path}")
        _shift(module, adapter, +1.0)
        adapter.merged, adapter.active = True, False


def unmerge(model: nnx.Module, name: str = "default") -> None:
    """Takes a merged adapter out again, exact to the rounding of the kernel's dtype."""
    for path, module, _, adapter in _named(model, name):
        if not adapter.merged:
            raise UserError(f"adapter {name!r} is not merged at {path}")
        _shift(module, adapter, -1.0)
        adapter.merged, adapter.active = False, True


def _shift(module: Linear, adapter: LoRA, sign: float) -> None:
    delta = adapter.delta()
    kernel = module.kernel[...]
    wide = jnp.promote_types(kernel.dtype, delta.dtype)
    module.kernel[...] = (kernel.astype(wide) + sign * delta.astype(wide)).astype(kernel.dtype)


def merge_and_unload(model: nnx.Module) -> None:
    """Folds every active adapter into its kernel and takes it off, where the kernel is float32.

    The arithmetic is then that of the base alone. Rounded or packed kernels keep their adapters, whose small terms would be lost.
    """
    for _, module, name, adapter in list(adapters(model)):
        kernel = module.kernel.get_value()
        if adapter.active and isinstance(kernel, jax.Array) and kernel.dtype == jnp.float32:
            _shift(module, adapter, +1.0)
            del module.lora[name]


def remove(model: nnx.Module, name: str = "default") -> None:
    """Takes an adapter off the model (not out of the weights, if it is merged)."""
    for _, module, key, _ in _named(model, name):
        del module.lora[key]
