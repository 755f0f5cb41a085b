"""One process of several that train the tiny network on meshes whose axes cross them.

`python -m tests.parallel.across_processes FOLDER PROCESSES PROCESS PORT` writes `FOLDER/<process>.json`: per mesh the losses
of three steps, an evaluation, and whether the rows of the loader's batches came to their places; the trained parameters are in
`.npz`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np

from empatheia_jax import weights
from empatheia_jax.parallel import distributed, rules
from empatheia_jax.parallel.mesh import Part, batch_part, make_mesh, put_batch, replicated
from empatheia_jax.runs.checkpoint import load_trainable
from empatheia_jax.training import optimizers, step
from empatheia_jax.training.checkpoints import Checkpoints
from tests.data_pipeline.test_loader import MEDIA, fields, maker
from tests.training import tiny

AXES = ("data", "fsdp", "tensor")


def rows_of(batch, part: Part):
    rows = part.rows(len(batch.tokens))
    return jax.tree.map(lambda x: x[rows], batch)


def train(mesh, part: Part):
    """Losses of three steps, the sums of an evaluation, and the trained parameters."""
    cut = tiny.split()
    built = step.build(
        cut,
        tiny.loss,
        optimizers.build(optimizers.OptimizerConfig(learning_rate=1e-2, steps=20)),
        mesh,
        coefficients=tiny.COEFFICIENTS,
        accumulation=2,
        ema=0.9,
    )
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    losses = []
    for number in range(3):
        state, values = built(state, frozen, built.place_batch(rows_of(tiny.batch(number), part)))
        losses.append(float(values["loss"]))
    held = jax.device_get(built.evaluate(state, frozen, built.place_batch(rows_of(tiny.batch(9), part))))
    # The next stage starts from these leaves, wherever they lie.
    gather = jax.jit(lambda leaves: leaves, out_shardings=replicated(mesh))
    trained = {path: np.asarray(value) for path, value in gather(state.trainable).items()}
    return losses, {name: [float(x) for x in pair] for name, pair in held.items()}, trained, state


@dataclasses.dataclass(frozen=True)
class NoConfig:
    """The tiny network has no sizes to choose."""


def same(found, expected) -> bool:
    """Whether every piece that lies on this process's devices is that of the whole array."""
    pieces = [
        (piece, np.asarray(whole)) for path, whole in expected.items() for piece in found[path].addressable_shards
    ]
    return all(np.array_equal(piece.data, whole[piece.index]) for piece, whole in pieces)


def files_are_read(folder: Path, axis: str, mesh, trained) -> dict[str, bool]:
    """Whether what all saved is read by process 0 alone (for a reply), and what it alone wrote, by all to their places."""
    apart = folder / f"{axis}-weights"

    def alone():
        weights.save(apart, tiny.model(), NoConfig(), "tiny", {"source": "test"})
        return same(load_trainable(folder / axis, average=False), trained)

    read = distributed.first_alone(f"read {axis}", alone)
    model = weights.restore(
        apart,
        lambda _, *, rngs, **__: tiny.TinyModel(rngs=rngs),
        NoConfig,
        shardings=lambda s: rules.shardings(s, mesh),
    )
    return {"alone": read is not False, "spread": same(weights.flatten(model), weights.flatten(tiny.model()))}


def batches_arrive(mesh, part: Part) -> bool:
    """Whether the loader's batches, put together on the mesh, are those of one process."""
    policy = dataclasses.replace(MEDIA.policy, max_length=256, instruction="plain", chain_of_empathy=False)
    settings = dataclasses.replace(MEDIA, policy=policy, buckets=())
    parts, alone = maker(settings, part, count=12), maker(settings, count=12)
    return all(same(put_batch(fields(parts[position]), mesh), fields(alone[position])) for position in (0, 1))


def main() -> None:
    folder, count, number, port = Path(sys.argv[1]), *map(int, sys.argv[2:])
    distributed.initialize(f"localhost:{port}", count, number)
    with distributed.guard():
        distributed.meet()
        found, trained = {"kept programs": jax.config.jax_enable_compilation_cache}, {}
        meshes = {axis: make_mesh(**{"data": 1, axis: count}) for axis in AXES}
        for axis, mesh in meshes.items():
            part = batch_part(mesh)
            losses, held, trained[axis], state = train(mesh, part)
            found[axis] = {"losses": losses, "evaluation": held, "batches": batches_arrive(mesh, part)}
            np.savez(folder / f"{axis}-{number}.npz", **trained[axis])
            with Checkpoints(folder / axis, fingerprint={"axis": axis}) as checkpoints:
                checkpoints.save(state, step=3, wait=True)
        for axis, mesh in meshes.items():
            found[axis]["files"] = files_are_read(folder, axis, mesh, trained[axis])
        (folder / f"{number}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
