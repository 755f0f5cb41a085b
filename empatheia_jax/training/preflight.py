"""`--mode=preflight`: does a run fit hardware that is not here, how fast can it be there, and what would it cost?

Every stage of the config's schedule is built abstractly, from the same constructors and the same step as training, and
compiled for the target (`parallel.preflight`). No weights are needed: where a network's folder is absent, the released
checkpoint's own sizes stand in.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from empatheia_jax import assemble, tiny, weights
from empatheia_jax.batch import Batch
from empatheia_jax.errors import UserError
from empatheia_jax.parallel import targets
from empatheia_jax.parallel.mesh import batch_shards, make_mesh
from empatheia_jax.parallel.preflight import Footprint, analyse
from empatheia_jax.parallel.targets import GIB
from empatheia_jax.training import partition, schedule, stages
from empatheia_jax.training.step import TrainStep
from empatheia_jax.training.tables import format_table

RELEASED = {
    # Fields of the released config.json that say something about sizes.
    "vicuna-7b-v1.5": {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "rope_scaling": None,
        "tie_word_embeddings": False,
    },
    "chatglm3-6b": {
        "model_type": "chatglm",
        "padded_vocab_size": 65024,
        "hidden_size": 4096,
        "ffn_hidden_size": 13696,
        "num_layers": 28,
        "num_attention_heads": 32,
        "kv_channels": 128,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "add_qkv_bias": True,
        "seq_length": 8192,
        "layernorm_epsilon": 1e-5,
    },
    "flan-t5-xxl": {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_decoder_layers": 24,
        "num_heads": 64,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    },
}
RELEASED_WIDTHS = assemble.Widths(
    speech=1024, video=1024, speech_content=512, speech_style=256, video_window=11, video_content=256, video_style=256
)
"""HuBERT-large, CLIP-L/14-336, StyleTTS2 and DreamTalk."""
SLOTS = 24
"""Features of one modality per utterance (`Batch`)."""


def abstract_model(config) -> tuple[nnx.Module, assemble.Widths]:
    """The whole of a config without a single weight, and the widths around it.

    Raises:
      UserError: the core is neither in its folder nor one whose sizes are known here.
    """
    options = assemble.core_options(config)
    folder, name = assemble.folder(config, "llm"), config.networks.llm
    if assemble.is_debug(config):
        kind, of = tiny.CORES[name]
        network, sizes = (assemble.CORES[kind].network, of), assemble.widths(config)
    elif (folder / weights.CONFIG_FILE).is_file():
        described = weights.describe(folder)
        known = assemble.CORES[described["kind"]]
        network = (known.network, weights.config_from_dict(known.config, described["config"]))
        sizes = _widths(config)
    elif name in RELEASED:
        known = assemble.CORES[RELEASED[name]["model_type"]]
        network, sizes = (known.network, known.config.from_source(RELEASED[name])), _widths(config)
    else:
        raise UserError(
            f"the sizes of {name!r} are unknown: there is no {folder}; convert it first, or use one of "
            f"{', '.join(RELEASED)}"
        )

    def construct():
        constructor, of = network
        return assemble.whole(config, constructor(of, rngs=nnx.Rngs(0), **options), sizes)

    return nnx.eval_shape(construct), sizes


def _widths(config) -> assemble.Widths:
    others = [name for name in assemble.NETWORKS if name != "llm"]
    if all((assemble.folder(config, name) / weights.CONFIG_FILE).is_file() for name in others):
        return assemble.widths(config)
    return RELEASED_WIDTHS


def abstract_batch(config, stage: str, size: int, sizes: assemble.Widths) -> Batch:
    """The largest batch that the data pipeline makes for a stage: shapes and dtypes."""
    data = config.data
    length, needs = data.max_length, stages.parts(stage, schedule.objective(config))

    def array(*shape, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((size, *shape), dtype)

    wide: dict[str, Any] = {}
    media = [name for name in data.modalities.split(",") if name]
    for name in media:
        wide[name] = array(data.utterances * SLOTS, getattr(sizes, name), dtype=jnp.float32)
    if "ccl" in needs:
        wide["speech_content"] = array(data.phonemes, sizes.speech_content, dtype=jnp.float32)
        wide["speech_content_lengths"] = array()
        wide["video_content"] = array(data.frames, sizes.video_window, sizes.video_content, dtype=jnp.float32)
        wide["video_content_lengths"] = array()
    if "sac" in needs:
        wide["speech_style"] = array(sizes.speech_style, dtype=jnp.float32)
        wide["video_style"] = array(sizes.video_style, dtype=jnp.float32)
    labels = {name: array() for name in ("emotion32", "emotion7", "age", "gender", "tone", "example_id", "lengths")}
    return Batch(
        tokens=array(length),
        loss_mask=array(length, dtype=jnp.bool_),
        reply_mask=array(length, dtype=jnp.bool_),
        weight=array(dtype=jnp.float32),
        **labels,
        **wide,
    )


@dataclasses.dataclass(frozen=True)
class Plan:
    """One stage, ready to be compiled."""

    stage: str
    step: TrainStep
    batch: Batch
    notes: tuple[str, ...]


def plan(config, stage: str, mesh: Mesh) -> Plan:
    """The abstract step of a stage on a mesh. A batch that does not divide over the mesh is rounded up, with a note."""
    model, sizes = abstract_model(config)
    cut = partition.split(model, stages.TRAINABLE[stage])
    settings = config[stage]
    unit = batch_shards(mesh) * settings.accumulation
    size, notes = -(-settings.batch // unit) * unit, ()
    if size != settings.batch:
        notes = (f"batch {settings.batch} does not divide over data×fsdp×accumulation = {unit}: planned with {size}",)
    step = schedule.build_step(config, stage, cut, mesh)
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


def advice(found: Footprint, config, planned: Plan, mesh: Mesh) -> list[str]:
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


def run(config, target: str, json_path: str | os.PathLike | None = None) -> int:
    """Prints the table for every stage of the schedule on `target` and writes it as JSON; 0 if all fit, else 1.

    Raises:
      UserError: an unknown target, a compiler that is not installed, a mesh or a config that does not work.
    """
    wanted = targets.parse(target)
    devices = targets.devices(wanted)
    mesh = make_mesh(
        **config.mesh, devices=devices[: max(wanted.count, 1)] if wanted.device.platform == "cuda" else devices
    )
    result = {"target": wanted.name, "mesh": dict(mesh.shape), "stages": []}
    rows, remarks, hours = [], [], 0.0
    for stage in schedule.names(config):
        planned = plan(config, stage, mesh)
        found = footprint(planned, wanted, mesh)
        steps = config[stage].steps
        hours += found.seconds * steps / 3600
        lines = [*planned.notes, *advice(found, config, planned, mesh)]
        remarks += [f"{stage}: {line}" for line in lines]
        rows.append(_row(found, steps))
        result["stages"].append({**found.as_dict(), "steps": steps, "remarks": lines})
    cost = hours * wanted.count * wanted.device.price
    result |= {"hours": hours, "dollars": cost, "dollars_per_device_hour": wanted.device.price}
    device = wanted.device
    print(f"{wanted.name}, mesh " + " × ".join(f"{axis}={size}" for axis, size in mesh.shape.items()))
    print(format_table(HEADER, rows, right=range(1, len(HEADER))))
    print(
        "GiB are per device, peak against what programs can use. Ceiling: tokens/s of all devices at the roofline (the "
        f"larger of\narithmetic at {device.flops / 1e12:.0f} TFLOP/s, memory at {device.bandwidth / 1e12:.2f} TB/s, links at "
        f"{device.link / 1e9:.0f} GB/s): no run is faster, most are two to three times slower."
    )
    print(
        f"At the ceiling the schedule takes {hours:.1f} h and ${cost:,.0f} (at an assumed ${device.price:.2f} per device-hour)."
    )
    for remark in remarks:
        print(f"  {remark}")
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(path)
    return 0 if all(stage["fits"] for stage in result["stages"]) else 1


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


def _row(found: Footprint, steps: int) -> list[str]:
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
        f"{found.tokens_per_second:,.0f}",
        f"{steps:,}",
        f"{found.compile_seconds:.0f}",
    ]
