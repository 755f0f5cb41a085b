"""Is the memory that preflight predicts what a step then takes? On the CPU, where the operating system keeps count.

    python -m benchmarks.preflight_memory [--weights=smollm2-135m-instruct] [--batch=4] [--length=256] [--remat=nothing]

Compiles the LoRA step of stage 1 on the language model alone, float32, and runs it on made-up weights. Predicted: the
compiler's plan as `parallel.preflight` reads it (arguments, outputs that reuse no argument, temporaries). Measured: the peak
of this process's resident memory during three steps, less what it held after compiling and before any weight was there.
"""

from __future__ import annotations

import argparse
import gc
import sys

import jax
import numpy as np
from flax import nnx

from benchmarks.language_step import Tokens, language_loss
from benchmarks.train_step import ALPHA, RANK, SIZES, TARGETS
from empatheia_jax.core import lora
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.parallel import preflight, targets
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, partition, step

GIB = 2**30


def resident(field: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most since `reset`."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def reset() -> None:
    """Forgets the peak."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="smollm2-135m-instruct", choices=sorted(SIZES))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--remat", default="nothing")
    parser.add_argument("--chunk", type=int, default=64)
    options = parser.parse_args()

    def construct():
        model = Llama(LlamaConfig.from_source(SIZES[options.weights]), rngs=nnx.Rngs(0), remat=options.remat)
        lora.add_lora(model, lora.LoRAConfig(RANK, ALPHA, TARGETS), rngs=nnx.Rngs(0))
        return model

    cut = partition.split(nnx.eval_shape(construct), nnx.LoRAParam)
    settings = optimizers.OptimizerConfig(5e-4, 1000, decay="constant")
    mesh = make_mesh(devices=jax.devices()[:1])
    built = step.build(cut, language_loss(options.chunk), optimizers.build(settings), mesh)
    batch = Tokens(np.zeros((options.batch, options.length), np.int32))
    state = built.abstract_state()
    planned = preflight.analyse(
        "coe",
        built.trace(batch),
        targets.parse("a100-80gb:1"),
        weights=(built.abstract_frozen(), state.trainable),
        optimizer=state.optimizer,
        batch=built.abstract_batch(batch),
        tokens=batch.tokens.size,
        devices=1,
    )
    compiled = built.trace(batch).lower().compile()
    init = built.init({path: np.zeros(x.shape, x.dtype) for path, x in cut.trainable.items()}, 0)
    jax.block_until_ready(init)
    del init
    gc.collect()
    before = resident("VmRSS")
    rng = np.random.default_rng(0)

    def made_up(values):
        return {path: rng.standard_normal(x.shape, np.float32) * 0.02 for path, x in values.items()}

    state, frozen = built.init(made_up(cut.trainable), 0), built.place_frozen(made_up(cut.frozen))
    placed = built.place_batch(batch)
    jax.block_until_ready((state, frozen, placed))
    gc.collect()
    reset()  # the host's copies of the weights, from which they were placed, are gone
    for _ in range(3):
        state, metrics = compiled(state, frozen, placed)
        jax.block_until_ready(metrics)
    measured = resident("VmHWM") - before
    print(
        f"{options.weights}, {options.batch} × {options.length} tokens, remat {options.remat}: predicted "
        f"{planned.peak / GIB:.3f} GiB (temporaries {planned.temporaries / GIB:.3f}), measured {measured / GIB:.3f} GiB, "
        f"{100 * (measured / planned.peak - 1):+.1f} %"
    )
    return 0 if abs(measured / planned.peak - 1) < 0.1 else 1


if __name__ == "__main__":
    sys.exit(main())
