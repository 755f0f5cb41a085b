"""Hardware that need not be here: what it can hold and do, and how to have XLA compile for it.

Arithmetic (dense bf16), memory and links are the vendors' numbers: docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e} (read on
2026-11-24; links are half of the "bidirectional inter-chip interconnect bandwidth per chip", v4's its six links of 50 GB/s),
NVIDIA's data sheets of A100 and H100 SXM. Prices are examples: on-demand list prices of one large cloud in US dollars per
device and hour as they were about 2024. Give `--config.preflight_price` what you really pay.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import Any

from empatheia_jax.errors import UserError, first_line

INSTALL = "pip install 'empatheia-jax[preflight]'"


@dataclasses.dataclass(frozen=True)
class Device:
    """One GPU, or one TPU chip.

    memory       bytes, of which programs can use `usable`
    flops        dense bf16 FLOP/s
    bandwidth    bytes/s of its memory
    link         bytes/s out of one device to its neighbours (NVLink, ICI), one direction
    price        assumed US dollars per hour
    """

    name: str
    platform: str
    memory: int
    flops: float
    bandwidth: float
    link: float
    price: float
    usable: float = 0.92

    @property
    def capacity(self) -> int:
        """Bytes that a program may use: the rest goes to the runtime, its libraries and fragmentation."""
        return int(self.memory * self.usable)


GIB = 2**30
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("a100-40gb", "cuda", 40 * GIB, 312e12, 1.555e12, 300e9, 3.67),
        Device("a100-80gb", "cuda", 80 * GIB, 312e12, 2.039e12, 300e9, 5.07),
        Device("h100-80gb", "cuda", 80 * GIB, 989e12, 3.35e12, 450e9, 11.03),
        Device("v4", "tpu", 32 * GIB, 275e12, 1.228e12, 300e9, 3.22),
        Device("v5e", "tpu", 16 * GIB, 197e12, 0.819e12, 200e9, 1.20),
        Device("v5p", "tpu", 95 * GIB, 459e12, 2.765e12, 600e9, 4.20),
        Device("v6e", "tpu", 32 * GIB, 918e12, 1.638e12, 400e9, 2.70),
    )
}

# Facts that XLA's GPU compiler asks for: an XLA GpuTargetConfigProto in text form.
_CUDA: Mapping[str, Mapping[str, Any]] = {
    "a100-40gb": {"name": "NVIDIA A100-SXM4-40GB", "major": 8, "cores": 108, "fpus": 64, "l2": 40, "clock": 1.41},
    "a100-80gb": {"name": "NVIDIA A100-SXM4-80GB", "major": 8, "cores": 108, "fpus": 64, "l2": 40, "clock": 1.41},
    "h100-80gb": {"name": "NVIDIA H100 80GB HBM3", "major": 9, "cores": 132, "fpus": 128, "l2": 50, "clock": 1.98},
}
_SHARED_MEMORY = {8: (167936, 166912), 9: (233472, 232448)}  # bytes per core, and what a block may opt in to


@dataclasses.dataclass(frozen=True)
class Target:
    """A number of devices of one kind: `a100-80gb:8`, `v5e:4x4`."""

    device: Device
    topology: str
    count: int

    @property
    def name(self) -> str:
        return f"{self.device.name}:{self.topology}"


def parse(text: str) -> Target:
    """Reads `NAME:COUNT` for GPUs and `NAME:AxB[xC]` for TPU slices.

    Raises:
      UserError: an unknown device or a malformed size.
    """
    name, _, size = text.partition(":")
    if name not in DEVICES:
        raise UserError(f"target {text!r}: unknown device {name!r}; expected one of {', '.join(DEVICES)}")
    device, size = DEVICES[name], size or "1"
    pattern = r"[1-9]\d*" if device.platform == "cuda" else r"[1-9]\d*(x[1-9]\d*){1,2}"
    if not re.fullmatch(pattern, size):
        example = "a100-80gb:8" if device.platform == "cuda" else f"{name}:{'4x4' if name[-1] == 'e' else '2x2x1'}"
        raise UserError(f"target {text!r}: {size!r} is no size for {name}; write it like {example}")
    return Target(device, size, math.prod(map(int, size.split("x"))))


def _cuda_config(target: Target) -> str:
    facts = _CUDA[target.device.name]
    per_core, opt_in = _SHARED_MEMORY[facts["major"]]
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {per_core} shared_memory_per_block_optin: {opt_in}
  threads_per_core_limit: 2048 core_count: {facts["cores"]} fpus_per_core: {facts["fpus"]}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {int(target.device.bandwidth)} l2_cache_size: {facts["l2"] * 2**20}
  clock_rate_ghz: {facts["clock"]} device_memory_size: {target.device.memory}
  cuda_compute_capability {{ major: {facts["major"]} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 9 }}
device_description_str: "{facts["name"]}"
"""


def devices(target: Target) -> list[Any]:
    """Descriptions of the target's devices, to make a mesh of and compile for.

    Raises:
      UserError: the compiler for that hardware is not installed, or does not know the topology.
    """
    from jax.experimental import topologies

    # libtpu looks for a TPU host's metadata otherwise, and complains for a while.
    # And it lets one process at a time load it, which matters for chips, not for compiling.
    settings = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        if target.device.platform == "tpu":
            # The two cores of a v4 chip are one device, as JAX has them on the hardware.
            whole = {"chip_config_name": "megacore"} if target.device.name == "v4" else {}
            description = topologies.get_topology_desc(platform="tpu", topology_name=target.name, **whole)
        else:
            # The compiler knows one shape of machine: hosts of up to eight GPUs.
            hosts, each = (1, target.count) if target.count <= 8 else (target.count // 8, 8)
            if hosts * each != target.count:
                raise UserError(f"target {target.name}: more than 8 GPUs must be a multiple of 8")
            description = topologies.get_topology_desc(
                platform="cuda", target_config=_cuda_config(target), topology=f"1x{hosts}x{each}"
            )
    except UserError:
        raise
    except Exception as error:
        packages = {"tpu": "libtpu", "cuda": "jax_cuda12_plugin"}
        if not _installed(packages[target.device.platform]):
            raise UserError(f"no compiler for {target.device.name} is installed; get it with {INSTALL}") from None
        raise UserError(f"the compiler does not know {target.name} ({first_line(error)}); try another size") from None
    return list(description.devices)


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
