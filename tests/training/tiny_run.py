"""Trains the tiny network as a command, to be killed: `python -m tests.training.tiny_run FOLDER [options]`.

Prints the SHA-256 of the final parameters. Options: `--steps`, `--save_every`, `--log_every`, `--pause` (seconds per step),
`--file_limit` (largest file that the process may write after step 5: a disk that is full), `--processes`, `--process`,
`--port` (several processes on this machine).
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import sys
import time
from collections.abc import Sequence

import jax
import numpy as np

from empatheia_jax.errors import main_guard
from empatheia_jax.parallel import distributed
from empatheia_jax.parallel.mesh import batch_part, make_mesh
from empatheia_jax.runs.compilation import keep_programs
from empatheia_jax.training import loop, optimizers, step
from empatheia_jax.training.checkpoints import Checkpoints
from empatheia_jax.training.metrics import Metrics
from tests.training import tiny


def digest(trainable) -> str:
    total = hashlib.sha256()
    for path, value in sorted(trainable.items()):
        total.update(path.encode() + np.asarray(value).tobytes())
    return total.hexdigest()


class Slow(tiny.Batches):
    """Every process draws the same global batch and keeps the rows of its part."""

    def __init__(self, options, part):
        super().__init__()
        self.options, self.part = options, part

    def __next__(self):
        time.sleep(self.options.pause)
        if self.position == 5 and self.options.file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.options.file_limit, self.options.file_limit))
        rows = self.part.rows(self.size)
        return jax.tree.map(lambda x: x[rows], super().__next__())


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save_every", type=int, default=2)
    parser.add_argument("--log_every", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--file_limit", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--process", type=int, default=0)
    parser.add_argument("--port", type=int)
    options = parser.parse_args(arguments)
    keep_programs(options.folder)
    if options.processes > 1:
        distributed.initialize(
            f"localhost:{options.port}", options.processes, options.process, heartbeat_timeout_seconds=10
        )
    with distributed.guard():
        cut, mesh = tiny.split(), make_mesh(data=-1)
        built = step.build(
            cut,
            tiny.loss,
            optimizers.build(optimizers.OptimizerConfig(learning_rate=1e-2, steps=options.steps)),
            mesh,
            coefficients=tiny.COEFFICIENTS,
            ema=0.9,
        )
        metrics = Metrics(f"{options.folder}/metrics", tensorboard=False)
        with Checkpoints(f"{options.folder}/checkpoints/coe", fingerprint={"model": "tiny"}) as checkpoints:
            print("latest", checkpoints.latest, flush=True)
            result = loop.run(
                "coe",
                built,
                built.init(cut.trainable, 0),
                built.place_frozen(cut.frozen),
                Slow(options, batch_part(mesh)),
                checkpoints,
                metrics,
                options.steps,
                log_every=options.log_every,
                save_every=options.save_every,
                progress=False,
            )
    trainable = {path: value.addressable_data(0) for path, value in result.state.trainable.items()}
    print("digest", digest(trainable), flush=True)
    distributed.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
