"""`report.html`: one file that tells what a run did — losses by stage, a reply to play, the configuration."""

from __future__ import annotations

import base64
import html
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_text
from empatheia_jax.media.image import png_bytes
from empatheia_jax.media.video import read_frames
from empatheia_jax.runs.run import Run

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 520, 210, 52, 24, 8
COLOURS = ("#1f6f8b", "#d1495b", "#c98a12", "#4c8c6b", "#8d6a9f", "#2e4057", "#b07d62", "#5f0f40", "#3a7d44", "#7a4f9a")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1,h2,h3{font-weight:600}table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}.charts{display:flex;flex-wrap:wrap;gap:1.5rem 2rem}
figure{margin:0;max-width:520px}figure svg{max-width:100%;height:auto}figcaption{color:#333;font-weight:600}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;padding:0;margin:.2rem 0;font-size:13px;color:#444}
.legend i{display:inline-block;width:1.6em;height:0;border-top:3px solid;vertical-align:middle;margin-right:.4em}
.legend i.dashed{border-top-style:dashed}
pre{background:#f5f5f5;padding:1rem;overflow:auto}video{border-radius:8px;background:#000}
dt{font-weight:600}svg text{font:11px system-ui,sans-serif;fill:#555}
@media (max-width:600px){td,th{padding:.25rem .4rem}}
"""
LOGARITHMIC = 20.0
"""From this ratio of the largest to the smallest value on, the values lie on a logarithmic axis."""
EVALUATED = "eval/"

Points = Sequence[tuple[float, float]]


def curve(lines: Mapping[str, Points], title: str, *, linear: bool = False) -> str:
    """A figure with a line chart and its legend below: name → (step, value) points.

    A name that begins with "eval/" is drawn dashed in the colour of its partner. Positive values that differ by more than
    `LOGARITHMIC` times lie on a logarithmic axis, unless `linear`.
    """
    lines = {name: [p for p in line if math.isfinite(p[1])] for name, line in lines.items()}
    flat = [point for line in lines.values() for point in line]
    if not flat:
        return ""
    low, high = min(y for _, y in flat), max(y for _, y in flat)
    logarithmic = not linear and low > 0 and high / low > LOGARITHMIC
    scale = math.log10 if logarithmic else float
    first, last = min(x for x, _ in flat), max(x for x, _ in flat)
    ticks = _ticks(low, high, logarithmic)
    bottom, top = scale(min(low, ticks[0])), scale(max(high, ticks[-1]))
    last, top = (last if last > first else first + 1), (top if top > bottom else bottom + 1)

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - first) / (last - first) * (WIDTH - LEFT - 10),
            HEIGHT - BOTTOM - (scale(y) - bottom) / (top - bottom) * (HEIGHT - BOTTOM - TOP),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">']
    parts.append(f"<title>{html.escape(title)}</title>")
    for tick in ticks:
        _, y = at(first, tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e6e6e6"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(tick)}</text>')
    legend: list[str] = []
    colours: dict[str, str] = {}
    for name, line in lines.items():
        if not line:
            continue
        base, evaluated = name.removeprefix(EVALUATED), name.startswith(EVALUATED)
        colour = colours.setdefault(base, COLOURS[len(colours) % len(COLOURS)])
        dash = ' stroke-dasharray="5 4"' if evaluated else ""
        places = [at(*point) for point in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        if evaluated or len(line) == 1:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        kind = ' class="dashed"' if evaluated else ""
        label = f"{base}, validation" if evaluated else base
        legend.append(f'<li><i style="border-color:{colour}"{kind}></i>{html.escape(label.replace("_", " "))}</li>')
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">step {first:.0f}</text>')
    parts.append(f'<text x="{WIDTH - 10}" y="{HEIGHT - 6}" text-anchor="end">{last:.0f}</text></svg>')
    return (
        f"<figure><figcaption>{html.escape(title)}{' (logarithmic)' if logarithmic else ''}</figcaption>"
        f'{"".join(parts)}<ul class="legend">{"".join(legend)}</ul></figure>'
    )


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """About five round numbers from at most `low` to at least `high`."""
    if logarithmic:
        steps = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        fine = (1, 2, 5) if len(steps) <= 3 else (1,)
        ticks = [digit * 10.0**power for power in steps[:: -(-len(steps) // 7)] for digit in fine]
        inside = [tick for tick in ticks if low <= tick <= high]
        return inside if len(inside) > 1 else [low, high]
    if low == high or low < 0.5 * high:
        low, high = min(low, 0.0), max(high, 0.0)
    high = high if high > low else low + 1.0
    span = high - low
    step = next(s for power in (0, 1) for s in _round_steps(span, power) if span / s <= 6)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step - 1e-9) + 1)]


def _round_steps(span: float, power: int) -> list[float]:
    base = 10.0 ** (math.floor(math.log10(span)) - 1 + power)
    return [base, 2 * base, 5 * base]


def _short(value: float) -> str:
    if value and (abs(value) >= 1e5 or abs(value) < 1e-3):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:,.4g}"


CHARTS: Mapping[str, Callable[[str], bool]] = {
    "losses": lambda name: name == "loss" or name.split("_")[0] in ("emp", "ccl", "sal", "cls", "kl"),
    "accuracies": lambda name: name.endswith("accuracy"),
    "learning rate": lambda name: name == "learning_rate",
    "tokens per second": lambda name: name == "tokens_per_second",
    "share of the time spent waiting for data, and of the peak (MFU)": lambda name: name in ("data_wait", "mfu"),
}
"""Title → whether a number of the log is shown there."""


def charts(entries: Sequence[Mapping[str, Any]]) -> str:
    """The figures of a stage from its lines of the log."""
    figures = []
    for title, shows in CHARTS.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for entry in entries:
            for key, value in entry.items():
                if shows(key.removeprefix(EVALUATED)):
                    lines.setdefault(key, []).append((entry["step"], float(value)))
        first = dict(sorted(lines.items(), key=lambda each: each[0].removeprefix(EVALUATED) != "loss"))
        figures.append(curve(first, title, linear=title != "losses"))
    return f'<div class="charts">{"".join(figures)}</div>'


SPEEDS = {"tokens_per_second": "{:,.0f}", "mfu": "{:.1%}", "data_wait": "{:.0%}"}
"""How fast a stage went, and how that is written."""


def stage_rows(run: Run, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per stage that logged something, in that order: `stage, steps, first_loss, last_loss, seconds, complete`, and medians of
    `SPEEDS`.
    """
    rows = []
    for stage in dict.fromkeys(entry["stage"] for entry in entries):
        logged = [entry for entry in entries if entry["stage"] == stage and "loss" in entry]
        if not logged:
            continue
        row = {"stage": stage, "steps": logged[-1]["step"], "complete": False}
        for name in SPEEDS:
            values = [float(entry[name]) for entry in logged if name in entry]
            row[name] = statistics.median(values) if values else None
        row |= {"first_loss": logged[0]["loss"], "last_loss": logged[-1]["loss"], "seconds": None}
        if done := run.completion(stage):
            row |= {name: done[name] for name in ("first_loss", "last_loss", "seconds") if name in done}
            row |= {"steps": done["step"], "complete": True}
        rows.append(row)
    return rows


HEADS = ("stage", "steps", "first loss", "last loss", "seconds", "tokens/s", "MFU", "waits for data")


def stage_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of stages: loss from what to what, steps, seconds."""

    def cells(row: Mapping[str, Any]) -> Iterator[str]:
        yield html.escape(str(row["stage"]))
        yield f"{row['steps']}" + ("" if row["complete"] else " (not complete)")
        yield f"{row['first_loss']:.4g}"
        yield f"{row['last_loss']:.4g}"
        yield "" if row["seconds"] is None else f"{row['seconds']:,.0f}"
        for name, form in SPEEDS.items():
            yield "" if row.get(name) is None else form.format(row[name])

    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells(row)) + "</tr>" for row in rows)
    heads = "".join(f"<th>{name}</th>" for name in HEADS)
    return f"<table><tr>{heads}</tr>{body}</table>"


def write(run: Run) -> Path:
    """Writes `report.html` of a run from what its folder holds, whole or not at all; everything is inside it (no other file,
    no network). Returns its path.
    """
    path, config, entries = run.folder / "report.html", run.config(), run.metrics()
    name, rows = str(config.get("name", run.folder.name)), stage_rows(run, entries)
    body = [f"<h1>{html.escape(name)}</h1>", "<h2>Stages</h2>", stage_table(rows)]
    for row in rows:
        body.append(f"<h2>Stage {html.escape(str(row['stage']))}</h2>")
        body.append(charts([entry for entry in entries if entry["stage"] == row["stage"]]))
    for reply in sorted(run.samples.glob("*/reply.json"))[:1]:
        body.append(_reply(reply.parent))
    if found := run.environment():
        cells = "".join(f"<tr><td>{html.escape(k)}</td><td>{html.escape(str(v))}</td></tr>" for k, v in found.items())
        body.append(f"<h2>Hardware and versions</h2><table>{cells}</table>")
    body.append(f"<h2>Configuration</h2><pre>{html.escape(json.dumps(config, indent=1, ensure_ascii=False))}</pre>")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(name)}</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)
    return path


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _poster(film: Path) -> str:
    """The frame in the middle of a film, for browsers that show none before it plays."""
    try:
        (frame,) = read_frames(film, count=1)
    except UserError:
        return ""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(frame)).decode()}"


def _reply(folder: Path) -> str:
    said = json.loads((folder / "reply.json").read_text(encoding="utf-8"))
    steps = "".join(
        f"<dt>{html.escape(key.replace('_', ' '))}</dt><dd>{html.escape(str(said.get(key)))}</dd>"
        for key in ("event_scenario", "speaker_emotion", "emotion_cause", "goal_to_response", "response")
        if said.get(key)
    )
    if shown := said.get("listener_emotion"):
        steps += f"<dt>listener shows</dt><dd>{html.escape(str(shown['shown']))}, intensity {shown['intensity']:g}</dd>"
    media = ""
    if (folder / "reply.mp4").is_file():
        source, poster = _embedded(folder / "reply.mp4", "video/mp4"), _poster(folder / "reply.mp4")
        media = f'<video controls width="256" poster="{poster}" src="{source}"></video>'
    elif (folder / "reply.wav").is_file():
        media = f'<audio controls src="{_embedded(folder / "reply.wav", "audio/wav")}"></audio>'
    asked = said.get("asked")
    question = f"<p>“{html.escape(asked)}”</p>" if asked else ""
    return f"<h2>A reply</h2>{question}{media}<dl>{steps}</dl>"
