"""Compile a program for hardware that is not there, and read off what it would need and at best achieve.

Memory is the compiler's own plan. Arithmetic is counted in the traced program (products and convolutions, loops times
their length, recomputation included); bytes between devices in the compiled one. The time is a roofline, the largest of
three lower bounds (arithmetic at peak, memory traffic at bandwidth, communication at link speed): no run is faster.
"""

from __future__ import annotations

import dataclasses
import math
import re
import time
from typing import Any

import jax
from jax.interpreters import partial_eval

from empatheia_jax.parallel.hlo import collective_bytes
from empatheia_jax.parallel.targets import Target


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What one program needs, per device; bytes, FLOPs and seconds.

    `peak` = arguments + outputs that reuse no argument + temporaries.
    """

    name: str
    weights: int
    optimizer: int
    batch: int
    temporaries: int
    peak: int
    capacity: int
    flops: float
    communication: int
    compute_seconds: float
    memory_seconds: float
    link_seconds: float
    compile_seconds: float
    tokens: int

    @property
    def fits(self) -> bool:
        return self.peak <= self.capacity

    @property
    def seconds(self) -> float:
        """The roofline: no step is faster."""
        return max(self.compute_seconds, self.memory_seconds, self.link_seconds)

    @property
    def bound(self) -> str:
        """What limits the roofline."""
        times = {"compute": self.compute_seconds, "memory": self.memory_seconds, "links": self.link_seconds}
        return max(times, key=lambda name: times[name])

    @property
    def tokens_per_second(self) -> float:
        """Ceiling of the throughput of all devices together."""
        return self.tokens / self.seconds

    def as_dict(self) -> dict[str, Any]:
        derived = ("fits", "seconds", "bound", "tokens_per_second")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in derived}}


def _compile(lowered: jax.stages.Lowered, target: Target) -> jax.stages.Compiled:
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        # With no GPU to try them on, XLA finds no Triton tiles for some shapes: let cuBLAS do the products instead.
        if target.device.platform != "cuda" or "tile sizes" not in str(error):
            raise
        return lowered.compile(compiler_options={"xla_gpu_enable_triton_gemm": False})


def analyse(
    name: str,
    traced: jax.stages.Traced,
    target: Target,
    *,
    weights: Any,
    optimizer: Any,
    batch: Any,
    tokens: int,
    devices: int,
    share: float = 1.0,
) -> Footprint:
    """Compiles a traced program and measures it.

    Args:
      weights, optimizer, batch: the abstract arguments (with shardings) that count under these headings.
      tokens: tokens that one call works on, on all devices.
      devices: in the mesh.
      share: of a chip's memory and speed that one device has (1/2 where two devices are one chip).
    """
    flops = count_flops(traced.jaxpr) / devices
    started = time.perf_counter()
    held, device = per_device_bytes((weights, optimizer, batch)), target.device
    try:
        compiled = _compile(traced.lower(), target)
    except jax.errors.JaxRuntimeError as error:
        # TPU compilers refuse what does not fit, and say how much it would take.
        if (peak := refused_bytes(str(error))) is None:
            raise
        temporaries, traffic, communication = max(0, peak - held), held + 2 * max(0, peak - held), 0
    else:
        memory, program = compiled.memory_analysis(), compiled.as_text()
        if memory is None or program is None:
            raise RuntimeError(
                f"the compiler of {target.name} gives no memory analysis; install the versions of the extra preflight"
            )
        arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes - memory.alias_size_in_bytes
        communication, temporaries = collective_bytes(program), memory.temp_size_in_bytes
        peak = arguments + outputs + temporaries
        # Every argument is read at least once, every temporary written and read once.
        traffic = arguments + memory.output_size_in_bytes + 2 * temporaries
    seconds = time.perf_counter() - started
    return Footprint(
        name=name,
        weights=per_device_bytes(weights),
        optimizer=per_device_bytes(optimizer),
        batch=per_device_bytes(batch),
        temporaries=temporaries,
        peak=peak,
        capacity=int(device.capacity * share),
        flops=flops,
        communication=communication,
        compute_seconds=flops / (device.flops * share),
        memory_seconds=traffic / (device.bandwidth * share),
        link_seconds=communication / (device.link * share),
        compile_seconds=seconds,
        tokens=tokens,
    )


def refused_bytes(message: str) -> int | None:
    """What a program would need, from a TPU compiler's refusal ("… Used 17.94G of 15.75G hbm …"); None for other errors."""
    found = re.search(r"Used ([\d.]+)([KMGT]?) of [\d.]+[KMGT]? hbm", message)
    return found and int(float(found[1]) * 1024 ** " KMGT".index(found[2] or " "))


def per_device_bytes(tree: Any) -> int:
    """Bytes of one device's shards of abstract arrays with shardings."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
        total += math.prod(shape) * size
    return total


def count_flops(jaxpr: Any) -> float:
    """FLOPs of the matrix products and convolutions of a traced program, over all devices.

    Counted after dead code is gone; a scan counts its body times its length (XLA's own cost analysis counts it once), a
    conditional its dearest branch, a `while` of unknown length its body once.
    """
    closed = jaxpr
    live, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return _flops(live)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2.0 * depth * math.prod(equation.outvars[0].aval.shape)
        elif name == "conv_general_dilated":
            kernel, numbers = equation.invars[1].aval.shape, parameters["dimension_numbers"]
            per_output = math.prod(kernel) / kernel[numbers.rhs_spec[0]]
            total += 2.0 * per_output * math.prod(equation.outvars[0].aval.shape)
        elif name == "cond":
            total += max(_flops(branch.jaxpr) for branch in parameters["branches"])
        else:
            times = parameters["length"] if name == "scan" else 1
            total += times * sum(_flops(inner) for inner in _inner(parameters))
    return total


def _inner(parameters: dict[str, Any]):
    for value in parameters.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
