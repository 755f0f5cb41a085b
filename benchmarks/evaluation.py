"""SSIM, CPBD and SyncNet against scikit-image, `cpbd` and the PyTorch original, on the same frames in one run.

    pip install 'empatheia-jax[eval,test]' cpbd-py312
    python -m benchmarks.evaluation [--frames=1000] [--threads=2]

Frames: a drawn face of 256 × 256 pixels that speaks (for SyncNet 224 × 224), with a little noise. SyncNet's weights are random,
the same in both. Wall-clock time of the second pass over all frames (SyncNet's original: the first 200 windows, scaled). The
load of the machine is printed, since others' work slows both sides.
"""

from __future__ import annotations

import argparse
import os
import sys


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=200, help="windows of SyncNet that are timed on both sides")
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    measure(given.frames, given.windows, given.threads)
    return 0


def measure(count: int, windows: int, threads: int) -> None:
    """The three comparisons."""
    import importlib.metadata
    import platform
    import time

    import numpy as np
    import torch
    from flax import nnx

    from benchmarks.syncnet_torch import SyncNetTorch
    from data_pipeline.toy import media
    from empatheia_jax.conversation.schema import Profile
    from evaluation import films, lip_sync, sharpness, similarity, syncnet
    from evaluation.frames import to_gray

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    time_axis = np.arange(2 * media.RATE) / media.RATE
    loud = np.abs(np.sin(2 * np.pi * 2.5 * time_axis))
    sound = (0.3 * loud * np.sin(2 * np.pi * 160 * time_axis)).astype(np.float32)
    _, batches = media.DrawnFace(256)(media.Spoken(sound), Profile.of(9), "sad", 1.0, 0)
    drawn = np.concatenate([np.asarray(each) for each in batches])
    frames = drawn[np.arange(count) % len(drawn)]
    frames = np.clip(frames.astype(np.int16) + rng.integers(-2, 3, frames.shape, np.int16), 0, 255).astype(np.uint8)
    others = np.roll(frames, 1, axis=0)

    def timed(function) -> tuple[float, object]:
        began = time.perf_counter()
        result = function()
        return time.perf_counter() - began, result

    rows = []
    load = os.getloadavg()

    from skimage.metrics import structural_similarity

    similarity.ssim(frames[:32], others[:32])
    ours, mine = timed(lambda: similarity.ssim(frames, others))
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs, other = timed(
        lambda: np.array(
            [structural_similarity(a, b, channel_axis=-1, data_range=255, **settings) for a, b in zip(frames, others)]
        )
    )
    rows.append(("SSIM, 11 × 11 Gaussian, RGB", "scikit-image", ours, theirs, float(np.abs(mine - other).max())))

    import cpbd

    gray = np.stack([to_gray(each) for each in frames])
    sharpness.cpbd(gray[0])
    ours, mine = timed(lambda: np.array([sharpness.cpbd(each) for each in gray]))
    theirs, other = timed(lambda: np.array([cpbd.compute(each) for each in gray]))
    rows.append(("CPBD", "cpbd", ours, theirs, float(np.abs(mine - other).max())))

    network = syncnet.SyncNet(syncnet.SyncNetConfig(), rngs=nnx.Rngs(0))
    small = np.stack([films.centre_square(each, syncnet.SIZE) for each in frames[: windows + syncnet.FRAMES + 1]])[
        ..., ::-1
    ]
    small = np.ascontiguousarray(small)
    voice = (20_000 * np.resize(loud * np.sin(2 * np.pi * 160 * time_axis), len(small) * 640)).astype(np.int16)
    judge = lip_sync.Judge(network)
    judge.embed(small[:20], voice[: 20 * 640])
    judge.embed(small, voice)
    ours, mine = timed(lambda: judge.embed(small, voice)[0])
    original = SyncNetTorch(network)
    original.embed(small[:12], voice[: 12 * 640])
    theirs, other = timed(lambda: original.embed(small, voice)[0])
    scale = count / len(mine)
    rows.append(("SyncNet, both towers", "PyTorch", ours * scale, theirs * scale, float(np.abs(mine - other).max())))

    versions = {name: importlib.metadata.version(name) for name in ("jax", "scikit-image", "cpbd-py312", "torch")}
    machine = platform.processor() or platform.machine()
    print(f"{count} frames, {threads} threads, load of the machine before {load[0]:.1f}, {machine}")
    print(f"python {platform.python_version()}, {', '.join(f'{k} {v}' for k, v in versions.items())}")
    print(
        "\n| | ours, ms/frame | the other | ms/frame | times as fast | largest difference |\n|---|---|---|---|---|---|"
    )
    for name, who, a, b, difference in rows:
        print(f"| {name} | {1000 * a / count:.2f} | {who} | {1000 * b / count:.2f} | {b / a:.1f} | {difference:.1e} |")


if __name__ == "__main__":
    sys.exit(main())
