"""The numbers of a run: `metrics/metrics.jsonl`, one line `{"stage", "step", "time", …values}` per logged step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from empatheia_jax.files import parse_line


def read(path: Path, stage: str | None = None) -> list[dict[str, Any]]:
    """The lines of a stage (or of all), in order; none where there is no file."""
    if not path.is_file():  # nor a pipe, which would be waited for
        return []
    entries = [entry for line in path.read_bytes().splitlines() if (entry := parse(line)) is not None]
    return [entry for entry in entries if stage is None or entry["stage"] == stage]


def parse(line: str | bytes) -> dict[str, Any] | None:
    """One line of the file; None for one that a kill has cut short or a disk has damaged."""
    try:
        entry = parse_line(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and {"stage", "step"} <= entry.keys() else None
