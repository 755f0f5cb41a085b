"""Logical axis names on parameters."""

from __future__ import annotations

from flax import nnx


def named(init, *axes: str | None):
    """An initializer whose parameter carries logical axis names, one per dimension (None = replicated).

    Names are data only: which mesh axis they map to is decided by `empatheia_jax.parallel.rules`, so a model can be built
    without a mesh. (Flax 0.12 would otherwise want a mesh when the variable is created.)
    """
    return nnx.with_partitioning(init, axes, eager_sharding=False)


def axes_of(variable: nnx.Variable) -> tuple[str | None, ...]:
    """The logical axis names of a parameter, all None where it carries none."""
    return tuple(variable.get_metadata().get("out_sharding") or (None,) * len(variable.shape))


def stacked(make, count: int, rngs: nnx.Rngs):
    """`count` modules `make(rngs)` with their parameters stacked on a leading axis named "layers", each seeded apart."""

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=0, out_axes=0, transform_metadata={nnx.PARTITION_NAME: "layers"})
    def build(rngs: nnx.Rngs):
        return make(rngs)

    return build(rngs)
