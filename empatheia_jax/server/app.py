"""The application: its endpoints, its page, its errors."""

from __future__ import annotations

import logging
from importlib import resources

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from empatheia_jax.server import api, openai_api
from empatheia_jax.server.guard import Guard
from empatheia_jax.server.house import House
from empatheia_jax.server.refusals import Refusal

_log = logging.getLogger(__name__)


def create(house: House) -> ASGIApp:
    """The application of a server, with its guard around it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.include_router(api.router(house))
    app.include_router(openai_api.router(house))
    app.mount("/", StaticFiles(directory=str(resources.files("empatheia_jax.server") / "page"), html=True))

    @app.exception_handler(Refusal)
    async def refused(request: HttpRequest, refusal: Refusal) -> Response:
        house.metrics.refusals.labels(str(refusal.status)).inc()
        return refusal.response()

    @app.exception_handler(HTTPException)
    async def missing(request: HttpRequest, error: HTTPException) -> Response:
        told = {404: "there is nothing at this address", 405: "this address does not take that method"}
        return Refusal(error.status_code, told.get(error.status_code, str(error.detail))).response()

    @app.exception_handler(Exception)
    async def mistaken(request: HttpRequest, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return Refusal(500, "the server made a mistake; see its log").response()

    return Guard(app, house.options)
