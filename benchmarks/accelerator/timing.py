"""The clock, what a measurement says, and the rates that roofs are made of."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class Measurement:
    """What one side found in a row.

    A speed: `seconds` of a call that makes `units` of `unit`; `flops` and `bytes` that a call has to do at the least. A check:
    `error` against `bound`. `peak`, `predicted`: bytes of memory. `note`: what else a reader must know. `left_out`: why nothing
    was measured.
    """

    seconds: float | None = None
    units: float = 1.0
    unit: str = ""
    flops: float = 0.0
    bytes: float = 0.0
    error: float | None = None
    bound: float | None = None
    peak: float | None = None
    predicted: float | None = None
    note: str = ""
    left_out: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What was said, without what was not."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, "")}


class Profiles:
    """Where profiles of measured calls go: `folder`, one below another for each call. None: nothing is profiled."""

    folder: Path | None = None


def median_seconds(call: Callable[[], Any], repeats: int, warm: int = 1) -> float:
    """Median wall time of `call`, which waits for its result itself; compilation is in the warm-up."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    if Profiles.folder is not None:
        import jax

        with jax.profiler.trace(str(Profiles.folder / str(len(list(Profiles.folder.glob("*")))))):
            call()
    return statistics.median(times)


def device_rates(tiny: bool) -> dict[str, float]:
    """FLOP/s of a large bfloat16 product and bytes/s of reading memory, of this device."""
    import jax
    import jax.numpy as jnp

    size, count = (256, 2**20) if tiny else (8192, 2**30)
    times = 2 if tiny else 10
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.bfloat16)

    @jax.jit
    def products(a):
        return jax.lax.fori_loop(0, times, lambda _, x: (x @ a) * jnp.bfloat16(size**-0.5), a)

    flops = times * 2 * size**3 / median_seconds(lambda: products(a).block_until_ready(), 3)
    x = jax.random.normal(jax.random.key(1), (count,), jnp.bfloat16)

    @jax.jit
    def sums(x):  # a further factor each time, so that no sum is taken out of the loop
        return jax.lax.fori_loop(
            0, times, lambda i, total: total + jnp.sum(x * i.astype(x.dtype), dtype=jnp.float32), 0.0
        )

    read = times * x.nbytes / median_seconds(lambda: sums(x).block_until_ready(), 3)
    return {"flops": flops, "bytes": read}
