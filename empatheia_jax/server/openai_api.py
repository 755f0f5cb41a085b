"""OpenAI's interface: `/v1/chat/completions`, `/v1/models`, `/v1/audio/speech`, `/v1/files`, for clients that exist already.

What OpenAI does not have stands in one object, `empatheia`: the profile, the emotion to show, edited steps of the chain and the
film go in with a request; the chain, the emotion and the film come out with the answer.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.dialogue.engine import Busy
from empatheia_jax.dialogue.events import ChainStep, Done, Failed, Instead, SpeechPiece, TextPiece
from empatheia_jax.dialogue.request import CHAIN, DecodingChoice, Modality, Request
from empatheia_jax.dialogue.session import Session
from empatheia_jax.server import fields, hearing, openai_messages, sound, wire
from empatheia_jax.server.api import media_of, received
from empatheia_jax.server.fields import Fields, said_once
from empatheia_jax.server.house import House
from empatheia_jax.server.openai_messages import MESSAGES, profile_of
from empatheia_jax.server.refusals import Refusal
from empatheia_jax.server.streams import Stream
from empatheia_jax.server.turns import Turn, busy
from empatheia_jax.server.uploads import Upload

PIPELINE = "-pipeline"
"""Behind the model's name: the baseline of the paper."""
KEEPS_SECONDS = 3600
SOUND: tuple[Modality, ...] = ("speech",)
_UNKNOWN = (
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "prediction",
    "web_search_options",
)
"""Fields of OpenAI's that would change the answer and that this model cannot follow."""


