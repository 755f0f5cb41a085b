"""What this machine can do at best, measured in the same run as what is compared with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def use_cores(count: int) -> None:
    """Confines this process to `count` cores; call it before JAX or PyTorch is imported, so that both size their thread
    pools by it.
    """
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)


def best_time(step: Callable[[], object], repeats: int, warm: int = 2) -> tuple[float, float]:
    """(fastest, median) seconds of `step` over `repeats` runs, after `warm` runs that do not count."""
    for _ in range(warm):
        step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    times.sort()
    return times[0], times[len(times) // 2]


def matrix_rate(size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of the faster of PyTorch's and JAX's float32 matrix product, on the cores of this process."""
    import jax
    import jax.numpy as jnp
    import torch

    a = torch.randn(size, size)
    b = jnp.asarray(a.numpy())
    product = jax.jit(lambda x: x @ x)
    theirs, _ = best_time(lambda: a @ a, repeats)
    ours, _ = best_time(lambda: product(b).block_until_ready(), repeats)
    return 2 * size**3 / min(theirs, ours)


def read_rate(megabytes: int = 512, repeats: int = 5) -> float:
    """Bytes/s of summing a float32 array that no cache holds."""
    import torch

    a = torch.ones(megabytes * 250_000)
    seconds, _ = best_time(a.sum, repeats)
    return a.numel() * 4 / seconds
