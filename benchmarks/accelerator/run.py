"""Starts a worker for each side, gives it one row after the other, and writes what is known after each.

A worker that is silent for longer than its row may take is ended and started anew for the next row. Checks come first, side by
side; what is timed runs alone.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.accelerator.rows import Row

LEAST_SECONDS = 10
"""A row is not begun with less left of the run."""


class Worker:
    """The process of one side, started when it is first needed."""

    def __init__(self, side: str, options: Sequence[str], log: Path):
        self.side, self._options, self._log = side, list(options), log
        self._process: subprocess.Popen | None = None
        self._answers: queue.Queue[str] = queue.Queue()

    def ask(self, row: str, seconds: float) -> dict[str, Any]:
        """What the worker says of a row; where it takes too long or ends, what happened instead."""
        process = self._process or self._start()
        started = time.monotonic()
        try:
            assert process.stdin is not None
            process.stdin.write(row + "\n")
            process.stdin.flush()
            answer = self._answers.get(timeout=seconds)
        except (queue.Empty, BrokenPipeError):
            answer = ""
        if answer:
            return json.loads(answer) | {"took": time.monotonic() - started}
        code = process.poll()
        self.end()
        why = (
            f"cut off after {seconds:.3g} s" if code is None else f"the worker ended with {code}, see {self._log.name}"
        )
        return {"measurement": {"left_out": why}, "failed": True, "took": time.monotonic() - started}

    def end(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> subprocess.Popen:
        environment = {
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # both sides share one card
            "JAX_COMPILATION_CACHE_DIR": str(self._log.parent.resolve() / "programs"),  # planned and run: compiled once
            **os.environ,
        }
        if "--tiny" in self._options:  # compiling small networks takes longer than running them
            quick = " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
            environment["XLA_FLAGS"] = environment.get("XLA_FLAGS", "") + quick
        command = [sys.executable, "-m", "benchmarks.accelerator.worker", f"--side={self.side}", *self._options]
        with open(self._log, "a") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        answers = self._answers = queue.Queue()

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                answers.put(line)
            answers.put("")

        threading.Thread(target=listen, daemon=True).start()
        self._process = process
        return process


def run(
    rows: Sequence[Row],
    output: Path,
    tiny: bool,
    seconds: float,
    sides: Sequence[str],
    parity: Path,
    *,
    profiles: bool = False,
) -> int:
    """Measures the rows within `seconds`; 1 where a check failed or nothing could be measured, else 0."""
    output.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    options = [f"--parity={parity}", *(["--tiny"] if tiny else [])]
    options += [f"--profiles={output / 'profiles'}"] if profiles else []
    (output / "log.txt").write_text("")
    found: dict[str, Any] = {"date": datetime.date.today().isoformat(), "tiny": tiny, "card": {}, "rows": []}

    def add(entry: dict[str, Any]) -> None:
        found["rows"].append(judged(entry, found["card"]))
        write(output, found)
        print(line(entry), flush=True)

    if "ours" in sides:
        for entry in _checked([row for row in rows if row.check], options, output / "log.txt", tiny, end):
            add(entry)
    workers = {side: Worker(side, options, output / "log.txt") for side in sides}
    try:
        for row in (row for row in rows if not row.check):
            entry: dict[str, Any] = {"row": row.name, "title": row.title, "goal": row.goal}
            for side in sides:
                if side == "pytorch" and not row.pytorch:
                    continue
                left = end - time.monotonic()
                if left < LEAST_SECONDS:
                    entry[side] = {"left_out": "no time was left"}
                    continue
                if row.fresh and not tiny:  # whose memory nobody asks for
                    workers[side].end()
                answer = workers[side].ask(row.name, left if tiny else min(row.seconds, left))
                entry[side] = answer["measurement"]
                entry["failed"] = entry.get("failed", False) or answer.get("failed", False)
                entry[f"{side}_took"] = answer["took"]
                if row.name == "card" and "flops" in answer:
                    found["card"] = {
                        name: value for name, value in answer.items() if name not in ("measurement", "took")
                    }
            add(entry)
    finally:
        for worker in workers.values():
            worker.end()
    print(f"{output / 'results.md'}, {output / 'results.json'}")
    return 1 if any(entry["failed"] for entry in found["rows"]) else 0


def _checked(
    rows: Sequence[Row], options: Sequence[str], log: Path, tiny: bool, end: float
) -> Iterator[dict[str, Any]]:
    """The checks, as they end: as many at once as there are cores, for what takes long in them is to compile."""

    def check(row: Row) -> dict[str, Any]:
        left = end - time.monotonic()
        entry: dict[str, Any] = {"row": row.name, "title": row.title, "goal": row.goal}
        if left < LEAST_SECONDS:
            return entry | {"ours": {"left_out": "no time was left"}}
        worker = Worker("ours", options, log)
        try:
            answer = worker.ask(row.name, left if tiny else min(row.seconds, left))
        finally:
            worker.end()
        return entry | {
            "ours": answer["measurement"],
            "failed": answer.get("failed", False),
            "ours_took": answer["took"],
        }

    if rows:
        with ThreadPoolExecutor(min(len(rows), os.cpu_count() or 1)) as pool:
            for done in as_completed([pool.submit(check, row) for row in rows]):
                yield done.result()


def judged(entry: dict[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    """With rates, roof and verdict."""
    mine, theirs = entry.get("ours", {}), entry.get("pytorch", {})
    for side in (mine, theirs):
        if "seconds" in side:
            side["rate"] = side.get("units", 1.0) / side["seconds"]
    if "error" in mine:
        entry["failed"] = entry.get("failed", False) or not mine["error"] <= mine["bound"]
    if "seconds" in mine and card.get("flops"):
        least = max(mine.get("flops", 0.0) / card["flops"], mine.get("bytes", 0.0) / card["bytes"])
        if least:
            entry["roof"], entry["share"] = mine.get("units", 1.0) / least, least / mine["seconds"]
            entry["roof_is"] = "memory" if mine.get("bytes", 0.0) / card["bytes"] == least else "arithmetic"
    if "rate" in mine and "rate" in theirs:
        entry["times"] = mine["rate"] / theirs["rate"]
    entry.setdefault("failed", False)
    return entry


def line(entry: Mapping[str, Any]) -> str:
    """A row for the terminal."""
    return f"{entry['row']:16} {' | '.join(filter(None, cells(entry)[1:]))}"


def cells(entry: Mapping[str, Any]) -> list[str]:
    """A row's cells: title, ours, PyTorch, times, roof, share, memory, goal, notes."""
    mine, theirs = entry.get("ours", {}), entry.get("pytorch", {})

    def value(side: Mapping[str, Any]) -> str:
        if "left_out" in side:
            return side["left_out"]
        if "error" in side:
            verdict = "ok" if side["error"] <= side["bound"] else "FAILED"
            return f"{side['error']:.1e} (bound {side['bound']:.0e}) {verdict}"
        return f"{side['rate']:,.4g} {side['unit']}" if "rate" in side else ""

    memory = ""
    if mine.get("peak"):
        memory = f"{mine['peak'] / 2**30:.2f} GiB"
    if mine.get("predicted"):
        memory += f" (predicted {mine['predicted'] / 2**30:.2f})"
    return [
        entry["title"],
        value(mine),
        value(theirs),
        f"{entry['times']:.2f} ×" if "times" in entry else "",
        f"{entry['roof']:,.4g} ({entry['roof_is']})" if "roof" in entry else "",
        f"{100 * entry['share']:.0f} %" if "share" in entry else "",
        memory,
        entry["goal"],
        "; ".join(filter(None, (mine.get("note", ""), theirs.get("note", "")))),
    ]


HEADER = ("row", "ours", "PyTorch", "times PyTorch", "roof", "share of it", "peak memory", "goal", "notes")


def write(output: Path, found: Mapping[str, Any]) -> None:
    """`results.json` and `results.md`, each whole at any moment."""
    card = found["card"]
    versions = ", ".join(f"{name} {version}" for name, version in card.get("versions", {}).items())
    head = f"{card.get('device', 'unknown device')}, Python {card.get('python', '?')}, {versions}; {found['date']}"
    if found["tiny"]:
        head += "; small networks, which say nothing about speed"
    table = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    table += ["| " + " | ".join(cells(entry)) + " |" for entry in found["rows"]]
    for name, text in (("results.json", json.dumps(found, indent=1)), ("results.md", "\n".join([head, "", *table]))):
        temporary = output / f"{name}.part"
        temporary.write_text(text + "\n")
        with contextlib.suppress(FileNotFoundError):
            os.replace(temporary, output / name)
