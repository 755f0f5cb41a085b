"""Connections: how many there may be, and how long one may take to say what it wants.

uvicorn closes a connection that is idle between two requests. It waits for ever for the end of headers that come a byte a minute,
and takes any number of connections; both are bounded here.
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from empatheia_jax.server.options import Options
from empatheia_jax.server.refusals import Refusal

_BODY = json.dumps(Refusal(503, "too many connections; try again in some seconds").body).encode()
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


def protocol(options: Options) -> type[asyncio.Protocol]:
    """The protocol of uvicorn with the limits of `options`."""

    class Bounded(H11Protocol):
        patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > options.sockets:
                transport.write(FULL)
                transport.close()
                return
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_headers()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _expect_headers(self) -> None:
            """Starts the time for headers, once, where they are awaited; ends it where they are there."""
            if self.conn.their_state is not h11.IDLE:
                self._forget()
            elif self.patience is None:
                self.patience = self.loop.call_later(options.header_seconds, self.transport.abort)

        def _forget(self) -> None:
            if self.patience is not None:
                self.patience.cancel()
                self.patience = None

    return Bounded
