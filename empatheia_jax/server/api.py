"""The interface of the page: sessions, replies as they are made, uploads, films."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.dialogue.request import CHAIN, Modality, Request
from empatheia_jax.dreamtalk.drawn_face import shader
from empatheia_jax.errors import UserError
from empatheia_jax.server import fields, film, hearing, sound, wire
from empatheia_jax.server.fields import Fields, said_once
from empatheia_jax.server.house import House
from empatheia_jax.server.refusals import Refusal
from empatheia_jax.server.streams import Stream
from empatheia_jax.server.turns import Turn
from empatheia_jax.server.uploads import Upload

FACES = ("auto", "data", "film", "none")
_TURN = (
    *(
        "text",
        "recordings",
        "again",
        "profile",
        "chain_edits",
        "emotion",
        "mix",
        "seed",
        "decoding",
        "pipeline",
        "face",
        "sound",
    ),
    "stream",
)


def router(house: House) -> APIRouter:
    """The endpoints below /api, and the program of the drawn face."""
    routes = APIRouter()
    sessions, turns = house.sessions, house.turns

    @routes.get("/api/info")
    async def info() -> dict:
        return house.info()

    @routes.get("/drawn-face.js")
    async def face() -> Response:
        text = await asyncio.to_thread(shader.module)
        return Response(text, media_type="text/javascript", headers={"cache-control": "max-age=3600"})

    @routes.get("/api/people/{age}/{gender}/{tone}")
    async def person(age: str, gender: str, tone: str) -> dict:
        try:
            return {"numbers": shader.person_for_profile(age, gender, tone), "coefficients": wire.DRAWN}
        except UserError as error:
            raise Refusal(404, str(error)) from None

    # -------------------------------------------------------------------------------------------- sessions

    @routes.post("/api/sessions", status_code=201)
    async def create(request: HttpRequest) -> dict:
        given = await fields.read(request)
        given.known("profile", "seed")
        seed = given.whole("seed", 0, 2**31 - 1) or 0
        session = await asyncio.to_thread(sessions.create, fields.profile(given.object("profile")), seed)
        return wire.session(session)

    @routes.get("/api/sessions")
    async def listed() -> dict:
        return {"sessions": await asyncio.to_thread(sessions.summaries)}

    @routes.get("/api/sessions/{id}")
    async def load(id: str) -> dict:
        return wire.session(await asyncio.to_thread(sessions.get, id))

    @routes.patch("/api/sessions/{id}")
    async def change(id: str, request: HttpRequest) -> dict:
        session = await asyncio.to_thread(sessions.get, id)
        given = await fields.read(request)
        given.known("profile", "seed")
        if "profile" in given.value:
            session.profile = fields.profile(given.object("profile"))
        if (seed := given.whole("seed", 0, 2**31 - 1)) is not None:
            session.seed = seed
        await asyncio.to_thread(sessions.save, session)
        return wire.session(session)

    @routes.delete("/api/sessions/{id}", status_code=204)
    async def delete(id: str) -> Response:
        await asyncio.to_thread(sessions.delete, id)
        return Response(status_code=204)

    # -------------------------------------------------------------------------------------------- replies

    @routes.post("/api/sessions/{id}/turns")
    async def begin(id: str, request: HttpRequest) -> Response:
        session = await asyncio.to_thread(sessions.get, id)
        given = await fields.read(request)
        turn = turns.start(session, await asyncio.to_thread(asked, house, given), "page")
        as_events = "text/event-stream" in request.headers.get("accept", "")
        kind = "text/event-stream" if as_events else "application/x-ndjson"
        return Stream(_lines(turn, as_events), kind, turn.cancel)

    @routes.post("/api/sessions/{id}/turns/{reply}/heard")
    async def heard(id: str, reply: str, request: HttpRequest) -> dict:
        session = await asyncio.to_thread(sessions.get, id)
        given = await fields.read(request)
        given.known("seconds")
        seconds = given.number("seconds", 0, 86_400)
        if seconds is None:
            raise given.wrong("seconds", "how much of the reply was played")
        words = session.heard(turns.get(session, reply).id, seconds)
        await asyncio.to_thread(sessions.save, session)
        return {"heard": words}

    @routes.post("/api/sessions/{id}/turns/{reply}/cancel")
    async def cancel(id: str, reply: str, request: HttpRequest) -> dict:
        session = await asyncio.to_thread(sessions.get, id)
        turn = turns.get(session, reply)
        given = await fields.read(request)
        given.known("seconds")
        seconds = given.number("seconds", 0, 86_400)
        await asyncio.to_thread(turn.cancel)
        words = "" if seconds is None else session.heard(turn.id, seconds)
        await asyncio.to_thread(sessions.save, session)
        return {"heard": words}

    @routes.get("/api/sessions/{id}/turns/{reply}/film")
    async def filmed(id: str, reply: str) -> Response:
        turn = turns.get(await asyncio.to_thread(sessions.get, id), reply)
        if "video" not in turn.request.modalities:
            raise Refusal(404, "this reply was made without a film; ask with face=film")
        return Stream(turn.film.read(), film.TYPE)

    @routes.get("/api/sessions/{id}/turns/{reply}/reply.{ending}")
    async def download(id: str, reply: str, ending: str) -> Response:
        turn = turns.get(await asyncio.to_thread(sessions.get, id), reply)
        done = await turn.whole()
        if ending == "json":
            content, kind = json.dumps(wire.encoded(done), indent=1, ensure_ascii=False).encode(), "application/json"
        elif ending in sound.FORMATS and len(turn.samples):
            form = next(each for each in sound.FORMATS if each == ending)
            content, kind = await asyncio.to_thread(_spoken, house, turn, form), sound.TYPES[form]
        elif ending == "mp4" and turn.film.so_far:
            content, kind = await asyncio.to_thread(_finished, house, turn), "video/mp4"
        else:
            raise Refusal(404, f"this reply has no {ending[:10]!r}; ask with sound, or with face=film")
        return Response(
            content, media_type=kind, headers={"content-disposition": f'attachment; filename="reply.{ending}"'}
        )

    # -------------------------------------------------------------------------------------------- uploads

    @routes.post("/api/uploads", status_code=201)
    async def upload(request: HttpRequest) -> dict:
        return described(await received(house, request))

    @routes.delete("/api/uploads/{id}", status_code=204)
    async def remove(id: str) -> Response:
        await asyncio.to_thread(house.uploads.delete, id)
        return Response(status_code=204)

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(house.metrics.text(), media_type="text/plain; version=0.0.4")

    @routes.get("/healthz")
    async def alive() -> dict:
        return {"status": "ok"}

    @routes.get("/readyz")
    async def ready() -> Response:
        warm = house.measured is not None
        return JSONResponse({"status": "ready" if warm else "warming"}, 200 if warm else 503)

    return routes


def asked(house: House, given: Fields) -> Request:
    """The request in the body of a turn; what is said in its recordings is transcribed, which takes a moment.

    Raises:
        Refusal: a field is unknown or wrong.
    """
    given.known(*_TURN)
    again = given.flag("again")
    text = given.text("text", house.options.characters)
    uploads = [house.uploads.get(str(id)) for id in given.list("recordings", 2)]
    if again and (text is not None or uploads):
        raise Refusal(400, "again answers what was said last; leave text and recordings out", param="again")
    if not again and not uploads and not (text or "").strip():
        raise Refusal(400, "there are no words to answer; expected text or recordings", param="text")
    edits = given.object("chain_edits")
    edits.known(*CHAIN)
    face = given.choice("face", FACES, "auto")
    if face == "auto":
        face = house.info()["face"]["default"]
    speaks = given.value.get("sound") is not False
    modalities: set[Modality] = {"text"}
    if speaks:
        modalities |= {"speech"}
        modalities |= {"data": {"motion"}, "film": {"motion", "video"}}.get(str(face), set())  # type: ignore[arg-type]
    elif given.value.get("sound") not in (None, False):
        raise given.wrong("sound", "true or false")
    speech, video = media_of(uploads)
    heard = hearing.words(uploads)
    return said_once(
        lambda: Request(
            text=None if again else text if (text or "").strip() else heard,
            transcript=heard,
            speech=speech,
            video=video,
            profile=fields.profile(given.object("profile")),
            chain_edits={name: edits.text(name, 600) or "" for name in edits.value},
            emotion=given.choice("emotion", (*labels.EMOTIONS_7, NEUTRAL)),
            mix=fields.mix(given.object("mix")),
            seed=given.whole("seed", 0, 2**31 - 1),
            decoding=fields.decoding(given.object("decoding")),
            modalities=modalities,
            pipeline=given.flag("pipeline"),
        )
    )


def media_of(uploads: list[Upload]) -> tuple[Path | None, Path | None]:
    """Where the sound and the pictures of some recordings are read: a recording of sound alone comes before a film's."""
    speech = [each.speech for each in sorted(uploads, key=lambda each: each.kind != "speech") if each.speech]
    video = [each.video for each in uploads if each.video]
    return (speech[0] if speech else None), (video[0] if video else None)