def router(house: House) -> APIRouter:
    """The endpoints below /v1."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def models() -> dict:
        return {"object": "list", "data": [_model(house, name) for name in _names(house)]}

    @routes.get("/v1/models/{name}")
    async def model(name: str) -> dict:
        if name not in _names(house):
            raise _no_model(house, name)
        return _model(house, name)

    @routes.post("/v1/chat/completions")
    async def complete(request: HttpRequest) -> Response:
        given = await fields.read(request)
        asked = await asyncio.to_thread(_Asked, house, given)
        turn = house.turns.start(asked.session, asked.request, "openai")
        if asked.stream:
            return Stream(_chunks(turn, asked), "text/event-stream", turn.cancel)
        return await _unless_gone(request, turn, _completion(house, turn, asked))

    @routes.post("/v1/audio/speech")
    async def speech(request: HttpRequest) -> Response:
        given = await fields.read(request)
        _named(house, given)
        text = given.text("input", house.options.characters)
        if not (text or "").strip():
            raise given.wrong("input", "words to speak")
        voice = given.text("voice", 60)
        form = given.choice("response_format", ("mp3", "opus", "aac", "flac", "wav", "pcm"), "mp3")
        speed = given.number("speed", 0.25, 4.0)
        if speed not in (None, 1.0):
            raise given.wrong("speed", "1: this server speaks at the speed of the voice")
        profile = profile_of(voice or "alloy")
        try:
            spoken = house.engine.recite(Session(profile), Request(text, profile=profile, modalities=SOUND), text or "")
        except Busy as error:
            raise busy(error) from None
        pieces: list[np.ndarray] = []
        rate = 24_000
        try:
            while (event := await asyncio.to_thread(spoken.get)) is not None:
                if isinstance(event, SpeechPiece):
                    pieces.append(house.safeguards.marks.sound(event.samples, event.rate))
                    rate = event.rate
                elif isinstance(event, Failed):
                    raise Refusal(500 if event.fault else 400, event.reason, param="input")
        finally:
            spoken.close()
        if not pieces:
            raise Refusal(400, "the input holds nothing that can be spoken", param="input")
        kind = next(each for each in sound.FORMATS if each == {"pcm": "pcm16"}.get(str(form), form))
        content = await asyncio.to_thread(sound.encode, np.concatenate(pieces), rate, kind)
        return Response(content, media_type=sound.TYPES[kind])

    # -------------------------------------------------------------------------------------------- files

    @routes.post("/v1/files")
    async def upload(request: HttpRequest) -> dict:
        return _file(await received(house, request), house)

    @routes.get("/v1/files")
    async def files() -> dict:
        return {"object": "list", "data": [_file(each, house) for each in house.uploads.all()], "has_more": False}

    @routes.get("/v1/files/{id}")
    async def file(id: str) -> dict:
        return _file(house.uploads.get(id.removeprefix("file-")), house)

    @routes.delete("/v1/files/{id}")
    async def delete(id: str) -> dict:
        await asyncio.to_thread(house.uploads.delete, id.removeprefix("file-"))
        return {"id": id, "object": "file", "deleted": True}

    @routes.get("/v1/empatheia/films/{id}")
    async def film(id: str) -> Response:
        from empatheia_jax.server.film import TYPE

        return Stream(house.turns.get(None, id).film.read(), TYPE)

    return routes


class _Asked:
    """A request for a completion, read."""

    def __init__(self, house: House, given: Fields):
        self.model = _named(house, given)
        self.stream = given.flag("stream")
        self.usage = given.object("stream_options").flag("include_usage")
        if (given.whole("n", 1, 128) or 1) != 1:
            raise given.wrong("n", "1: this server gives one answer")
        for name in _UNKNOWN:
            if given.value.get(name) not in (None, [], {}, False, {"type": "text"}):
                raise Refusal(
                    400, f"{name} is not known to this model; leave it out", param=name, code="unsupported_parameter"
                )
        modalities = given.list("modalities", 2) or ["text"]
        if not set(map(str, modalities)) <= {"text", "audio"}:
            raise given.wrong("modalities", 'some of "text", "audio"')
        self.audio = "audio" in modalities
        audio, ours = given.object("audio"), given.object("empatheia")
        self.form = audio.choice("format", sound.FORMATS, "pcm16" if self.stream else "wav")
        if self.audio and self.stream and self.form != "pcm16":
            raise audio.wrong("format", "pcm16 where the answer is streamed")
        voice = audio.value.get("voice")
        if isinstance(voice, dict):
            voice = voice.get("id")
        ours.known("profile", "emotion", "mix", "chain_edits", "film")
        edits = ours.object("chain_edits")
        edits.known(*CHAIN)
        self.film = ours.flag("film")
        said = openai_messages.read(
            given.list("messages", MESSAGES), house.uploads, house.options.characters, lambda id: _transcript(house, id)
        )
        self.ignored = said.ignored
        profile = fields.profile(ours.object("profile")) or (profile_of(str(voice)) if voice else None)
        said.session.profile = profile
        self.session = said.session
        wanted: set[Modality] = {"text"}
        wanted |= {"speech"} if self.audio or self.film else set()
        wanted |= {"motion", "video"} if self.film else set()
        speech, video = media_of(said.uploads)
        heard = hearing.words(said.uploads)
        tokens = given.whole("max_completion_tokens", 1, 1 << 20) or given.whole("max_tokens", 1, 1 << 20)
        self.request = said_once(
            lambda: Request(
                text=said.text if (said.text or "").strip() else heard,
                transcript=heard,
                speech=speech,
                video=video,
                profile=profile,
                chain_edits={name: edits.text(name, 600) or "" for name in edits.value},
                emotion=ours.choice("emotion", (*labels.EMOTIONS_7, NEUTRAL)),
                mix=fields.mix(ours.object("mix")),
                seed=None if (seed := given.whole("seed", -(2**63), 2**63 - 1)) is None else seed % 2**31,
                decoding=DecodingChoice(
                    temperature=given.number("temperature", 0, 2),
                    top_p=given.number("top_p", 0, 1),
                    response_tokens=tokens,
                ),
                modalities=wanted,
                pipeline=self.model.endswith(PIPELINE),
            )
        )


async def _completion(house: House, turn: Turn, asked: _Asked) -> Response:
    done = await turn.whole()
    text = done.answer.response
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if asked.audio:
        form = next(each for each in sound.FORMATS if each == asked.form)
        data = base64.b64encode(await asyncio.to_thread(sound.encode, turn.samples, turn.rate, form)).decode()
        message["audio"] = _sound(turn) | {"data": data, "transcript": text}
        message["content"] = None
    message["empatheia"] = _ours(turn, done, asked)
    choice = {"index": 0, "message": message, "finish_reason": _reason(done), "logprobs": None}
    return JSONResponse(
        {
            **_head(turn, asked),
            "object": "chat.completion",
            "choices": [choice],
            "usage": _usage(done),
            "service_tier": "default",
        }
    )


async def _chunks(turn: Turn, asked: _Asked) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        value = {**_head(turn, asked), "object": "chat.completion.chunk", "choices": [choice]}
        return _event(value | ({"usage": None} if asked.usage else {}))

    yield chunk({"role": "assistant", "content": None if asked.audio else "", "refusal": None})
    async for event in turn.events.read():
        if isinstance(event, ChainStep):
            yield chunk({"empatheia": {"chain": {event.name: event.value}}})
        elif isinstance(event, Instead):
            yield chunk({"empatheia": {"instead": event.kind, "notice": event.notice}})
        elif isinstance(event, TextPiece):
            yield chunk(
                {"audio": {"id": _sound(turn)["id"], "transcript": event.text}}
                if asked.audio
                else {"content": event.text}
            )
        elif isinstance(event, SpeechPiece) and asked.audio:
            data = base64.b64encode(sound.encode(event.samples, event.rate, "pcm16")).decode()
            yield chunk({"audio": {"id": _sound(turn)["id"], "data": data}})
        elif isinstance(event, Failed):
            yield _event(Refusal(500 if event.fault else 400, wire.encoded(event)["reason"]).body)
            return
        elif isinstance(event, Done):
            if asked.audio:
                yield chunk({"audio": _sound(turn)})
            yield chunk({"empatheia": _ours(turn, event, asked)}, _reason(event))
            if asked.usage:
                yield _event(
                    {**_head(turn, asked), "object": "chat.completion.chunk", "choices": [], "usage": _usage(event)}
                )
    yield b"data: [DONE]\n\n"


async def _unless_gone(request: HttpRequest, turn: Turn, answer) -> Response:
    """Waits for an answer; where the client leaves before, the reply ends."""
    making = asyncio.ensure_future(answer)

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(left())
    try:
        await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            turn.cancel()
        return await making
    finally:
        leaving.cancel()


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _names(house: House) -> tuple[str, str]:
    return house.model, house.model + PIPELINE


def _model(house: House, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": house.began, "owned_by": "empatheia-jax"}


def _no_model(house: House, name: str) -> Refusal:
    there = " and ".join(_names(house))
    return Refusal(
        404, f"there is no model {name[:60]!r}; this server has {there}", param="model", code="model_not_found"
    )


def _named(house: House, given: Fields) -> str:
    name = given.text("model", 200)
    if name not in _names(house):
        raise _no_model(house, name or "")
    return str(name)


def _head(turn: Turn, asked: _Asked) -> dict[str, Any]:
    return {"id": f"chatcmpl-{turn.id}", "created": turn.began, "model": asked.model, "system_fingerprint": None}


def _sound(turn: Turn) -> dict[str, Any]:
    return {"id": f"audio_{turn.id}", "expires_at": int(time.time()) + KEEPS_SECONDS}


def _transcript(house: House, id: str) -> str | None:
    try:
        done = house.turns.get(None, id.removeprefix("audio_")).done
    except Refusal:
        return None
    return None if done is None else done.answer.response


def _ours(turn: Turn, done: Done, asked: _Asked) -> dict[str, Any]:
    encoded = wire.encoded(done)
    found = {name: encoded[name] for name in ("chain", "emotion", "shown", "profile", "heard", "seconds", "timings")}
    if done.instead:
        found["instead"] = done.instead
    if asked.film:
        found["film"] = f"/v1/empatheia/films/{turn.id}"
    if asked.ignored:
        found["ignored"] = asked.ignored
    return found


def _reason(done: Done) -> str:
    return "stop" if done.answer.complete else "length"


def _usage(done: Done) -> dict[str, int]:
    written, asked = int(done.timings["tokens"]), int(done.timings["prompt_tokens"])
    return {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}


def _file(upload: Upload, house: House) -> dict[str, Any]:
    facts = {"bytes": upload.size, "created_at": int(upload.path.stat().st_mtime), "filename": upload.kind}
    return {"id": f"file-{upload.id}", "object": "file", "purpose": "user_data", "status": "processed", **facts}
