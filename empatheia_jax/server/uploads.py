"""Recordings that clients send: streamed to disk, looked at, and known by a random id from then on.

The name that a client gives a file is never used, and a file is never handed out again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import os
import re
import secrets
import threading
import urllib.parse
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import numpy as np

from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info, read_audio
from empatheia_jax.media.image import read_image, resize
from empatheia_jax.media.video import video_info
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.server.options import Options
from empatheia_jax.server.refusals import Refusal

LONGEST = 60.0
"""Seconds of one recording."""
PIXELS = 40_000_000
SIDE = 512
ID = re.compile(r"[0-9a-f]{32}")
Kind = Literal["speech", "video", "picture"]


@dataclasses.dataclass(frozen=True)
class Upload:
    """A recording on disk. `kind`: speech has no pictures; a picture was made a film of one second. `sounds`: it has sound."""

    id: str
    kind: Kind
    path: Path
    size: int
    seconds: float | None
    sounds: bool

    @property
    def speech(self) -> Path | None:
        """Where its sound is read."""
        return self.path if self.sounds else None

    @property
    def video(self) -> Path | None:
        """Where its pictures are read."""
        return None if self.kind == "speech" else self.path


class Uploads:
    """The uploads of a server, in a folder. Where they take more than is allowed together, the oldest go."""

    def __init__(self, folder: Path, options: Options):
        self.folder, self.options = folder, options
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():  # of a server that was killed; its clients are gone
            left.unlink(missing_ok=True)
        self._known: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, id: str) -> Upload:
        """The upload with an id. Raises `Refusal` where there is none."""
        with self._lock:
            found = self._known.get(id) if ID.fullmatch(id) else None
        if found is None:
            raise Refusal(404, f"there is no upload {id[:40]!r}; send it again", code="upload")
        return found

    def all(self) -> list[Upload]:
        """What is there, oldest first."""
        with self._lock:
            return list(self._known.values())

    def delete(self, id: str) -> None:
        """Removes an upload. Raises `Refusal` where there is none."""
        upload = self.get(id)
        with self._lock:
            self._known.pop(id, None)
        upload.path.unlink(missing_ok=True)

    async def receive(self, pieces: AsyncIterator[bytes]) -> Upload:
        """Keeps what comes. Raises `Refusal` where it is too large or no recording."""
        place = self._new()
        size = 0
        try:
            with open(place, "xb") as file:
                async for piece in pieces:
                    size += len(piece)
                    if size > self.options.upload_bytes:
                        raise Refusal(
                            413, f"the upload is larger than {self.options.upload_bytes >> 20} MB", code="too_large"
                        )
                    await asyncio.to_thread(file.write, piece)
            return await asyncio.to_thread(self._keep, place)
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def of_bytes(self, content: bytes) -> Upload:
        """Keeps a recording that is there already. Raises `Refusal` as `receive`."""
        if len(content) > self.options.upload_bytes:
            raise Refusal(413, f"the recording is larger than {self.options.upload_bytes >> 20} MB", code="too_large")
        place = self._new()
        try:
            place.write_bytes(content)
            return self._keep(place)
        except BaseException:
            place.unlink(missing_ok=True)
            raise

    def of_url(self, url: str) -> Upload:
        """A recording out of a data URL, or the upload that `upload:<id>` (or the id alone) names.

        Raises:
            Refusal: another address: this server fetches nothing.
        """
        if url.startswith("data:"):
            return self.of_bytes(data_of(url))
        name = url.removeprefix("upload:").removeprefix("file-")
        if not ID.fullmatch(name):
            raise Refusal(
                400, "recordings come as data URLs or as ids of uploads; other addresses are not fetched", code="url"
            )
        return self.get(name)

    def _new(self) -> Path:
        return self.folder / secrets.token_hex(16)

    def _keep(self, path: Path) -> Upload:
        try:
            upload = examine(path)
        except UserError as error:
            raise Refusal(400, str(error).replace(str(path), "the upload"), code="recording") from None
        with self._lock:
            self._known[upload.id] = upload
            while (
                len(self._known) > 1
                and sum(each.size for each in self._known.values()) > self.options.all_uploads_bytes
            ):
                _, oldest = self._known.popitem(last=False)
                oldest.path.unlink(missing_ok=True)
        return upload


def examine(path: Path) -> Upload:
    """Says what a file is, and that it can be read. A picture becomes a film of one second.

    Raises:
        UserError: it is none of a recording, a film and a picture; or it is broken, too long or too large.
    """
    with open(path, "rb") as file:
        start = file.read(16)
    if _is_picture(start):
        _film_of(path)
        return Upload(path.name, "picture", path, os.path.getsize(path), None, sounds=False)
    try:
        film = video_info(path)
    except UserError:
        film = None
    if film is not None:
        _short_enough(path, film.seconds)
        return Upload(path.name, "video", path, os.path.getsize(path), film.seconds, sounds=film.has_audio)
    seconds = audio_info(path).seconds
    if seconds is None or start.startswith(
        b"\x1aE\xdf\xa3"
    ):  # a recorder of a browser does not know its length before the end
        seconds = len(read_audio(path, 8_000, max_seconds=LONGEST)) / 8_000
    _short_enough(path, seconds)
    return Upload(path.name, "speech", path, os.path.getsize(path), seconds, sounds=True)


def _short_enough(path: Path, seconds: float) -> None:
    if seconds > LONGEST:
        raise UserError(f"{path} lasts {seconds:.0f} s; at most {LONGEST:.0f} s are taken; cut it")


def _is_picture(start: bytes) -> bool:
    known = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
    return start.startswith(known) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def _film_of(path: Path) -> None:
    """Makes a picture a film of one second, which is what the model sees."""
    picture = read_image(path, max_pixels=PIXELS)
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    height, width = (max(2, round(side * scale / 2) * 2) for side in picture.shape[:2])
    with VideoWriter(path, 25, (height, width)) as film:
        film.write(np.repeat(resize(picture, height, width)[None], 25, axis=0))


def data_of(url: str) -> bytes:
    """The bytes of a data URL. Raises `Refusal` where it is none."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:"):
        raise Refusal(400, "the data URL has no content; expected data:<type>;base64,<content>", code="url")
    return base64_bytes(body) if head.endswith(";base64") else urllib.parse.unquote_to_bytes(body)


def base64_bytes(text: str) -> bytes:
    """The bytes of base64. Raises `Refusal` where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "the recording is no base64", code="base64") from None
