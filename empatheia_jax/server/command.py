"""`--mode=serve`: loads a run, warms it, and opens the port."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from absl import flags

from empatheia_jax.dialogue import commands
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.errors import UserError
from empatheia_jax.requirements import writable
from empatheia_jax.server import app, hearing
from empatheia_jax.server.house import House
from empatheia_jax.server.options import TOKEN, Options
from empatheia_jax.server.sockets import protocol
from empatheia_jax.settings import Experiment


def of_flags(given: flags.FlagValues, config: Experiment, workdir: Path) -> int:
    """Serves as the flags say. Raises `UserError` as `options_of` and `serve`."""
    options = options_of(given, writable(given.output or workdir / "server", "--output"))
    return serve(config, workdir, options, Safeguards.of_flags(given))


def serve(config: Experiment, workdir: Path, options: Options, safeguards: Safeguards) -> int:
    """Serves until it is stopped.

    Args:
        config: of the run.
        workdir: the run's folder.
        options: where it listens, and its limits.
        safeguards: what is checked and marked.

    Raises:
        UserError: the port cannot be had; weights or checkpoints are missing.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with bound(options) as sockets:  # first: to warm up takes minutes
        return _serve(config, workdir, options, safeguards, sockets)


def _serve(
    config: Experiment, workdir: Path, options: Options, safeguards: Safeguards, sockets: list[socket.socket]
) -> int:
    engine = Engine(commands.responder(config, workdir), care=safeguards.care)
    for note in (safeguards.marks.notice, hearing.NOTE if hearing.is_deaf() else ""):
        if note:
            print(f"note: {note}")
    try:
        house = House(engine, options, model=config.name, safeguards=safeguards)
        print("warming up: every network is compiled before the port opens …", flush=True)
        measured = house.warm()
        print(f"the renderer draws {measured.film:.0f} frames a second; a face is sent as {measured.face} by default")
        if not options.local:
            print("this port speaks plain HTTP: put a proxy with TLS in front of it")
        uvicorn_server(house).run(sockets=sockets)
    finally:
        engine.close()
    return 0


@contextlib.contextmanager
def bound(options: Options) -> Iterator[list[socket.socket]]:
    """The sockets of the address and port, which nobody else can have from now on; clients are taken in when the server listens.

    Raises:
        UserError: there is no such address on this machine, or the port is taken or not allowed.
    """
    where = f"--bind={options.host}:{options.port}"
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        lacking = "nothing has this name"
        try:
            found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except (OSError, UnicodeError) as error:
            raise UserError(f"{where}: no such address ({error}); expected one of this machine") from None
        for family, kind, number, _, address in dict.fromkeys(found):
            try:
                sockets.append(stack.enter_context(_bound_to(socket.socket(family, kind, number), address)))
            except OSError as error:
                # localhost may have an address of a family that is switched off here; then the other one is enough.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise UserError(
                        f"{where} cannot be had ({error.strerror}); choose another port, or stop the program that has it"
                    ) from None
                lacking = error.strerror or lacking
        if not sockets:
            raise UserError(f"{where}: no such address ({lacking}); expected one of this machine")
        yield sockets


def _bound_to(opened: socket.socket, address) -> socket.socket:
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if opened.family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def uvicorn_server(house: House) -> uvicorn.Server:
    """A server that is not yet running."""
    options = house.options
    return uvicorn.Server(
        uvicorn.Config(
            app.create(house),
            host=options.host,
            port=options.port,
            http=protocol(options),
            ws="none",
            log_level="warning",
            access_log=False,  # addresses hold ids of sessions; what is counted stands at /metrics
            timeout_keep_alive=int(options.header_seconds),
            timeout_graceful_shutdown=5,
            backlog=512,
            server_header=False,
            lifespan="off",
        )
    )


def options_of(given: flags.FlagValues, folder: Path) -> Options:
    """The options that the flags give (`bind`, `token`, `origins`, `names`). Raises `UserError` where one is wrong."""
    host, colon, port = given.bind.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()):
        raise UserError(f"--bind={given.bind}; expected an address and a port, for example 127.0.0.1:8080")

    def listed(value: str) -> tuple[str, ...]:
        return tuple(each.strip().rstrip("/").lower() for each in value.split(",") if each.strip())

    return Options(
        folder,
        host=host.strip("[]"),
        port=int(port),
        token=given.token or os.environ.get(TOKEN) or None,
        origins=listed(given.origins),
        names=listed(given.names),
    )
