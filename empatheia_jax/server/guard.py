"""What every request passes before anything reads it: host, origin, token, size and pace; and what every answer carries.

A page of another site can make a browser call this machine. `Host` must therefore be an address or a name that is ours (a name
that was pointed at 127.0.0.1 is neither), and `Origin`, where a browser sends it, must be this server's or one that was named.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from empatheia_jax.server.options import Options, is_loopback
from empatheia_jax.server.refusals import Refusal

COOKIE = "empatheia_token"
OPEN = ("/healthz", "/readyz")
"""What needs no token: whether the server lives, and nothing else."""
UPLOADS = ("/api/uploads", "/v1/files")
"""Where a body may be as large as an upload."""
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; media-src 'self' blob:; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(self), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
}
_METHODS = "GET, POST, PATCH, DELETE"


class Guard:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, options: Options):
        self.app, self.options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request itself where it is refused, else passes it on with its body counted and timed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        foreign = origin is not None and not self._own(origin, headers)
        answer = self._answer(scope, headers, foreign)
        named = origin if foreign and origin in self.options.origins else None
        sender = _Sender(send, self.options.silent_seconds * 3, named)
        if answer is not None:
            await answer(scope, receive, sender)
            return
        limit = self.options.upload_bytes + 65_536 if scope["path"] in UPLOADS else self.options.body_bytes
        body = _Body(receive, limit, self.options.silent_seconds, self.options.body_seconds)
        try:
            await self.app(scope, body, sender)
        except Refusal as refusal:
            if not sender.began:
                await refusal.response()(scope, receive, sender)

    def _answer(self, scope: Scope, headers: Headers, foreign: bool) -> Response | None:
        """What is answered at once: a refusal, a preflight, or the cookie for a token in the address; None = go on."""
        try:
            self._check_host(headers)
            if ".." in scope["path"].replace("\\", "/").split("/") or "\0" in scope["path"]:
                raise Refusal(404, "there is nothing at this address")
            if foreign and headers["origin"] not in self.options.origins:
                raise Refusal(403, f"the origin {headers['origin'][:100]!r} may not call this server", code="origin")
            if (
                not foreign
                and headers.get("sec-fetch-site") == "cross-site"
                and headers.get("sec-fetch-mode") != "navigate"
            ):
                raise Refusal(403, "another site may not load this address", code="origin")
            if scope["method"] == "OPTIONS" and foreign:
                asked = {
                    "access-control-allow-methods": _METHODS,
                    "access-control-allow-headers": "authorization, content-type",
                    "access-control-max-age": "600",
                }
                return PlainTextResponse("", 204, asked)
            return self._check_token(scope, headers)
        except Refusal as refusal:
            return refusal.response()

    def _check_host(self, headers: Headers) -> None:
        name = _host(headers.get("host", ""))
        if name in self.options.names or is_loopback(name):
            return
        try:
            ipaddress.ip_address(name)
            known = not self.options.local
        except ValueError:
            known = False
        if not known:
            raise Refusal(421, f"this server is not {name[:100]!r}; name it with --names if it is", code="host")

    def _own(self, origin: str, headers: Headers) -> bool:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        token = self.options.token
        if token is None or scope["path"] in OPEN:
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0] if scope["path"] == "/" else ""
        if given and hmac.compare_digest(given.encode(), token.encode()):
            response = RedirectResponse("/", 303)
            secure = scope["scheme"] == "https" or headers.get("x-forwarded-proto") == "https"
            response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
            return response
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = bearer.strip() if scheme.lower() == "bearer" else _cookie(headers.get("cookie", ""))
        if not hmac.compare_digest(shown.encode("utf-8", "replace"), token.encode()):
            where = "show it as 'Authorization: Bearer …', or open the page once as /?token=…"
            raise Refusal(
                401,
                f"the token is {'wrong' if shown or given else 'missing'}; {where}",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return None


def _host(value: str) -> str:
    """The name or address out of a `Host` header, without the port."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]


def _cookie(value: str) -> str:
    try:
        found = SimpleCookie(value).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


class _Body:
    """A request's body, counted and timed: too large, or too slow, is refused while it comes."""

    def __init__(self, receive: Receive, limit: int, silent: float, whole: float):
        self.receive, self.limit, self.silent = receive, limit, silent
        self.ends, self.size, self.complete = time.monotonic() + whole, 0, False

    async def __call__(self) -> Message:
        if self.complete:
            return await self.receive()  # a wait for the client to leave
        left = min(self.silent, self.ends - time.monotonic())
        try:
            message = await asyncio.wait_for(self.receive(), max(left, 0.001))
        except TimeoutError:
            raise Refusal(
                408, "the request's body came too slowly", code="timeout", headers={"connection": "close"}
            ) from None
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self.size > self.limit:
                raise Refusal(
                    413,
                    f"the body is larger than {self.limit >> 20} MB",
                    code="too_large",
                    headers={"connection": "close"},
                )
        return message


class _Sender:
    """An answer's way out, with the headers that all have; a client that stops reading is left after a while."""

    def __init__(self, send: Send, patience: float, origin: str | None):
        self.send, self.patience, self.origin, self.began = send, patience, origin, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            if self.origin is not None:
                headers["access-control-allow-origin"] = self.origin
                headers["vary"] = "Origin"
            else:
                headers.setdefault("cross-origin-resource-policy", "same-origin")
        await asyncio.wait_for(self.send(message), self.patience)
