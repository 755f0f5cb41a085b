"""Run with 8 simulated devices: three steps on four meshes must agree. Prints `equal` for every mesh that does."""

from __future__ import annotations

import math

import jax
import numpy as np

from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, step
from tests.training import tiny

MESHES = ((1, 1, 1), (8, 1, 1), (2, 4, 1), (1, 4, 2))


def train(shape, accumulation=1):
    cut, mesh = tiny.split(), make_mesh(*shape, devices=jax.devices()[: math.prod(shape)])
    config = optimizers.OptimizerConfig(learning_rate=1e-2, steps=20, weight_decay=0.01)
    built = step.build(
        cut, tiny.loss, optimizers.build(config), mesh, coefficients=tiny.COEFFICIENTS, accumulation=accumulation
    )
    state, frozen, values = built.init(cut.trainable, 0), built.place_frozen(cut.frozen), []
    for number in range(3):
        state, metrics = built(state, frozen, built.place_batch(tiny.batch(number, size=16)))
        values.append(float(metrics["loss"]))
    assert built.compilations == 1
    return values, jax.device_get(state.trainable), state


def main() -> None:
    losses, weights, _ = train(MESHES[0], accumulation=2)
    for shape in MESHES[1:]:
        found, trained, state = train(shape, accumulation=2)
        np.testing.assert_allclose(found, losses, rtol=1e-5)
        for path, value in weights.items():
            np.testing.assert_allclose(trained[path], value, atol=1e-5, err_msg=f"{shape} {path}")
        if shape == (1, 4, 2):
            shards = state.trainable["layers.lora_b"].sharding.shard_shape(weights["layers.lora_b"].shape)
            assert shards == (tiny.LAYERS, tiny.RANK, 2 * tiny.WIDTH), shards
        print(shape, "equal")


if __name__ == "__main__":
    main()
