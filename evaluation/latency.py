"""How long the parts of a reply took."""

from __future__ import annotations

from evaluation import cells
from evaluation.paper import Column
from evaluation.run import Evaluation
from evaluation.tables import Row, Table


def latency(evaluation: Evaluation) -> Table | None:
    """Seconds that the parts of a reply took, as the systems say of themselves: p50 and p95."""
    parts: list[str] = []
    times: dict[str, dict[str, list[float]]] = {}
    for system in evaluation.systems:
        for name in evaluation.questions:
            timings = system.replies[name].values.get("timings")
            for part, seconds in timings.items() if isinstance(timings, dict) else ():
                if isinstance(seconds, int | float) and not isinstance(seconds, bool):
                    times.setdefault(system.row, {}).setdefault(str(part), []).append(float(seconds))
                    if part not in parts:
                        parts.append(str(part))
    if not times:
        return None
    columns = [Column(f"{part} p{p}", f"{part}, p{p} s", 2, -1) for part in parts for p in (50, 95)]
    rows = []
    for row, name in evaluation.titles().items():
        if row in times:
            found = {
                f"{part} p{p}": cells.percentile(times[row].get(part, []), p / 100) for part in parts for p in (50, 95)
            }
            rows.append(Row(row, name, found))
    hardware = "; ".join(
        f"{each.title}: {each.manifest.hardware or 'hardware not stated'}" for each in evaluation.systems
    )
    return Table("latency", "Seconds of each part of a reply", columns, rows, [hardware])
