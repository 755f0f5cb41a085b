"""Whether the server holds under load: nothing lost, nothing mixed, flat memory, refusals in time, and sessions after kill -9.

    python -m benchmarks.serving --config=configs/debug.py --requests=200
    python -m benchmarks.serving --pretrained=starter --requests=24

The server is a process of its own. Every question is asked twice with the same seed, by any two clients: both must get the same
words. Memory is what the server holds after a quarter of the requests and at the end. Then all places and the queue are filled,
and the server is killed in the middle of a reply and started again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import httpx
import numpy as np

from benchmarks import dialogue
from empatheia_jax.dialogue.engine import QUEUE, Engine
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.server.command import uvicorn_server
from empatheia_jax.server.house import House, Measured
from empatheia_jax.server.options import Options

START_SECONDS = 900


def serve(options: argparse.Namespace, folder: Path, port: int) -> None:
    """The server's process: text and sound are compiled before the port opens."""
    engine = Engine(dialogue.responder(options), places=options.clients)
    engine.warm()
    house = House(engine, Options(folder, port=port), model="model")
    house.measured = Measured(0.0, True)
    uvicorn_server(house).run()


@contextlib.contextmanager
def started(arguments: Sequence[str], folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server as a process, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving", *arguments, f"--serve={port}", f"--folder={folder}"]
    )
    try:
        ends = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < ends:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                    break
            time.sleep(0.2)
        else:
            raise UserError("the server did not start; see above")
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def resident(process: subprocess.Popen) -> float:
    """Megabytes of memory that a process holds."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def asked(client: httpx.Client, number: int) -> tuple[str, int]:
    """(words, tokens) of the answer to question `number`."""
    said = f"{dialogue.SAID[number % len(dialogue.SAID)]} That was {number} days ago."
    body = {
        "model": "model",
        "messages": [{"role": "user", "content": said}],
        "seed": number,
        "max_completion_tokens": 24,
    }
    answer = client.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    found = answer.json()
    return found["choices"][0]["message"]["content"], found["usage"]["completion_tokens"]


def load(process: subprocess.Popen, address: str, requests: int, clients: int) -> None:
    """Many clients at once; prints what came back."""
    with httpx.Client(base_url=address, timeout=START_SECONDS) as client:
        asked(client, 0)
        alone_requests = max(2, requests // 40)
        began = time.perf_counter()
        tokens = sum(asked(client, number)[1] for number in range(alone_requests))
        alone = tokens / (time.perf_counter() - began)
        questions = [number for number in range(requests // 2) for _ in range(2)]
        order = np.random.default_rng(0).permutation(len(questions))
        answers: dict[int, list[str]] = {number: [] for number in questions}
        held: list[float] = []
        lock, count = threading.Lock(), [0, 0]

        def one(place: int) -> None:
            number = questions[place]
            words, tokens = asked(client, number)
            with lock:
                answers[number].append(words)
                count[0] += 1
                count[1] += tokens
                if count[0] == len(questions) // 4:
                    held.append(resident(process))

        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(one, order.tolist()))
        together = count[1] / (time.perf_counter() - began)
    lost = len(questions) - count[0]
    mixed = sum(len(set(found)) != 1 for found in answers.values())
    last = resident(process)
    print(
        f"{len(questions)} requests of {clients} clients: {lost} lost; {mixed} of {len(answers)} questions got two answers"
    )
    print(f"memory: {held[0]:.0f} MB after a quarter, {last:.0f} MB at the end ({100 * (last / held[0] - 1):+.1f} %)")
    print(f"tokens/s: {alone:.1f} of one client, {together:.1f} of {clients} ({together / alone:.1f} ×)")


def overload(address: str, clients: int) -> None:
    """More requests than places and queue; prints how many were refused, and when they may come again."""
    with httpx.Client(base_url=address, timeout=START_SECONDS, limits=httpx.Limits(max_connections=None)) as client:

        def one(number: int) -> httpx.Response:
            body = {"model": "model", "messages": [{"role": "user", "content": "Hello."}], "seed": number}
            return client.post("/v1/chat/completions", json=body)

        count = QUEUE + clients + 20
        with ThreadPoolExecutor(count) as pool:
            found = list(pool.map(one, range(count)))
    refused = [answer for answer in found if answer.status_code == 429]
    waits = sorted({answer.headers["retry-after"] for answer in refused}, key=int)
    others = sorted({answer.status_code for answer in found} - {200, 429})
    print(
        f"{count} at once: {sum(answer.status_code == 200 for answer in found)} answered, {len(refused)} refused with 429 and "
        f"Retry-After {', '.join(waits) or '–'}, others {others or 'none'}"
    )


def killed(arguments: Sequence[str], folder: Path) -> None:
    """Kill -9 in the middle of a reply; prints whether the session is there again."""
    with (
        started(arguments, folder) as (process, address),
        httpx.Client(base_url=address, timeout=START_SECONDS) as client,
    ):
        session = client.post("/api/sessions", json={"seed": 5}).json()["id"]
        at = f"/api/sessions/{session}"
        client.post(f"{at}/turns", json={"text": "I lost my keys.", "sound": False}).raise_for_status()
        before = client.get(at).json()["turns"]
        with (
            contextlib.suppress(httpx.HTTPError),
            client.stream("POST", f"{at}/turns", json={"text": "And my bag."}) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            os.kill(process.pid, signal.SIGKILL)
            for _ in lines:
                pass
    with started(arguments, folder) as (_, address):
        after = httpx.get(f"{address}{at}").json()["turns"]
    same = sum(a == b for a, b in zip(before, after))
    print(f"kill -9 within the second reply: of {len(before)} complete turns, {same} are there as they were")


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.serving", description=__doc__)
    dialogue.add_model(parser)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.serve is not None:
        serve(options, options.folder, options.serve)
        return 0
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, ", end=""
    )
    print(f"jax {importlib.metadata.version('jax')}, {date.today()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        with started(arguments, Path(folder) / "a") as (process, address):
            load(process, address, options.requests, options.clients)
            overload(address, options.clients)
        killed(arguments, Path(folder) / "b")
    print(f"load after {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
