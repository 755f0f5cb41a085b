"""Where the time of a call went, by the kernels of a profile."""

from __future__ import annotations

import collections
import re
from pathlib import Path
from typing import Any

from jax.profiler import ProfileData

KERNELS = 40
"""Named in a text; what is left is one line."""


def write(traces: Path, text: Path) -> None:
    """The profiles below a folder as a text: for each call the kernels by the time they took, and the time without any."""
    calls = sorted(traces.rglob("*.xplane.pb"))
    if not calls:
        return
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text("\n".join(f"call {k}\n{summary(ProfileData.from_file(str(call)))}" for k, call in enumerate(calls)))


def summary(profile: Any) -> str:
    """Kernels of the first device: total time, count, name; kernels of one kind that differ in a number are one."""
    planes = [plane for plane in profile.planes if plane.name.startswith("/device:")]
    if not planes:
        return "the profile has no device: on a CPU the kernels are not told apart\n"
    times: collections.Counter[str] = collections.Counter()
    counts: collections.Counter[str] = collections.Counter()
    spans: list[tuple[float, float]] = []
    for line in planes[0].lines:
        if not line.name.startswith("Stream"):
            continue
        for event in line.events:
            name = re.sub(r"[._]\d+", "", event.name)
            times[name] += event.duration_ns
            counts[name] += 1
            spans.append((event.start_ns, event.start_ns + event.duration_ns))
    if not spans:
        return "the profile has no kernels\n"
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    lines = [f"{whole / 1e6:12.3f} ms from the first kernel to the last, {(whole - _busy(spans)) / 1e6:.3f} of it idle"]
    for name, spent in times.most_common(KERNELS):
        lines.append(f"{spent / 1e6:12.3f} ms {100 * spent / whole:5.1f} % {counts[name]:7} × {name}")
    rest = sum(times.values()) - sum(spent for _, spent in times.most_common(KERNELS))
    return "\n".join([*lines, f"{rest / 1e6:12.3f} ms in other kernels", ""])


def _busy(spans: list[tuple[float, float]]) -> float:
    """Time in which at least one kernel ran."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
