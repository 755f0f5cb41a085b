"""Refusals as OpenAI's clients read them: a status, and a body with one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
"""What OpenAI calls a refusal, by status; 400 and the rest are `invalid_request_error`, from 500 on `server_error`."""


class Refusal(Exception):
    """A request that is not answered. The message is one line for whoever sent it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    @property
    def body(self) -> dict[str, Any]:
        """The error as JSON."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        line = " ".join(self.message.split())
        return {"error": {"message": line, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The refusal as an answer."""
        return JSONResponse(self.body, self.status, dict(self.headers or {}))
