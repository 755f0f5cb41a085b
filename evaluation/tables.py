"""Tables of cells, as text, Markdown, CSV and LaTeX: the paper's number beside ours, n and interval in every cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.cells import Cell
from evaluation.paper import Column

MISSING_ROW = "no folder of replies was given for this row"


@dataclass(frozen=True)
class Row:
    """A row: key, title, its cells by column. `missing` says why all of it is empty."""

    key: str
    title: str
    cells: Mapping[str, Cell]
    missing: str = ""


@dataclass(frozen=True)
class Table:
    """A table with the notes below it."""

    key: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def missing(self) -> list[str]:
        """Titles of the rows that nobody gave replies for."""
        return [row.title for row in self.rows if row.missing]


def number(value: float | None, decimals: int) -> str:
    """A number with a true minus sign, or a dash."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def in_words(cell: Cell, column: Column) -> str:
    """`48.51 [44.02, 53.01] n 240 (paper 48.51)`."""
    text = number(cell.value, column.decimals)
    if cell.low is not None and cell.high is not None:
        text += f" [{number(cell.low, column.decimals)}, {number(cell.high, column.decimals)}]"
    if cell.value is not None:
        text += f" n {cell.n}"
    if cell.paper is not None:
        text += f" (paper {cell.paper:g})"
    return text


def as_text(table: Table) -> str:
    """For a terminal."""
    head = ["", *(_titled(column) for column in table.columns)]
    lines = [
        [row.title, *(in_words(row.cells.get(column.key, Cell()), column) for column in table.columns)]
        for row in table.rows
    ]
    widths = [max(len(line[k]) for line in [head, *lines]) for k in range(len(head))]
    rendered = ["  ".join(part.ljust(width) for part, width in zip(line, widths)).rstrip() for line in [head, *lines]]
    notes = [f"  {note}" for note in _notes(table)]
    return (
        "\n".join([table.title, "", rendered[0], "-" * min(160, sum(widths) + 2 * len(widths)), *rendered[1:], *notes])
        + "\n"
    )


def _titled(column: Column) -> str:
    return column.title + {1: " ↑", -1: " ↓", 0: ""}[column.better]


def _notes(table: Table) -> list[str]:
    empty: dict[str, list[str]] = {}
    for row in table.rows:
        for column in table.columns:
            cell = row.cells.get(column.key)
            if not row.missing and cell is not None and cell.value is None and cell.note:
                empty.setdefault(f"{column.title}: {cell.note}", []).append(row.title)
    notes = [*table.notes, *(f"{why} ({', '.join(rows)})" for why, rows in empty.items())]
    if table.missing:
        notes.append(f"Missing rows, no folder of replies was given: {', '.join(table.missing)}.")
    return notes


def notes_of(table: Table) -> list[str]:
    """What stands below a table: its notes, why cells are empty, which rows are missing."""
    return _notes(table)


def as_markdown(table: Table) -> str:
    """For a model card: a heading, the rows that somebody gave replies for, and the notes as a list."""

    def line(parts: Sequence[str]) -> str:
        return "| " + " | ".join(part.replace("|", "\\|") for part in parts) + " |"

    rows = [
        line([row.title, *(in_words(row.cells.get(column.key, Cell()), column) for column in table.columns)])
        for row in table.rows
        if not row.missing
    ]
    head = [line(["", *map(_titled, table.columns)]), line(["---"] * (len(table.columns) + 1))]
    notes = [f"- {note}" for note in _notes(table)]
    return "\n".join([f"### {table.title}", "", *head, *rows, "", *notes]).rstrip() + "\n"


def as_csv(table: Table) -> str:
    """A line for each cell: table, row, column, value, n, low, high, paper, note."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "column", "value", "n", "low", "high", "paper", "note"])
    for row in table.rows:
        for column in table.columns:
            cell = row.cells.get(column.key, Cell())
            values = [cell.value, cell.n, cell.low, cell.high, cell.paper]
            writer.writerow([table.key, row.title, column.title, *_plain(values), row.missing or cell.note])
    return out.getvalue()


def _plain(values: Sequence[float | int | None]) -> list[str]:
    return ["" if value is None else f"{value:.6g}" for value in values]


_TEX = {"&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}", "−": "$-$", "±": r"$\pm$"}
_TEX |= {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "–": "--",
    "↑": r"$\uparrow$",
}
_TEX |= {"↓": r"$\downarrow$", "<": r"\textless{}", ">": r"\textgreater{}"}


def tex(text: str) -> str:
    """Text made safe for LaTeX."""
    return "".join(_TEX.get(letter, letter) for letter in text)


def as_latex(table: Table) -> str:
    """A `table` environment that needs no package: the value, below it n and the interval, and the paper's number in
    brackets.
    """

    def cell_of(cell: Cell, column: Column) -> str:
        value = tex(number(cell.value, column.decimals)) + ("" if cell.paper is None else f" [{cell.paper:g}]")
        if cell.value is None:
            return value
        span = (
            "" if cell.low is None else f"{number(cell.low, column.decimals)}..{number(cell.high, column.decimals)}, "
        )
        return rf"\shortstack{{{value}\\ {{\tiny {tex(span)}n={cell.n}}}}}"

    lines = [r"\begin{table}[t]\centering\small", rf"\caption{{{tex(table.title)}. In brackets: the paper's number.}}"]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}\hline"]
    lines += ["Model & " + " & ".join(tex(_titled(column)) for column in table.columns) + r" \\ \hline"]
    for row in table.rows:
        cells = [cell_of(row.cells.get(column.key, Cell()), column) for column in table.columns]
        lines.append(" & ".join([tex(row.title), *cells]) + r" \\")
    lines += [r"\hline\end{tabular}"]
    lines += [rf"\par\footnotesize {tex(' '.join(_notes(table)))}"] if _notes(table) else []
    return "\n".join([*lines, r"\end{table}", ""])
