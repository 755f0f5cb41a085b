"""`report.html`: one file that tells what a run did — losses by stage, a reply to play, the configuration."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from empatheia_jax.files import write_text
from empatheia_jax.runs.run import Run

WIDTH, HEIGHT, MARGIN = 520, 200, 40
COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#66a182", "#8d6a9f", "#2e4057", "#b07d62", "#5f0f40")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1120px;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1,h2{font-weight:600}table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}.stage{display:inline-block;margin:0 1.5rem 1.5rem 0;vertical-align:top}
pre{background:#f5f5f5;padding:1rem;overflow:auto}video{border-radius:8px;background:#000}figcaption{color:#555}
dt{font-weight:600}svg text{font:11px system-ui,sans-serif;fill:#555}
"""


def curve(points: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """An SVG line chart: name → (step, value) points, on linear axes."""
    flat = [point for line in points.values() for point in line]
    if not flat:
        return ""
    xs, ys = [p[0] for p in flat], [p[1] for p in flat]
    x0, x1, y0, y1 = min(xs), max(xs), min(0.0, *ys), max(ys)
    x1, y1 = (x1 if x1 > x0 else x0 + 1), (y1 if y1 > y0 else y0 + 1)

    def at(x, y):
        return (
            MARGIN + (x - x0) / (x1 - x0) * (WIDTH - MARGIN - 10),
            HEIGHT - 25 - (y - y0) / (y1 - y0) * (HEIGHT - 50),
        )

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">']
    parts.append(f"<title>{html.escape(title)}</title>")
    for k in range(5):
        value = y0 + (y1 - y0) * k / 4
        _, y = at(x0, value)
        parts.append(f'<line x1="{MARGIN}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{MARGIN - 5}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for number, (name, line) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<text x="{MARGIN + 10 + 105 * (number % 4)}" y="{12 + 12 * (number // 4)}">')
        parts.append(f'<tspan fill="{colour}">■</tspan> {html.escape(name)}</text>')
    parts.append(f'<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">step {x1:.0f}</text></svg>')
    return "".join(parts)


def stage_rows(run: Run, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per stage that logged something, in that order: `stage, steps, first_loss, last_loss, seconds, complete`."""
    rows = []
    for stage in dict.fromkeys(entry["stage"] for entry in entries):
        logged = [entry for entry in entries if entry["stage"] == stage and "loss" in entry]
        if not logged:
            continue
        row = {"stage": stage, "steps": logged[-1]["step"], "complete": False}
        row |= {"first_loss": logged[0]["loss"], "last_loss": logged[-1]["loss"], "seconds": None}
        if done := run.completion(stage):
            row |= {name: done[name] for name in ("first_loss", "last_loss", "seconds") if name in done}
            row |= {"steps": done["step"], "complete": True}
        rows.append(row)
    return rows


def stage_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of stages: loss from what to what, steps, seconds."""

    def cells(row: Mapping[str, Any]) -> Iterator[str]:
        yield html.escape(str(row["stage"]))
        yield f"{row['steps']}" + ("" if row["complete"] else " (not complete)")
        yield f"{row['first_loss']:.4g}"
        yield f"{row['last_loss']:.4g}"
        yield "" if row["seconds"] is None else f"{row['seconds']:.0f}"

    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells(row)) + "</tr>" for row in rows)
    heads = "".join(f"<th>{name}</th>" for name in ("stage", "steps", "first loss", "last loss", "seconds"))
    return f"<table><tr>{heads}</tr>{body}</table>"


def write(run: Run) -> Path:
    """Writes `report.html` of a run from what its folder holds, whole or not at all; everything is inside it (no other file,
    no network). Returns its path.
    """
    path, config, entries = run.folder / "report.html", run.config(), run.metrics()
    name, rows = str(config.get("name", run.folder.name)), stage_rows(run, entries)
    body = [f"<h1>{html.escape(name)}</h1>", "<h2>Stages</h2>", stage_table(rows)]
    for row in rows:
        lines: dict[str, list[tuple[float, float]]] = {}
        for entry in entries:
            if entry["stage"] != row["stage"]:
                continue
            for key, value in entry.items():
                if key == "loss" or key.split("_")[0] in ("emp", "ccl", "sal", "cls"):
                    lines.setdefault(key, []).append((entry["step"], float(value)))
        if lines:
            title = f"losses of stage {row['stage']}"
            body.append(f'<figure class="stage">{curve(lines, title)}<figcaption>{title}</figcaption></figure>')
    for reply in sorted(run.samples.glob("*/reply.json"))[:1]:
        body.append(_reply(reply.parent))
    body.append(f"<h2>Configuration</h2><pre>{html.escape(json.dumps(config, indent=1, ensure_ascii=False))}</pre>")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(name)}</title>'
        f"<style>{STYLE}</style><body>{''.join(body)}</body></html>\n"
    )
    write_text(path, page)
    return path


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _reply(folder: Path) -> str:
    said = json.loads((folder / "reply.json").read_text(encoding="utf-8"))
    steps = "".join(
        f"<dt>{html.escape(key.replace('_', ' '))}</dt><dd>{html.escape(str(said.get(key)))}</dd>"
        for key in ("event_scenario", "speaker_emotion", "emotion_cause", "goal_to_response", "response")
    )
    if shown := said.get("listener_emotion"):
        steps += f"<dt>listener shows</dt><dd>{html.escape(str(shown['shown']))}, intensity {shown['intensity']:g}</dd>"
    media = ""
    if (folder / "reply.mp4").is_file():
        media = f'<video controls width="256" src="{_embedded(folder / "reply.mp4", "video/mp4")}"></video>'
    elif (folder / "reply.wav").is_file():
        media = f'<audio controls src="{_embedded(folder / "reply.wav", "audio/wav")}"></audio>'
    asked = said.get("asked")
    question = f"<p>“{html.escape(asked)}”</p>" if asked else ""
    return f"<h2>A reply</h2>{question}{media}<dl>{steps}</dl>"
