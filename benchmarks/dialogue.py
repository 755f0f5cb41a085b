"""How long a user waits: first step, word, sound and frame of a reply, and how many users share a device.

    python -m benchmarks.dialogue --config=configs/quickstart.py              # the config's networks, not trained: as fast
    python -m benchmarks.dialogue --pretrained=starter --clients=8
    python -m benchmarks.dialogue --run=runs/quickstart --without-frames

Every number is taken behind the engine's warm-up. The machine's load is printed beside them: on a machine that does something
else, they say little.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import configs
from empatheia_jax import assemble, settings, weights
from empatheia_jax.dialogue import commands
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.events import Done, Failed
from empatheia_jax.dialogue.faces import DrawnFaces
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.responder import Blend, Responder
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dialogue.writer import Writer
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.runs.run import Run

SAID = (
    "I lost my keys on the way home, and nobody was there to help me.",
    "My sister offered to come, but I did not want to worry her.",
    "I passed the exam! I studied for months, and now I can hardly believe it.",
    "My boss said that she is disappointed with my work.",
)
MARKS = ("first_step", "first_text", "first_sound", "first_motion", "first_frame", "end")


def untrained(path: str) -> Responder:
    """The networks of a config as they are before training: what they say is noise, how fast is not."""
    config = settings.resolve(configs.load(path))
    assembly = assemble.empatheia(config, local_mesh(*config.mesh.sizes))
    decoding = config.decoding
    blend = Blend.of(decoding.content_blend or 0.0, decoding.style_blend or 0.0)
    return Responder(
        Writer.of(config, assembly, None),
        assemble.speaker(config),
        assemble.animator(config),
        DrawnFaces(),
        blend=blend,
        seed=config.seed,
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a model; `responder` reads them."""
    parser.add_argument("--config", help="a config whose networks are taken untrained")
    parser.add_argument("--run", help="a trained run")
    parser.add_argument("--pretrained", help="trained leaves that ship with the package, or a folder of the same form")


def responder(options: argparse.Namespace) -> Responder:
    """The model that the options name. Raises `UserError` where they name none, or several."""
    if sum(each is not None for each in (options.config, options.run, options.pretrained)) != 1:
        raise UserError("expected one of --config, --run and --pretrained")
    if options.config is not None:
        return untrained(options.config)
    if options.run is not None:
        run = Run(options.run)
        return commands.responder(settings.resolve(run.config()), Path(run.folder))
    config = ConfigDict(dict(weights.open_start(options.pretrained).config))
    config.start = options.pretrained
    return commands.responder(settings.resolve(config), None)


def one_after_the_other(engine: Engine, count: int, modalities: Sequence[str]) -> list[Done]:
    """Replies to `count` requests of one client."""
    found = []
    for number in range(count):
        request = Request(SAID[number % len(SAID)], seed=number, modalities=modalities)
        found.append(end_of(engine.stream(Session(), request)))
    return found


def end_of(stream) -> Done:
    """Takes all events; the last one. Raises `RuntimeError` where the reply failed."""
    last = list(stream)[-1]
    if isinstance(last, Failed):
        raise RuntimeError(last.reason)
    return last


def tokens_per_second(engine: Engine, clients: int, requests: int) -> float:
    """Of so many clients together, each with so many requests for text, one after the other."""
    tokens = []

    def client(number: int) -> None:
        for turn in range(requests):
            request = Request(SAID[(number + turn) % len(SAID)], seed=100 * number + turn, modalities=("text",))
            tokens.append(end_of(engine.stream(Session(), request)).timings["tokens"])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(tokens) != clients * requests:
        raise RuntimeError(f"{len(tokens)} of {clients * requests} replies came")
    return sum(tokens) / (time.perf_counter() - began)


def row(name: str, values: Sequence[float], unit: str = "s") -> str:
    """A line of the table."""
    p50, p95 = np.percentile(values, (50, 95))
    return f"| {name} | {p50:.2f} {unit} | {p95:.2f} {unit} |"


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.dialogue", description=__doc__)
    add_model(parser)
    parser.add_argument("--requests", type=int, default=8, help="of one client, with sound and face")
    parser.add_argument("--clients", type=int, default=8, help="that ask for text together")
    parser.add_argument("--turns", type=int, default=2, help="of each of these clients")
    parser.add_argument("--without-frames", action="store_true", help="no frames are drawn: sound and motion alone")
    options = parser.parse_args(argv)
    engine = Engine(responder(options), places=max(options.clients, 1))
    began = time.perf_counter()
    engine.warm()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {jax.devices()[0].device_kind}, ",
        end="",
    )
    print(f"jax {jax.__version__}; load before {os.getloadavg()[0]:.1f}; warm-up {time.perf_counter() - began:.0f} s\n")
    modalities = ("text", "speech", "motion", *(() if options.without_frames else ("video",)))
    found = one_after_the_other(engine, options.requests, modalities)
    print("| of one client | p50 | p95 |\n|---|---|---|")
    for mark in MARKS:
        if values := [done.timings[mark] for done in found if mark in done.timings]:
            print(row(mark.replace("_", " "), values))
    print(row("seconds of speech", [done.seconds for done in found]))
    print(row("real-time factor", [done.timings["end"] / done.seconds for done in found], ""))
    alone = tokens_per_second(engine, 1, options.turns)
    together = tokens_per_second(engine, options.clients, options.turns)
    print(
        f"\ntext alone: {alone:.1f} tokens/s of one client, {together:.1f} of {options.clients} ({together / alone:.1f} ×)"
    )
    print(f"load after {os.getloadavg()[0]:.1f}")
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