async def received(house: House, request: HttpRequest) -> Upload:
    """The recording in a request's body: bare, or the first file of a form."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        return await house.uploads.receive(request.stream())
    async with request.form(max_files=1, max_fields=8) as form:
        file = next((value for value in form.values() if isinstance(value, UploadFile)), None)
        if file is None:
            raise Refusal(400, "the form holds no file; expected one", param="file")
        return await house.uploads.receive(_read(file))


async def _read(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(1 << 20):
        yield piece


def described(upload: Upload) -> dict:
    """An upload as JSON."""
    seconds = None if upload.seconds is None else round(upload.seconds, 3)
    return {"id": upload.id, "kind": upload.kind, "seconds": seconds, "sound": upload.sounds, "bytes": upload.size}


async def _lines(turn: Turn, as_events: bool) -> AsyncIterator[bytes]:
    def line(value: dict) -> bytes:
        text = json.dumps(value, ensure_ascii=False)
        return (f"data: {text}\n\n" if as_events else f"{text}\n").encode()

    yield line({"type": "begin", "reply": turn.id, "face": _face(turn.request), "said": turn.request.text})
    async for event in turn.events.read():
        yield line(wire.encoded(event))


def _face(request: Request) -> str:
    return "film" if "video" in request.modalities else "data" if "motion" in request.modalities else "none"


def _spoken(house: House, turn: Turn, form: sound.Format) -> bytes:
    """The sound of a reply; a wav is signed, the other formats carry the watermark alone."""
    content = sound.encode(turn.samples, turn.rate, form)
    if form != "wav":
        return content
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reply.wav"
        path.write_bytes(content)
        house.safeguards.marks.sign(path)
        return path.read_bytes()


def _finished(house: House, turn: Turn) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reply.mp4"
        film.finish(b"".join(turn.film.so_far), path)
        house.safeguards.marks.sign(path)
        return path.read_bytes()
