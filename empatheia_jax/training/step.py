"""One optimizer step as one compiled program on a mesh.

    weights of the whole batch → scan over micro-batches: gradients of Σ coefficient · sum / weight → clip → AdamW

The loss function returns sums and weights; dividing by the weights of the *whole* batch before differentiating makes
any number of micro-batches give the same gradient, unequal ones included. Only trainable leaves are differentiated,
optimised and donated; frozen ones are an argument that no step copies.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from empatheia_jax.errors import UserError
from empatheia_jax.nn.sharding import batch_split_by
from empatheia_jax.parallel import mesh as meshes
from empatheia_jax.parallel import rules
from empatheia_jax.training.losses import Pair
from empatheia_jax.training.partition import Partition

LossFunction = Callable[[Any, Any, jax.Array], Mapping[str, Pair]]
Decay = float | Callable[[jax.Array], jax.Array]
"""The decay of a moving average: a number, or a function of the number of steps done."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a step changes.

    trainable   path → parameter, float32
    optimizer   optax state
    step        int32, optimizer steps done
    rng         key of the run; the key of step k is `fold_in(rng, k)`, so nothing but `step` must be remembered
    bad_step    int32, the first step whose loss or gradient was not finite; −1 = none. From there on steps change
                nothing: the last good parameters stay.
    ema         path → moving average of the parameters, or None
    """

    trainable: dict[str, jax.Array]
    optimizer: Any
    step: jax.Array
    rng: jax.Array
    bad_step: jax.Array
    ema: dict[str, jax.Array] | None

    @property
    def averaged(self) -> dict[str, jax.Array]:
        """What is evaluated, handed on and exported: the moving average where one is kept."""
        return self.trainable if self.ema is None else self.ema


class TrainStep:
    """A compiled step: `state, metrics = step(state, frozen, batch)`. Built by `build`.

    `metrics`: every name of the loss function as its mean, `loss` (the objective), `grad_norm` (before clipping) and
    `finite` (bool), all replicated scalars. The state that goes in is donated.
    """

    def __init__(
        self,
        partition: Partition,
        loss: LossFunction,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        *,
        coefficients: Mapping[str, float] | None,
        accumulation: int,
        clip: float | None,
        ema: Decay | None,
        compiler_options: Mapping[str, Any] | None = None,
    ):
        self.partition, self.mesh, self.accumulation = partition.abstract(), mesh, accumulation

        def split_by_example(*arguments):
            with batch_split_by(self.batch_sharding):
                return loss(*arguments)

        self._loss, self._optimizer, self._coefficients = split_by_example, optimizer, coefficients
        self._clip, self._ema, self._traces = clip, ema, 0
        where = rules.shardings(_state_of(partition), mesh)
        self.trainable_shardings = {path: where[path] for path in partition.trainable}
        self.frozen_shardings = {
            path: rules.match_sharding(value, where[path]) for path, value in partition.frozen.items()
        }
        self.batch_sharding = meshes.batch_sharding(mesh)
        self.state_shardings = self._state_shardings()
        self._init = jax.jit(self._initial, out_shardings=self.state_shardings)
        self._step = jax.jit(
            self._update,
            in_shardings=(self.state_shardings, self.frozen_shardings, self.batch_sharding),
            out_shardings=(self.state_shardings, meshes.replicated(mesh)),
            donate_argnums=0,
            compiler_options=None if compiler_options is None else dict(compiler_options),
        )

    # --- what a caller uses ---------------------------------------------------------------------------------------

    def init(self, trainable: Mapping[str, jax.Array], seed: int | jax.Array) -> TrainState:
        """State before the first step; the optimizer's part is made on the mesh. `trainable` is copied, not donated."""
        rng = jax.random.key(seed) if isinstance(seed, int) else seed
        trainable = {path: rules.place(value, self.trainable_shardings[path]) for path, value in trainable.items()}
        return self._init(trainable, rules.place(rng, meshes.replicated(self.mesh)))

    def place_frozen(self, frozen: Mapping[str, Any]) -> dict[str, Any]:
        """The frozen leaves on the mesh."""
        return {path: rules.place(value, self.frozen_shardings[path]) for path, value in frozen.items()}

    def place_batch(self, batch: Any) -> Any:
        """A host batch on the mesh; every process passes the rows of its part (`parallel.mesh.batch_part`)."""
        return meshes.put_batch(batch, self.mesh)

    def __call__(
        self, state: TrainState, frozen: Mapping[str, Any], batch: Any
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        return self._step(state, frozen, batch)

    def compile(self, state: TrainState, frozen: Mapping[str, Any], batch: Any) -> None:
        """Compiles the step for these arguments without running it; the call that follows finds its program."""
        self._step.lower(state, frozen, batch).compile()

    def evaluate(self, state: TrainState, frozen: Mapping[str, Any], batch: Any) -> dict[str, Pair]:
        """The (sum, weight) pairs of a batch with the parameters as they are (no dropout, no gradient)."""
        if not hasattr(self, "_evaluate"):
            self._evaluate = jax.jit(
                lambda trainable, frozen, batch: dict(self._loss(self._merge(trainable, frozen, None), batch, None)),
                in_shardings=(self.trainable_shardings, self.frozen_shardings, self.batch_sharding),
                out_shardings=meshes.replicated(self.mesh),
            )
        return self._evaluate(state.trainable, frozen, batch)

    @property
    def compilations(self) -> int:
        """How many times the step has been traced for compilation; a run that is well has 1."""
        return self._traces

    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state: what a restore needs."""
        shapes = jax.eval_shape(self._initial, self.partition.trainable, jax.eval_shape(lambda: jax.random.key(0)))
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, self.state_shardings
        )

    def abstract_frozen(self) -> dict[str, Any]:
        """Shapes, dtypes and shardings of the frozen leaves."""
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            self.partition.frozen,
            self.frozen_shardings,
        )

    def abstract_batch(self, batch: Any) -> Any:
        """`ShapeDtypeStruct`s of a global batch, with their sharding."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.batch_sharding), batch)

    def trace(self, batch: Any) -> jax.stages.Traced:
        """The step traced for an abstract global batch. Nothing is allocated: `.lower().compile()` works for hardware
        that is not there (`parallel.preflight`).
        """
        return self._step.trace(self.abstract_state(), self.abstract_frozen(), self.abstract_batch(batch))

    def rehearse(self, batch: Any) -> dict[str, Any]:
        """The shapes of the losses of an abstract global batch, in the form for training, and of the optimizer's state; raises
        what either raises. It takes a fraction of the time of `trace`, since nothing is differentiated.
        """

        def losses(trainable, frozen, batch, rng):
            return dict(self._loss(self._merge(trainable, frozen, rng), batch, rng))

        state = self.abstract_state()
        return jax.eval_shape(losses, state.trainable, self.abstract_frozen(), self.abstract_batch(batch), state.rng)

    # --- the computation ------------------------------------------------------------------------------------------

    def _merge(self, trainable, frozen, rng):
        return self.partition.merge(trainable, frozen, rng)

    def _initial(self, trainable, rng) -> TrainState:
        copy = {path: jnp.asarray(value) + 0 for path, value in trainable.items()}
        return TrainState(
            trainable=copy,
            optimizer=self._optimizer.init(copy),
            step=jnp.zeros((), jnp.int32),
            rng=rng,
            bad_step=jnp.full((), -1, jnp.int32),
            ema=None if self._ema is None else {path: value + 0 for path, value in copy.items()},
        )

    def _objective(self, trainable, frozen, batch, rng, weights=None):
        """The objective, and (sums, weights). Weights that are not given are those of this batch alone."""
        pairs = dict(self._loss(self._merge(trainable, frozen, rng), batch, rng))
        coefficients = dict.fromkeys(pairs, 1.0) if self._coefficients is None else self._coefficients
        unknown = set(coefficients) - set(pairs)
        if unknown:
            raise ValueError(f"coefficients for {sorted(unknown)}, but the loss returns {sorted(pairs)}")
        if weights is None:
            weights = {name: jax.lax.stop_gradient(weight) for name, (_, weight) in pairs.items()}
        objective = sum(c * pairs[name][0] / _nonzero(weights[name]) for name, c in coefficients.items())
        return objective, ({name: total for name, (total, _) in pairs.items()}, weights)

    def _weights(self, trainable, frozen, parts, rng):
        """Weights of the whole batch. They do not depend on the parameters, so the compiler drops the network here."""

        def one(part):
            index, batch = part
            pairs = self._loss(self._merge(trainable, frozen, rng), batch, jax.random.fold_in(rng, index))
            return {name: jax.lax.stop_gradient(weight) for name, (_, weight) in pairs.items()}

        every = jax.lax.map(one, parts)
        return jax.tree.map(lambda weight: jnp.sum(weight, axis=0), every)

    def _gradients(self, trainable, frozen, batch, rng):
        """(objective, sums, weights, gradients) of the whole batch."""
        count = self.accumulation
        parts = (jnp.arange(count), jax.tree.map(lambda x: _microbatches(x, count, self.mesh), batch))
        gradient = jax.value_and_grad(self._objective, has_aux=True)
        if count == 1:  # no loop: the network is traced once, and the compiler schedules a straight line better
            index, batch = jax.tree.map(lambda x: x[0], parts)
            key = jax.random.fold_in(rng, index)
            (objective, (sums, weights)), grads = gradient(trainable, frozen, batch, key)
            return objective, sums, weights, grads
        weights = self._weights(trainable, frozen, parts, rng)

        @functools.partial(jax.jit, inline=True)  # so that what asks for shapes and what loops trace the network once
        def traced(trainable, frozen, part, rng, weights):
            index, batch = part
            (objective, (sums, _)), grads = gradient(trainable, frozen, batch, jax.random.fold_in(rng, index), weights)
            return objective, sums, grads

        run = lambda part: traced(trainable, frozen, part, rng, weights)  # noqa: E731
        shapes = jax.eval_shape(run, jax.tree.map(lambda x: x[0], parts))
        zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        add = lambda carry, part: (jax.tree.map(jnp.add, carry, run(part)), None)  # noqa: E731
        (objective, sums, grads), _ = jax.lax.scan(add, zero, parts)
        return objective, sums, weights, grads

    def _update(self, state: TrainState, frozen, batch) -> tuple[TrainState, dict[str, jax.Array]]:
        self._traces += 1
        rng = jax.random.fold_in(state.rng, state.step)
        objective, sums, weights, grads = self._gradients(state.trainable, frozen, batch, rng)
        grads = {
            path: jax.lax.with_sharding_constraint(value, self.trainable_shardings[path])
            for path, value in grads.items()
        }
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(objective) & jnp.isfinite(norm)
        if self._clip is not None:
            factor = jnp.minimum(1.0, self._clip / jnp.maximum(norm, 1e-12))
            grads = jax.tree.map(lambda g: g * factor.astype(g.dtype), grads)
        updates, optimizer = self._optimizer.update(grads, state.optimizer, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)
        ema = state.ema
        if ema is not None and self._ema is not None:
            decay = self._ema(state.step) if callable(self._ema) else self._ema
            ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, trainable)
        good = finite & (state.bad_step < 0)
        keep = lambda new, old: jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)  # noqa: E731
        new = TrainState(
            trainable=keep(trainable, state.trainable),
            optimizer=keep(optimizer, state.optimizer),
            step=state.step + 1,
            rng=state.rng,
            bad_step=jnp.where((state.bad_step < 0) & ~finite, state.step, state.bad_step),
            ema=None if ema is None else keep(ema, state.ema),
        )
        means = {name: total / _nonzero(weights[name]) for name, total in sums.items()}
        return new, {**means, "loss": objective, "grad_norm": norm, "finite": finite}

    def _state_shardings(self) -> TrainState:
        """Optimizer leaves lie like the parameter whose path they are filed under; everything else is replicated."""
        whole = meshes.replicated(self.mesh)
        shapes = jax.eval_shape(self._initial, self.partition.trainable, jax.eval_shape(lambda: jax.random.key(0)))

        def place(path, leaf):
            for key in reversed(path):
                name = getattr(key, "key", None)
                if name in self.trainable_shardings and leaf.shape == self.partition.trainable[name].shape:
                    return self.trainable_shardings[name]
            return whole

        return jax.tree_util.tree_map_with_path(place, shapes)


