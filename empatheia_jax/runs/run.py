"""A run: its config, its stages, and its trained parameters put into a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax import nnx

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.runs import checkpoint, metrics
from empatheia_jax.runs.integrity import read_record, write_record
from empatheia_jax.settings import PARTS, STAGES
from empatheia_jax.settings.rules import parts


class Run:
    """A run's folder, for reading. Nothing is read before it is asked for; the folder need not exist yet."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)

    @property
    def config_path(self) -> Path:
        """The file of the run's config."""
        return self.folder / "config.json"

    @property
    def metrics_path(self) -> Path:
        """The file of the run's numbers."""
        return self.folder / "metrics" / "metrics.jsonl"

    @property
    def environment_path(self) -> Path:
        """The file that says what the run ran on."""
        return self.folder / "environment.json"

    @property
    def samples(self) -> Path:
        """The folder of the replies that the run made of itself."""
        return self.folder / "samples"

    @property
    def evaluation(self) -> Path:
        """The folder of the tables of the run's evaluation, as Markdown (`*.md`)."""
        return self.folder / "evaluation"

    def stage_folder(self, stage: str) -> Path:
        """The folder of a stage's checkpoints."""
        return self.folder / "checkpoints" / stage

    def config(self) -> dict[str, Any]:
        """The run's config, as plain values.

        Raises:
          UserError: there is none, or it is not as the run wrote it.
        """
        if not self.config_path.is_file():
            raise UserError(f"{self.folder} is no run: it has no {self.config_path.name}; train first, or choose a run")
        advice = (
            "put it back as it was, or start the training again, which writes it anew; values are changed by flags, "
            "for example --config.decoding.temperature=0.7"
        )
        return read_record(self.config_path, {"name": str}, advice)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the run's config, whole or not at all, with a checksum of its own."""
        write_record(self.config_path, config)

    def environment(self) -> dict[str, Any]:
        """What the newest start of the run ran on, for people to read; nothing where that is unknown or damaged."""
        try:
            return read_record(self.environment_path, {}, "start the training again")
        except UserError:
            return {}

    def write_environment(self, values: Mapping[str, Any]) -> None:
        """Notes what the run runs on."""
        write_record(self.environment_path, values)

    def completion(self, stage: str) -> dict[str, Any] | None:
        """How a stage ended (its step, its losses), or None while it is not complete."""
        return checkpoint.completion(self.stage_folder(stage))

    def trained_stages(self) -> list[str]:
        """The stages of the paper that have a checkpoint, in their order."""
        return [stage for stage in STAGES if checkpoint.steps_on_disk(self.stage_folder(stage))]

    def trained_losses(self) -> set[str]:
        """The losses that its stages minimised so far: "emp" (8), "ccl" (9), "sac" (12). Which ones a stage left out, its own
        record says: the run's config is that of the newest start.
        """
        return {loss for stage in self.trained_stages() for loss in PARTS[stage] if loss not in self._left_out(stage)}

    def _left_out(self, stage: str) -> tuple[str, ...]:
        folder = self.stage_folder(stage)
        if not (folder / checkpoint.RUN_FILE).is_file():
            return parts(self.config()["objective"]["without"])
        # A stage of one loss says nothing of it: it is not trained without that loss.
        return parts(checkpoint.belongs_to(folder)["fingerprint"].get("objective.without", ""))

    def metrics(self, stage: str | None = None) -> list[dict[str, Any]]:
        """The lines of the run's metrics, see `runs.metrics`."""
        return metrics.read(self.metrics_path, stage)

    def load_into(self, model: nnx.Module) -> list[str]:
        """Puts the trained parameters of all its stages into a model, in place, in the order of the paper; names them.

        Raises:
          UserError: the model lacks a parameter of the run.
        """
        found = self.trained_stages()
        for stage in found:
            weights.overlay(model, checkpoint.load_trainable(self.stage_folder(stage)))
        return found
