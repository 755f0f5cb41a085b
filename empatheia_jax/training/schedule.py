"""A run: the stages of a schedule one after another, each resumed where it stopped and skipped once complete.

Where a stage starts from, in this order: its own newest checkpoint; else the trained leaves of the stages before it, in the
order of the paper; else the converted weights (core) and fresh ones (adapters, bridge).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from empatheia_jax import assemble
from empatheia_jax.files import write_text
from empatheia_jax.parallel.mesh import batch_part, make_mesh
from empatheia_jax.settings import Experiment, Stage, plain
from empatheia_jax.training import loop, optimizers, partition, report, stages
from empatheia_jax.training import step as steps
from empatheia_jax.training.checkpoints import Checkpoints, completion, load_trainable
from empatheia_jax.training.losses import mean
from empatheia_jax.training.metrics import Metrics, flops_per_token
from empatheia_jax.training.tables import format_table, parameter_table

MakeBatches = Callable[..., Any]
"""`(config, stage, split, tokenizer, widths, part) → iterator of the host batches of a part` with `get_state` and
`set_state`; for the splits "train" (endless) and "valid" (one pass, padded with weight 0)."""


def objective(config: Experiment) -> stages.Objective:
    """`config.objective` as a dataclass."""
    values = config.objective
    return stages.Objective(
        values.alpha,
        values.beta,
        values.kl_weight,
        values.regression,
        values.without,
        classifies=config.bridge.style_kind != "linear",
    )


def optimizer_config(settings: Stage) -> optimizers.OptimizerConfig:
    """A stage's block of the config as the optimizer's dataclass."""
    return optimizers.OptimizerConfig(
        learning_rate=settings.learning_rate,
        steps=settings.steps,
        warmup_steps=settings.warmup,
        decay=settings.decay,
        weight_decay=settings.weight_decay,
        group_rates=settings.group_rates,
        clip=settings.clip or None,
        ema=settings.ema or None,
    )


def build_step(config: Experiment, stage: str, cut: partition.Partition, mesh) -> steps.TrainStep:
    """The compiled step of a stage; `cut` may be abstract."""
    settings, what = config[stage], objective(config)
    return steps.build(
        cut,
        stages.loss_function(stage, what),
        optimizers.build(optimizer_config(settings)),
        mesh,
        coefficients=stages.coefficients(stage, what),
        accumulation=settings.accumulation,
        clip=settings.clip or None,
        ema=settings.ema or None,
        compiler_options=steps.accepted_options(config.compiler_options),
    )


def fingerprint(config: Experiment, stage: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """What must be equal for a run to go on: the networks, the data, the objective and this stage's settings."""
    values = plain(config)
    settings = {key: values[stage][key] for key in values[stage] if key not in ("save_every", "eval_every")}
    kept = {key: values[key] for key in ("seed", "lora", "bridge", "objective")}
    text = {key: value for key, value in values["data"].items() if key not in ("path", "workers")}
    return {**kept, "data": text, stage: settings, "weights": dict(hashes)}


