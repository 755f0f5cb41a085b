"""The numbers of a run: `metrics/metrics.jsonl`, one line `{"stage", "step", "time", …values}` per logged step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path, stage: str | None = None) -> list[dict[str, Any]]:
    """The lines of a stage (or of all), in order; none where there is no file."""
    if not path.exists():
        return []
    entries = [entry for line in path.read_text().splitlines() if (entry := parse(line)) is not None]
    return [entry for entry in entries if stage is None or entry["stage"] == stage]


def parse(line: str) -> dict[str, Any] | None:
    """One line of the file; None for one that a kill has cut short."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) and {"stage", "step"} <= entry.keys() else None
