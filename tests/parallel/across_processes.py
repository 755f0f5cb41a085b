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

from empatheia_jax.parallel import distributed, rules
from empatheia_jax.parallel.mesh import Part, batch_part, make_mesh, put_batch, replicated
from empatheia_jax.runs.compilation import keep_programs
from empatheia_jax.training import optimizers, step
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
    trained = {path: np.asarray(rules.place(value, replicated(mesh))) for path, value in state.trainable.items()}
    return losses, {name: [float(x) for x in pair] for name, pair in held.items()}, trained


def batches_arrive(mesh, part: Part) -> bool:
    """Whether the loader's batches, put together on the mesh, are those of one process."""
    policy = dataclasses.replace(MEDIA.policy, max_length=256, instruction="plain", chain_of_empathy=False)
    settings = dataclasses.replace(MEDIA, policy=policy, buckets=())
    parts, alone = maker(settings, part, count=12), maker(settings, count=12)
    for position in (0, 1):
        placed = rules.place(
            put_batch(fields(parts[position]), mesh), dict.fromkeys(fields(alone[position]), replicated(mesh))
        )
        for name, value in fields(alone[position]).items():
            if not np.array_equal(np.asarray(placed[name]), value):
                return False
    return True


def main() -> None:
    folder, count, number, port = Path(sys.argv[1]), *map(int, sys.argv[2:])
    keep_programs(folder)
    distributed.initialize(f"localhost:{port}", count, number)
    with distributed.guard():
        found = {}
        for axis in AXES:
            mesh = make_mesh(**{"data": 1, axis: count})
            part = batch_part(mesh)
            losses, held, trained = train(mesh, part)
            found[axis] = {"losses": losses, "evaluation": held, "batches": batches_arrive(mesh, part)}
            np.savez(folder / f"{axis}-{number}.npz", **trained)
        (folder / f"{number}.json").write_text(json.dumps(found))
        distributed.shutdown()


if __name__ == "__main__":
    main()