def run(
    config: Experiment, workdir: Path, make_batches: MakeBatches, sample: Callable[..., Path | None] | None = None
) -> int:
    """Trains the schedule, or what is left of it; writes checkpoints, metrics, a sampled reply and `report.html`.

    Args:
      config: the resolved config.
      workdir: the run's folder.
      make_batches: where batches come from, see `MakeBatches`.
      sample: `(config, workdir, load_stages) → folder with a reply` to play in the report, or None.

    Raises:
      UserError: weights or data are missing; the folder belongs to another run; the loss is not finite; the disk is full.
    """
    assemble.require(config)
    mesh = make_mesh(*config.mesh.sizes)
    workdir.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        write_text(workdir / "config.json", json.dumps(plain(config), indent=1) + "\n")
    jax.config.update("jax_compilation_cache_dir", str((workdir / "compilation_cache").absolute()))
    assembly = assemble.empatheia(config, mesh)
    metrics = Metrics(workdir / "metrics")
    rows = []
    for stage in stages.STAGES:
        folder = workdir / "checkpoints" / stage
        done = completion(folder)
        if stage not in config.schedule:
            if done and stages.STAGES.index(stage) < stages.STAGES.index(config.schedule[0]):
                assemble.overlay(assembly.model, load_trainable(folder, ema=bool(config[stage].ema)))
            continue
        began = time.time()
        result = _stage(config, stage, assembly, mesh, make_batches, folder, metrics)
        seconds = (done or {}).get("seconds", time.time() - began)
        note = "complete already" if result.skipped else f"{seconds:.0f} s"
        rows.append(
            {
                "stage": stage,
                "steps": result.steps,
                "first_loss": result.first_loss,
                "last_loss": result.last_loss,
                "seconds": seconds,
                "note": note,
            }
        )
    metrics.close()
    if jax.process_index() != 0:  # the first process writes the report
        return 0
    reply = sample(config, workdir, load_stages) if sample is not None and not (workdir / "samples").exists() else None
    reply = reply or next(iter(sorted((workdir / "samples").glob("*"))), None)
    where = report.write(
        workdir / "report.html",
        name=config.name,
        config=plain(config),
        stages=rows,
        entries=metrics.read(),
        reply=reply,
    )
    table = [[r["stage"], str(r["steps"]), f"{r['first_loss']:.4f}", f"{r['last_loss']:.4f}", r["note"]] for r in rows]
    print("\n" + format_table(("stage", "steps", "loss from", "to", "time"), table, right=(1, 2, 3, 4)))
    print(f"\nreport: {where}")
    return 0


def averaged(state: steps.TrainState) -> dict[str, jax.Array]:
    """What a stage gives to evaluation and to later stages: the moving average where one is kept."""
    return state.trainable if state.ema is None else state.ema


def load_stages(config: Experiment, workdir: Path, model) -> list[str]:
    """Puts the trained leaves of every stage that a run has begun into the model, in the order of the paper; names them."""
    loaded = []
    for stage in stages.STAGES:
        folder = workdir / "checkpoints" / stage
        if completion(folder) or Checkpoints.steps_on_disk(folder):
            assemble.overlay(model, load_trainable(folder, ema=bool(config[stage].ema)))
            loaded.append(stage)
    return loaded


def _stage(config: Experiment, stage: str, assembly, mesh, make_batches, folder, metrics) -> loop.StageResult:
    settings = config[stage]
    cut = partition.split(assembly.model, stages.TRAINABLE[stage])
    step = build_step(config, stage, cut, mesh)
    metadata = {"config": plain(config), "weights": dict(assembly.hashes)}
    identity = fingerprint(config, stage, assembly.hashes)
    with Checkpoints(folder, fingerprint=identity, metadata=metadata, keep=config.keep_checkpoints) as checkpoints:
        if checkpoints.complete is None:
            print(f"\nstage {stage}\n{parameter_table(cut, mesh=mesh)}")
        frozen = step.place_frozen(cut.frozen)
        state = step.init(cut.trainable, config.seed + stages.STAGES.index(stage))

        def batches(split: str):
            return make_batches(config, stage, split, assembly.tokenizer, assembly.widths, batch_part(mesh))

        def evaluate(state) -> dict[str, float]:
            totals: dict[str, Any] = {}
            state = dataclasses.replace(state, trainable=averaged(state))
            for batch in batches("valid"):
                pairs = jax.device_get(step.evaluate(state, frozen, step.place_batch(batch)))
                for name, (total, weight) in pairs.items():
                    before = totals.get(name, (0.0, 0.0))
                    totals[name] = before[0] + total, before[1] + weight
            return {name: float(mean(pair)) for name, pair in totals.items()}

        core = sum(value.size for path, value in cut.frozen.items() if path.startswith("core."))
        result = loop.run(
            stage,
            step,
            state,
            frozen,
            batches("train") if checkpoints.complete is None else iter(()),
            checkpoints,
            metrics,
            settings.steps,
            log_every=config.log_every,
            save_every=settings.save_every,
            eval_fn=evaluate if settings.eval_every else None,
            eval_every=settings.eval_every,
            profile_steps=config.profile_steps,
            flops_per_token=flops_per_token(core, sum(v.size for v in cut.trainable.values())),
        )
    assemble.overlay(assembly.model, averaged(result.state))
    return result
