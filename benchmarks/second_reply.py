"""What a reply costs beside its computing: the first reply of a process whose programs are kept, and the second one.

    python -m benchmarks.second_reply --config=configs/quickstart.py
    python -m benchmarks.second_reply --workdir=runs/quickstart --json=second.json

Three processes run one after the other in one run's folder, each as `--mode=reply` does: the first keeps its programs there, the
second is measured, and the third answers in the other order. Each gives two replies, then both again. A reply that is given
again does what the first one did (seed and words are the same) and finds everything ready: its CPU time is the pure computing
time. What the others take more is imports, weights, tracing, programs read from disk and phonemizer. CPU time of all threads is
counted, for a machine does other things, too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SAID = ("I failed my exam", "My sister offered to come, but I did not want to worry her.")
LIMIT = 1.5
"""Times the pure computing time that a reply may take."""
PHASES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile or read",
    "/jax/compilation_cache/cache_retrieval_time_sec": "read",
}


def child(config: str, workdir: Path, said: Sequence[str]) -> list[dict[str, Any]]:
    """Answers `said`, then all of it again, in this process; (name, CPU and wall seconds, phases of compiling) of each part."""
    import jax

    found: list[dict[str, Any]] = []
    spent: dict[str, float] = {}
    at = [0.0, time.perf_counter()]

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event in PHASES:
            spent[PHASES[event]] = spent.get(PHASES[event], 0.0) + seconds
            spent[f"{PHASES[event]} n"] = spent.get(f"{PHASES[event]} n", 0) + 1

    jax.monitoring.register_event_duration_secs_listener(listen)

    def mark(name: str, **more: Any) -> None:
        now = [time.process_time(), time.perf_counter()]
        cpu, wall = (round(b - a, 2) for a, b in zip(at, now))
        found.append({"name": name, "cpu": cpu, "wall": wall, **{k: round(v, 2) for k, v in spent.items()}, **more})
        spent.clear()
        at[:] = now

    from benchmarks import configs
    from empatheia_jax import settings
    from empatheia_jax.dialogue import commands
    from empatheia_jax.dialogue.asking import Ask
    from empatheia_jax.dialogue.safeguards import Safeguards

    mark("imports")
    safeguards = Safeguards.of()
    own = commands.engine(settings.resolve(configs.load(config)), workdir, safeguards)
    mark("weights")
    for number, text in enumerate([*said, *said]):
        ask = Ask().with_field("text", text).with_field("profile", "elderly female gentle")
        with contextlib.redirect_stdout(io.StringIO()):
            reply = commands.answer(
                own,
                own.responder,
                ask.utterances(),
                {},
                ask.profile,
                workdir / f"{number}",
                ask.facts(),
                safeguards.marks,
            )
        mark(text, seconds=round(len(reply.speech) / reply.rate, 2), frames=reply.frame_count)
    own.close()
    return found


def in_a_process(config: str, workdir: Path, said: Sequence[str]) -> list[dict[str, Any]]:
    """`child` in a process of its own, whose programs are kept in the run's folder."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-m", "benchmarks.second_reply", "--child", f"--config={config}", f"--workdir={workdir}"]
    done = subprocess.run([*command, *said], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(name: str, parts: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each part of a process, with its ratio to the pure computing time."""
    count = (len(parts) - 2) // 2
    pure = [part["cpu"] for part in parts[2 + count :]]
    lines = []
    for number, part in enumerate(parts):
        times = f"{part['cpu'] / pure[number - 2]:.2f}" if 2 <= number < 2 + count else ""
        more = " ".join(f"{key} {value}" for key, value in part.items() if key not in ("name", "cpu", "wall"))
        lines.append(f"| {name} | {part['name']} | {part['cpu']:.1f} | {part['wall']:.1f} | {times} | {more} |")
    whole = sum(part["cpu"] for part in parts[:3])
    lines.append(f"| {name} | start to first reply | {whole:.1f} | | {whole / pure[0]:.2f} | limit {LIMIT} |")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.second_reply", description=__doc__)
    parser.add_argument("--config", default="configs/quickstart.py")
    parser.add_argument("--workdir", help="the run whose model answers; by default a new folder")
    parser.add_argument("--json", help="where the numbers are written, too")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("said", nargs="*", default=SAID, help="two utterances")
    options = parser.parse_args(argv)
    if options.child:
        print(json.dumps(child(options.config, Path(options.workdir), options.said)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(options.workdir or folder)
        runs = {
            "no programs kept": in_a_process(options.config, workdir, options.said),
            "warm": in_a_process(options.config, workdir, options.said),
            "warm, other order": in_a_process(options.config, workdir, options.said[::-1]),
        }
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}\n")
    print("| process | part | CPU s | wall s | × pure | |\n|---|---|---|---|---|---|")
    for name, parts in runs.items():
        print("\n".join(table(name, parts)), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(runs, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