def build(
    partition: Partition,
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    coefficients: Mapping[str, float] | None = None,
    accumulation: int = 1,
    clip: float | None = 1.0,
    ema: Decay | None = None,
    compiler_options: Mapping[str, Any] | None = None,
) -> TrainStep:
    """The step of a stage.

    Args:
      partition: the model, split into trainable and frozen (`partition.split`); may be abstract.
      loss: `(model, batch, rng) -> {name: (sum, weight)}`; weights must not depend on parameters. `rng=None` asks for
        the deterministic form (evaluation).
      optimizer: for a dictionary path → parameter (`optimizers.build`).
      mesh: from `parallel.mesh.make_mesh`.
      coefficients: name → factor in the objective; names left out are only reported. None = all with 1.
      accumulation: micro-batches per step, scanned inside the program; must divide the batch.
      clip: largest global norm of the gradient; None = off.
      ema: decay of a moving average of the parameters, or a function of the step that gives it; None = none.
      compiler_options: passed to XLA.
    """
    return TrainStep(
        partition,
        loss,
        optimizer,
        mesh,
        coefficients=coefficients,
        accumulation=accumulation,
        clip=clip,
        ema=ema,
        compiler_options=compiler_options,
    )


def accepted_options(options: Mapping[str, str | bool | int]) -> Mapping[str, str | bool | int]:
    """XLA's options as they are, once XLA has taken them: an unknown one is refused now, not after the weights are read.

    Raises:
      UserError: XLA does not know an option, or not such a value.
    """
    try:
        jax.jit(lambda: 0, compiler_options=dict(options))()
    except jax.errors.JaxRuntimeError as error:
        raise UserError(
            f"compiler_options={dict(options)}: XLA says {str(error).splitlines()[0]}; correct the config"
        ) from None
    return options


def _nonzero(weight):
    return jnp.where(weight == 0, 1, weight)


def _state_of(partition: Partition) -> nnx.State:
    return nnx.from_flat_state(partition.variables)


def _microbatches(x: jax.Array, count: int, mesh: Mesh) -> jax.Array:
    """(B, …) → (count, B / count, …). Row i goes to micro-batch i % count, so that every device cuts its own rows and
    none moves.
    """
    if x.shape[0] % count:
        raise ValueError(f"a batch of {x.shape[0]} does not divide into {count} micro-batches")
    x = jnp.swapaxes(x.reshape(x.shape[0] // count, count, *x.shape[1:]), 0, 1)
    spec = PartitionSpec(None, meshes.BATCH_AXES)
    if x.shape[1] % meshes.batch_shards(mesh):
        spec = PartitionSpec()
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))
