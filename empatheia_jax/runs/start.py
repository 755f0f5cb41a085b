"""Gives on what a run has trained: `python -m empatheia_jax.runs.start --run=runs/starter --output=FOLDER`.

The folder (`weights.leaves`) holds the trained leaves of all stages of the run, with those that it began from beneath them, and
says how they came about. `config.start` and `Empatheia.from_pretrained` read it.

`--adapter-scale=0.5` gives the adapters on at half their strength: a point between the language model as it was and as it was
trained. On text unlike the training's, such a point is often better than either end (Wortsman et al., Robust fine-tuning of
zero-shot models, CVPR 2022).
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.runs import checkpoint
from empatheia_jax.runs.run import Run

_SECOND_FACTOR = re.compile(r"\.lora\.[^.]+\.b$")
"""LoRA adds x A B: a factor on B is one on what it adds."""


def write(run: Run, output: Path, note: str = "", card: str | None = None, *, adapter_scale: float = 1.0) -> Path:
    """Writes the trained leaves of a run, see the module; returns the folder.

    Args:
      run: the run whose trained leaves are written.
      output: the folder to write.
      note: a sentence on how it was trained.
      card: the text of README.md.
      adapter_scale: factor on what the LoRA adapters add, above 0.

    Raises:
      UserError: the folder is no run, no stage of it is trained, or a checkpoint is damaged.
    """
    config, stages = run.config(), run.trained_stages()
    if not stages:
        raise UserError(f"{run.folder} holds no trained stage; train first")
    begun = weights.open_start(config["start"]) if config["start"] else None
    leaves: dict[str, Any] = dict(begun.leaves()) if begun else {}
    for stage in stages:
        leaves |= checkpoint.load_trainable(run.stage_folder(stage))
    for path in leaves:
        if _SECOND_FACTOR.search(path):
            leaves[path] = leaves[path] * adapter_scale
    known = checkpoint.belongs_to(run.stage_folder(stages[-1]))
    facts = {
        "config": {**config, "start": ""},
        "losses": sorted(run.trained_losses() | set(begun.losses if begun else ())),
        "weights": {name: value for name, value in known["metadata"]["weights"].items() if name != "start"},
        "stages": {stage: _history(run, stage) for stage in stages},
        "began_from": {"start": config["start"], **begun.facts, "config": None} if begun else None,
        "versions": known["versions"],
        "adapter_scale": adapter_scale,
        "note": note,
    }
    return weights.write_start(output, leaves, facts, card)


def _history(run: Run, stage: str) -> dict[str, Any]:
    """How a stage was trained: its step, what completed it, and the losses on the validation split by step."""
    evaluated = [
        {"step": line["step"], **{key: value for key, value in line.items() if key.startswith("eval/")}}
        for line in run.metrics(stage)
        if any(key.startswith("eval/") for key in line)
    ]
    return {
        "step": checkpoint.current_step(run.stage_folder(stage)),
        "completed": run.completion(stage),
        "validation": evaluated,
    }


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m empatheia_jax.runs.start", description=__doc__)
    options.add_argument("--run", required=True, type=Path, help="the run's folder")
    options.add_argument("--output", required=True, type=Path, help="folder to write")
    options.add_argument("--note", default="", help="a sentence on how it was trained, kept with it")
    options.add_argument("--adapter-scale", type=float, default=1.0, help="factor on what the LoRA adapters add")
    options.add_argument("--card", type=Path, help="a Markdown file that becomes the folder's README.md")
    return options


@main_guard
def main(argv: list[str]) -> int:
    """Writes the folder and says how large it is."""
    options = parser().parse_args(argv)
    card = None if options.card is None else options.card.read_text(encoding="utf-8")
    if not 0 < options.adapter_scale < math.inf:
        raise UserError(
            f"--adapter-scale={options.adapter_scale}; expected a number above 0, 1 for the adapters as trained"
        )
    folder = write(Run(options.run), options.output, options.note, card, adapter_scale=options.adapter_scale)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
