"""Every stage of the debug model on several meshes of simulated devices: losses and updated weights must be equal.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m benchmarks.mesh_equality [--stages=coe,content,style,joint]
        [--meshes=8x1x1,2x4x1,1x4x2] [--accumulations=2,4]

Two steps per mesh on the same made-up batch of 16, latents sampled with the same keys; also 1, 2 and 4 micro-batches on one
device, where everything random is switched off. Prints the largest differences and exits 1 above 1e-5.
"""

from __future__ import annotations

import argparse
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np

from configs import debug
from empatheia_jax import assemble
from empatheia_jax.batch import Batch
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import resolve
from empatheia_jax.training import optimizers, partition, schedule, stages
from empatheia_jax.training import step as steps
from empatheia_jax.training.shapes import abstract_batch

ROWS, BOUND = 16, 1e-5


def made_up(config, stage: str, model) -> Batch:
    """A batch with the shapes of the stage: random tokens and features, signal tokens at the end of every row."""
    rng, special = np.random.default_rng(0), model.special
    shapes = abstract_batch(config, stage, ROWS, assemble.widths(config))
    values = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    random = {
        name: rng.normal(size=value.shape).astype(np.float32)
        for name, value in vars(values).items()
        if value is not None and value.dtype == np.float32
    }
    length = values.tokens.shape[1]
    tokens = rng.integers(0, 256, (ROWS, length)).astype(np.int32)
    signals = np.concatenate([special.audio_signals, special.video_signals])
    lengths = rng.integers(length // 2, length + 1, ROWS).astype(np.int32)
    loss_mask, reply_mask = np.zeros((2, ROWS, length), bool)
    for row, end in enumerate(lengths):
        tokens[row, end - len(signals) : end] = signals
        loss_mask[row, end // 2 : end] = True
        reply_mask[row, end // 2 : end // 2 + 1 + row] = True
        tokens[row, 3:9] = special.audio_run
    limits = {name: value.shape[1] for name, value in random.items() if name.endswith("_content")}
    counts = {f"{name}_lengths": rng.integers(1, limit + 1, ROWS).astype(np.int32) for name, limit in limits.items()}
    labels = {name: rng.integers(-1, 3, ROWS).astype(np.int32) for name in ("emotion7", "age", "gender", "tone")}
    random["weight"] = np.ones(ROWS, np.float32)
    random["weight"][-1] = 0
    fields = {**vars(values), **random, **counts, **labels, "tokens": tokens, "lengths": lengths}
    return Batch(**{**fields, "loss_mask": loss_mask, "reply_mask": reply_mask})


def train(config, stage: str, shape, accumulation: int, still: bool):
    mesh = make_mesh(*shape, devices=jax.devices()[: math.prod(shape)])
    model = assemble.empatheia(config, mesh).model
    cut, objective = partition.split(model, stages.TRAINABLE[stage]), schedule.objective(config)
    loss = stages.loss_function(stage, objective)
    built = steps.build(
        cut,
        (lambda model, batch, _: loss(model, batch, None)) if still else loss,
        optimizers.build(optimizers.OptimizerConfig(learning_rate=1e-3, steps=10, eps=1e-6)),
        mesh,
        coefficients=stages.coefficients(stage, objective),
        accumulation=accumulation,
    )
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    batch, values = built.place_batch(made_up(config, stage, model)), []
    for _ in range(2):
        state, metrics = built(state, frozen, batch)
        values.append(float(metrics["loss"]))
    assert built.compilations == 1
    return np.array(values), jax.device_get(state.trainable)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default=",".join(stages.STAGES))
    parser.add_argument("--meshes", default="8x1x1,2x4x1,1x4x2", help="to compare with one device")
    parser.add_argument("--accumulations", default="2,4", help="micro-batches to compare with one; empty = none")
    options = parser.parse_args()
    meshes = [tuple(map(int, mesh.split("x"))) for mesh in options.meshes.split(",")]
    counts = [int(count) for count in options.accumulations.split(",") if count]
    if jax.device_count() < max(map(math.prod, meshes)):
        parser.error(f"{jax.device_count()} devices; start with XLA_FLAGS=--xla_force_host_platform_device_count=8")
    config, worst = debug.get_config(), 0.0
    config.data.update({"max_length": 96, "answer_length": 0})
    config = resolve(config)
    for stage in options.stages.split(","):
        for variants in (
            [(shape, 1, False) for shape in ((1, 1, 1), *meshes)],
            [((1, 1, 1), count, True) for count in (1, *counts) if counts],
        ):
            if not variants:
                continue
            reference = train(config, stage, *variants[0])
            for variant in variants[1:]:
                losses, weights = train(config, stage, *variant)
                loss = float(np.max(np.abs(losses / reference[0] - 1)))
                moved = max(float(jnp.max(jnp.abs(weights[path] - value))) for path, value in reference[1].items())
                worst = max(worst, loss, moved)
                mesh, count, _ = variant
                name = "×".join(map(str, mesh))
                print(f"{stage:8} mesh {name}, {count} micro-batches: loss {loss:.1e}, weights {moved:.1e}", flush=True)
    print(f"largest difference {worst:.1e}: {'equal' if worst < BOUND else 'NOT EQUAL'} within {BOUND:.0e}")
    return 0 if worst < BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
