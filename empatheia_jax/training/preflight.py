"""`--mode=preflight`: does a run fit hardware that is not here, how fast can it be there, and what would it cost?

Every stage of the config's schedule is built abstractly, from the same constructors and the same step as training, and
compiled for the target (`parallel.preflight`). No weights are needed: where a network's folder is absent, the released
checkpoint's own sizes stand in.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from empatheia_jax import assemble, requirements, tiny, weights
from empatheia_jax.batch import Batch
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel import targets
from empatheia_jax.parallel.mesh import batch_shards, make_mesh
from empatheia_jax.parallel.preflight import Footprint, analyse
from empatheia_jax.parallel.targets import GIB
from empatheia_jax.settings import Experiment
from empatheia_jax.training import partition, preflight_extract, released, schedule, stages
from empatheia_jax.training.shapes import abstract_batch
from empatheia_jax.training.step import TrainStep
from empatheia_jax.training.tables import format_table


def abstract_model(config: Experiment) -> tuple[nnx.Module, assemble.Widths]:
    """The whole of a config without a single weight, and the widths around it.

    Raises:
      UserError: the core is neither in its folder nor one whose sizes are known here.
    """
    options = assemble.core_options(config)
    folder, name = requirements.folder(config, "llm"), config.networks.llm
    if requirements.is_debug(config):
        kind, of = tiny.CORES[name]
        sizes = assemble.widths(config)
        network: tuple[Callable[..., LanguageModel], Any] = (assemble.CORES[kind].network, of)
    else:
        network, sizes = _core(folder, name), _widths(config)

    def construct():
        constructor, of = network
        return assemble.whole(config, constructor(of, rngs=nnx.Rngs(0), **options), sizes)

    return weights.abstract(construct), sizes


def _core(folder: Path, name: str) -> tuple[Callable[..., LanguageModel], Any]:
    """Network and config of a core, from its folder or from its release."""
    if (folder / weights.CONFIG_FILE).is_file():
        described = weights.describe(folder)
        kind, read = described["kind"], lambda of: weights.config_from_dict(of, described["config"])
    elif name in released.CORES:
        kind, source = released.CORES[name]
        read = lambda of: of.from_source(dict(source))  # noqa: E731
    else:
        raise UserError(
            f"the sizes of {name!r} are unknown: there is no {folder}; convert it first, or use one of "
            f"{', '.join(released.CORES)}"
        )
    if kind not in assemble.CORES:
        raise UserError(f"{name!r} is of kind {kind!r}; expected a core of kind {', '.join(assemble.CORES)}")
    core = assemble.CORES[kind]
    return core.network, read(core.config)


def _widths(config: Experiment) -> assemble.Widths:
    others = [name for name in requirements.NETWORKS if name != "llm"]
    if all((requirements.folder(config, name) / weights.CONFIG_FILE).is_file() for name in others):
        return assemble.widths(config)
    window, channels = assemble.video_target(config, released.DENOISER)
    text = assemble.speech_target(config, released.WIDTHS.speech_content)
    return dataclasses.replace(released.WIDTHS, speech_content=text, video_window=window, video_content=channels)


@dataclasses.dataclass(frozen=True)
class Plan:
    """One stage, ready to be compiled."""

    stage: str
    step: TrainStep
    batch: Batch
    notes: tuple[str, ...]


def plan(config: Experiment, stage: str, mesh: Mesh) -> Plan:
    """The abstract step of a stage on a mesh. A batch that does not divide over the mesh is rounded up, with a note."""
    model, sizes = abstract_model(config)
    partitioned = partition.split(model, stages.TRAINABLE[stage])
    settings = config[stage]
    unit = batch_shards(mesh) * settings.accumulation
    size = -(-settings.batch // unit) * unit
    notes: tuple[str, ...] = ()
    if size != settings.batch:
        notes = (f"batch {settings.batch} does not divide over data×fsdp×accumulation = {unit}: planned with {size}",)
    step = schedule.build_step(config, stage, partitioned, mesh)
    return Plan(stage, step, abstract_batch(config, stage, size, sizes), notes)


def footprint(planned: Plan, target: targets.Target, mesh: Mesh) -> Footprint:
    """Compiles a plan for its mesh."""
    step, state, devices = planned.step, planned.step.abstract_state(), mesh.devices.size
    return analyse(
        planned.stage,
        step.trace(planned.batch),
        target,
        weights=(step.abstract_frozen(), state.trainable),
        optimizer=state.optimizer,
        batch=step.abstract_batch(planned.batch),
        tokens=planned.batch.tokens.size,
        devices=devices,
        share=target.count / devices if target.device.platform == "tpu" else 1.0,
    )


def advice(found: Footprint, config: Experiment, planned: Plan, mesh: Mesh) -> list[str]:
    """What to change when a stage does not fit, the least costly first."""
    if found.fits:
        return []
    lines, settings = [], config[planned.stage]
    if config.networks.remat != "full":
        lines.append("recompute every layer: --config.networks.remat=full")
    rows = planned.batch.size // batch_shards(mesh) // settings.accumulation
    if rows > 1:
        lines.append(
            f"smaller micro-batches: --config.{planned.stage}.accumulation={settings.accumulation * 2} "
            f"(about {found.temporaries / 2 / GIB:.1f} GiB less)"
        )
    if mesh.devices.size > 1 and mesh.shape["data"] > 1:
        lines.append(
            f"split the weights over all devices: --config.mesh.fsdp={mesh.devices.size} "
            f"(about {found.weights * (1 - 1 / mesh.devices.size) / GIB:.1f} GiB less)"
        )
    if not config.networks.frozen_int8:
        lines.append(
            f"frozen weights in int8: --config.networks.frozen_int8=True (about {found.weights / 2 / GIB:.1f} GiB less)"
        )
    lines.append("more or larger devices: another --target")
    return lines


def run(config: Experiment, target: str, json_path: str | os.PathLike | None = None) -> int:
    """Prints the table for every stage of the schedule on `target` and writes it as JSON; 0 if all fit, else 1.

    Raises:
      UserError: an unknown target, a compiler that is not installed, a mesh or a config that does not work.
    """
    wanted = targets.parse(target)
    with target_platform("gpu" if wanted.device.platform == "cuda" else wanted.device.platform):
        return _run(config, wanted, json_path)


def _run(config: Experiment, wanted: targets.Target, json_path: str | os.PathLike | None) -> int:
    devices = targets.devices(wanted)
    mesh = make_mesh(
        *config.mesh.sizes, devices=devices[: max(wanted.count, 1)] if wanted.device.platform == "cuda" else devices
    )
    result: dict[str, Any] = {"target": wanted.name, "mesh": dict(mesh.shape), "stages": []}
    rows, remarks, hours = [], [], 0.0
    if not requirements.is_debug(config) and config.data.modalities:
        found = preflight_extract.footprint(config, wanted, mesh)
        rows.append(_row(found, None))
        result["extract"] = {**found.as_dict(), "clips_per_second": found.tokens_per_second}
        remarks.append(
            f"extract: {preflight_extract.BATCH} longest clips per device at a time, "
            f"{config.data.frames / preflight_extract.FRAMES_PER_SECOND:.0f} s each"
        )
    for stage in config.schedule:
        planned = plan(config, stage, mesh)
        found = footprint(planned, wanted, mesh)
        steps = config[stage].steps
        hours += found.seconds * steps / 3600
        lines = [*planned.notes, *advice(found, config, planned, mesh)]
        remarks += [f"{stage}: {line}" for line in lines]
        rows.append(_row(found, steps))
        result["stages"].append({**found.as_dict(), "steps": steps, "remarks": lines})
    price = config.preflight_price or wanted.device.price
    cost = hours * wanted.count * price
    result |= {"hours": hours, "dollars": cost, "dollars_per_device_hour": price}
    device = wanted.device
    print(f"{wanted.name}, mesh " + " × ".join(f"{axis}={size}" for axis, size in mesh.shape.items()))
    print(format_table(HEADER, rows, right=range(1, len(HEADER))))
    print(
        "GiB are per device, peak against what programs can use. Ceiling: tokens/s of all devices at the roofline (the "
        f"larger of\narithmetic at {device.flops / 1e12:.0f} TFLOP/s, memory at {device.bandwidth / 1e12:.2f} TB/s, links at "
        f"{device.link / 1e9:.0f} GB/s): no run is faster, most are two to three times slower."
    )
    source = "as configured" if config.preflight_price else "an example"
    print(f"At the ceiling the schedule takes {hours:.1f} h and ${cost:,.0f} (${price:.2f} per device-hour, {source}).")
    for remark in remarks:
        print(f"  {remark}")
    if json_path is not None:
        write_json(json_path, result)
    parts = [*result["stages"], *filter(None, [result.get("extract")])]
    return 0 if all(part["fits"] for part in parts) else 1


HEADER = (
    "stage",
    "weights",
    "optimizer",
    "temporaries",
    "peak / usable GiB",
    "fits",
    "TFLOP",
    "MiB moved",
    "step s ≥",
    "bound by",
    "tokens/s ≤",
    "steps",
    "compiled s",
)


def _row(found: Footprint, steps: int | None) -> list[str]:
    gib = lambda size: f"{size / GIB:.2f}"  # noqa: E731
    return [
        found.name,
        gib(found.weights),
        gib(found.optimizer),
        gib(found.temporaries),
        f"{gib(found.peak)} / {found.capacity / GIB:.1f}",
        "yes" if found.fits else "NO",
        f"{found.flops / 1e12:.1f}",
        f"{found.communication / 2**20:,.0f}",
        f"{found.seconds:.3f}",
        found.bound,
        f"{found.tokens_per_second:,.0f}" + (" clips" if steps is None else ""),
        "" if steps is None else f"{steps:,}",
        f"{found.compile_seconds:.0f}",
    ]
