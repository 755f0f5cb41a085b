"""Answers that grow: they end when the client leaves, and say so within a tenth of a second."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class Stream(Response):
    """Sends pieces as they come.

    Args:
        pieces: the body.
        media_type: its type.
        gone: called once where the client leaves before the end.
    """

    def __init__(self, pieces: AsyncIterator[bytes], media_type: str, gone: Callable[[], None] = lambda: None):
        super().__init__(None, media_type=media_type)
        self.pieces, self.gone = pieces, gone
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # a proxy in front shall pass pieces on at once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends until the end or until the client leaves."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(self._left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            complete = sending.done() and not sending.cancelled() and sending.exception() is None
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not complete:
            self.gone()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(self.pieces) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
