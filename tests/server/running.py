"""A server on a free port of this machine, in a thread of the test."""

from __future__ import annotations

import contextlib
import threading
import time

from empatheia_jax.server.command import uvicorn_server
from empatheia_jax.server.house import House, Measured
from empatheia_jax.server.options import Options

SLOW = Measured(5.0, True)
"""A machine on which the page draws the face itself."""


@contextlib.contextmanager
def served(engine, folder, *, measured=SLOW, safeguards=None, bound_to=None, **options):
    """Yields (address, house) while the server runs."""
    house = House(engine, Options(folder, port=0, **options), safeguards=safeguards)
    house.measured = measured
    server = uvicorn_server(house)
    thread = threading.Thread(target=server.run, kwargs={"sockets": bound_to}, daemon=True)
    thread.start()
    ends = time.monotonic() + 20
    while not server.started and time.monotonic() < ends:
        time.sleep(0.01)
    assert server.started, "the server did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", house
    finally:
        server.should_exit = True
        thread.join(20)
        engine.close()
