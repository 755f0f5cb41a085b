"""One page without any file beside it: tables, figures, cases with their films, and everything that is missing."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from empatheia_jax.files import write_bytes, write_text
from evaluation import emotions, figures, films, results, run, tables
from evaluation.cells import Cell
from evaluation.figures import Case, Figure
from evaluation.paper import Column
from evaluation.run import Evaluation
from evaluation.systems import System
from evaluation.tables import Table

MARKDOWN = "tables.md"
"""The tables for a model card."""
LARGEST = 40_000_000
"""Bytes of films in one page; those of further cases are left out, and the page says so."""

STYLE = """
:root{--ink:#1c2430;--soft:#5d6b7d;--line:#dde3ea;--back:#fff;--panel:#f6f8fb;--accent:#2b6cb0;--paper:#7a5195}
@media(prefers-color-scheme:dark){:root{--ink:#e7ecf3;--soft:#9aa8ba;--line:#33404f;--back:#151b23;--panel:#1d2530;
--accent:#7db3ea;--paper:#c8a2e0}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);margin:0}
main{max-width:1280px;margin:0 auto;padding:1.5rem}h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.25rem;margin:2.2rem 0 .5rem}
nav{display:flex;flex-wrap:wrap;gap:.3rem .9rem;margin:1rem 0;font-size:.9rem}a{color:var(--accent)}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{padding:.45rem .8rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--back)}thead th{background:var(--panel)}
thead th:first-child{background:var(--panel)}tr:last-child td{border-bottom:0}td b{font-size:1rem}
td small{display:block;color:var(--soft);font-size:.74rem}td .paper{color:var(--paper)}
tr.missing td{color:var(--soft)}.words td,.words th{text-align:left}
.note{color:var(--soft);font-size:.85rem;margin:.4rem 0;max-width:95ch}
.facts{background:var(--panel);border-radius:8px;padding:.8rem 1rem;font-size:.9rem}.facts dt{font-weight:600}
.facts dd{margin:0 0 .3rem}img{max-width:100%;border-radius:8px;background:#fff}pre{overflow-x:auto;background:var(--panel);
padding:1rem;border-radius:8px;font-size:.8rem}.case{border:1px solid var(--line);border-radius:10px;padding:1rem;margin:1rem 0}
.answers{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:1rem;margin-top:.8rem}
.answers figure{margin:0;background:var(--panel);border-radius:8px;padding:.7rem}.answers figcaption{font-size:.88rem}
video,audio{width:100%;border-radius:6px}.tag{display:inline-block;border-radius:99px;padding:0 .6em;font-size:.78rem;
background:var(--accent);color:var(--back)}.tag.wrong{background:var(--soft)}blockquote{margin:.3rem 0;padding-left:.8rem;
border-left:3px solid var(--accent)}details summary{cursor:pointer;color:var(--accent)}
"""


def _cell(cell: Cell, column: Column) -> str:
    if cell.value is None:
        paper = "" if cell.paper is None else f"<small class=paper>paper {cell.paper:g}</small>"
        return f"<td title='{html.escape(cell.note, quote=True)}'>–{paper}</td>"
    span = ""
    if cell.low is not None and cell.high is not None:
        span = f"[{tables.number(cell.low, column.decimals)}, {tables.number(cell.high, column.decimals)}] · "
    paper = "" if cell.paper is None else f"<small class=paper>paper {cell.paper:g}</small>"
    return f"<td><b>{tables.number(cell.value, column.decimals)}</b><small>{span}n {cell.n}</small>{paper}</td>"


def table_html(table: Table) -> str:
    """A table with its notes."""
    arrows = {1: " ↑", -1: " ↓", 0: ""}
    head = "".join(f"<th>{html.escape(each.title)}{arrows[each.better]}</th>" for each in table.columns)
    rows = []
    for row in table.rows:
        cells = "".join(_cell(row.cells.get(each.key, Cell()), each) for each in table.columns)
        rows.append(f"<tr{' class=missing' if row.missing else ''}><td>{html.escape(row.title)}</td>{cells}</tr>")
    notes = "".join(f"<p class=note>{html.escape(each)}</p>" for each in tables.notes_of(table))
    return (
        f"<h2 id={table.key}>{html.escape(table.title)}</h2><div class=scroll><table><thead><tr><th></th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{notes}"
    )


class _Media:
    """Films as data URLs, up to a limit."""

    def __init__(self, limit: int = LARGEST):
        self.left, self.out = limit, 0

    def url(self, path: Path, kind: str) -> str | None:
        size = path.stat().st_size
        if size > self.left:
            self.out += 1
            return None
        self.left -= size
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _case(case: Case, media: _Media) -> str:
    answers = []
    for system, reply in case.answers:
        shown = ""
        if reply.film is not None:
            url = media.url(reply.film, "video/mp4")
            shown = (
                f'<video controls preload=metadata src="{url}"></video>'
                if url
                else "<p class=note>film left out: page too large</p>"
            )
        elif reply.speech is not None:
            url = media.url(reply.speech, "audio/wav")
            shown = f'<audio controls src="{url}"></audio>' if url else ""
        label = emotions.mapped_label(reply)
        right = "" if case.emotion is None or label == case.emotion else " wrong"
        emotion = f"<span class='tag{right}'>{html.escape(reply.emotion)}</span> " if reply.emotion else ""
        steps = "".join(
            f"<li><b>{name}</b>: {html.escape(str(reply.values[key]))}</li>"
            for key, name in (("event_scenario", "event"), ("emotion_cause", "cause"), ("goal_to_response", "goal"))
            if reply.values.get(key)
        )
        chain = f"<details><summary>chain of empathy</summary><ul>{steps}</ul></details>" if steps else ""
        answers.append(
            f"<figure>{shown}<figcaption><b>{html.escape(system.title)}</b><br>{emotion}{html.escape(reply.response)}{chain}"
            "</figcaption></figure>"
        )
    return (
        f"<div class=case><b>{html.escape(case.id)}</b> <span class=note>{html.escape(case.why)}</span>"
        f"<blockquote>{html.escape(case.asked)}</blockquote>true emotion: "
        f"<span class=tag>{html.escape(case.emotion or 'not known')}</span><div class=answers>{''.join(answers)}</div></div>"
    )


def figure_html(figure: Figure, media: _Media) -> str:
    """A figure with its tables and cases."""
    head = f"<h2 id={figure.key}-picture>{html.escape(figure.title)}</h2>"
    if figure.missing:
        return f"{head}<p class=note>Not drawn: {html.escape(figure.missing)}</p>"
    parts = [head]
    if figure.picture is not None:
        encoded = base64.b64encode(figure.picture).decode()
        parts.append(f"<img alt='{html.escape(figure.title, quote=True)}' src='data:image/png;base64,{encoded}'>")
    parts += [
        table_html(each).replace(f"<h2 id={each.key}>", "<h3>").replace("</h2>", "</h3>") for each in figure.tables
    ]
    if figure.cases:
        parts += [_case(each, media) for each in figure.cases]
    elif figure.text:
        parts.append(f"<details open><summary>as text</summary><pre>{html.escape(figure.text)}</pre></details>")
    return "".join(parts)


def facts(evaluation: Evaluation) -> dict[str, str]:
    """What was evaluated, on what, and what is missing."""
    asked, found = len(evaluation.questions), {}
    found["turns"] = (
        f"{asked} evaluated; {evaluation.unanswered} of the test file answered by nobody; {len(evaluation.left_out)} left out"
    )
    found |= {name: "; ".join(of_system(each).values()) for name, each in _named(evaluation).items()}
    found["media"] = f"{results.MEDIA} {films.versions()}."
    absent = [f"{name}: {why}" for name, why in evaluation.judges.absent.items()]
    if absent:
        found["not measured"] = ". ".join(absent)
    return {**found, **evaluation.facts}


def _named(evaluation: Evaluation) -> dict[str, System]:
    """Every system by its title, and by its row too where two have one title."""
    titles = [each.title for each in evaluation.systems]
    return {
        each.title if titles.count(each.title) == 1 else f"{each.title} ({each.row})": each
        for each in evaluation.systems
    }


def of_system(system: System) -> dict[str, str]:
    """What a system says of itself."""
    said = system.manifest
    return {
        "row": f"row {system.row}",
        "seed": f"seed {said.seed}" if said.seed is not None else "seed not stated",
        "config": f"config {said.config[:12]}" if said.config else "config not stated",
        "hardware": said.hardware or "hardware not stated",
        "terms": f"terms: {said.terms}" if said.terms else "terms not stated",
    }


def _systems_html(evaluation: Evaluation) -> str:
    rows = [(name, *of_system(each).values()) for name, each in _named(evaluation).items()]
    cells = ("".join(f"<td>{html.escape(each)}</td>" for each in row) for row in rows)
    body = "".join(f"<tr>{each}</tr>" for each in cells)
    return (
        "<h2 id=systems>What was evaluated</h2><div class=scroll><table class=words><thead><tr><th>system</th><th>row</th>"
        "<th>seed</th><th>config, SHA-256</th><th>hardware</th><th>terms</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _link(key: str, title: str) -> str:
    """A link to a table or a figure: its number, or its title where it has none."""
    number = title.split(":")[0]
    short = number if number.startswith(("Table", "Figure")) else title.removeprefix("Beside ")
    return f"<a href='#{key}'>{html.escape(short)}</a>"


def page(evaluation: Evaluation, made: Sequence[Table], drawn: Sequence[Figure]) -> str:
    """The report."""
    media = _Media()
    shown = [each for each in made if each.key != "figure6"]
    links = "".join(_link(each.key, each.title) for each in shown)
    links += "".join(_link(f"{each.key}-picture", each.title) for each in drawn) + _link(
        "systems", "What was evaluated"
    )
    apart = _named(evaluation)
    told = {name: value for name, value in facts(evaluation).items() if name not in apart}
    said = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in told.items())
    gone = "".join(f"<li>{html.escape(name)}: {html.escape(why)}</li>" for name, why in evaluation.left_out.items())
    left = f"<details><summary>turns left out for all systems</summary><ul>{gone}</ul></details>" if gone else ""
    body = "".join(table_html(each) for each in shown) + "".join(figure_html(each, media) for each in drawn)
    body += _systems_html(evaluation)
    out = f"<p class=note>{media.out} films are not in this page, which would be too large.</p>" if media.out else ""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>Evaluation</title><style>{STYLE}</style></head><body><main><h1>Evaluation</h1>"
        "<p class=note>Each cell: our number, its 95 % interval, the number of replies, and the paper's number. A dash is "
        f"what could not be measured; the notes say why.</p><nav>{links}</nav><dl class=facts>{said}</dl>{left}{body}{out}"
        "</main></body></html>\n"
    )


def write(
    evaluation: Evaluation,
    output: Path,
    data: Path | None = None,
    cases: Sequence[str] = (),
    more: Sequence[Table] = (),
) -> str:
    """Writes report.html, tables.txt, tables.md, tables.csv, tables.tex, figures as PNG and values.json; returns what to
    print.
    """
    made = [*results.all_tables(evaluation), *more]
    drawn = figures.all_figures(evaluation, data, cases)
    told = "\n".join(f"{name}: {value}" for name, value in facts(evaluation).items())
    text = "\n".join(
        [
            *(tables.as_text(each) for each in made),
            *(figures.as_words(each) for each in drawn if each.key != "figure6"),
            told,
        ]
    )
    lines = [
        tables.as_csv(each) for each in [*made, *(t for each in drawn if each.key == "figure7" for t in each.tables)]
    ]
    write_text(output / "tables.txt", text + "\n")
    measured = [tables.as_markdown(each) for each in made if not all(row.missing for row in each.rows)]
    said = [f"- {name}: {value}" for name, value in facts(evaluation).items()]
    write_text(output / MARKDOWN, "\n".join([*measured, "### What was evaluated", "", *said]) + "\n")
    write_text(output / "tables.csv", lines[0] + "".join(each.split("\n", 1)[1] for each in lines[1:]))
    write_text(output / "tables.tex", "\n".join(tables.as_latex(each) for each in made))
    write_text(output / "report.html", page(evaluation, made, drawn))
    for each in drawn:
        if each.picture is not None:
            write_bytes(output / f"{each.key}.png", each.picture)
    run.write_values(evaluation, output / "values.json")
    return text
