"""What the endpoints share: the engine, the sessions, the uploads, the replies, and what was measured at the start."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.events import Frames
from empatheia_jax.dialogue.faces import DrawnFaces
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.dialogue.session import Session
from empatheia_jax.server import hearing
from empatheia_jax.server.metrics import Metrics
from empatheia_jax.server.options import Options
from empatheia_jax.server.sessions import Sessions
from empatheia_jax.server.turns import Turns
from empatheia_jax.server.uploads import Uploads

FRAME_RATE = 25
MARGIN = 1.2
"""So many times faster than it plays must the renderer draw, for the film to be the default."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the warm-up found. film: frames a second of the neural renderer; drawn: whether the page can draw the face itself."""

    film: float
    drawn: bool

    @property
    def face(self) -> str:
        """What is shown unless the user says otherwise: "film", or "data", which the page draws."""
        return "data" if self.drawn and self.film < MARGIN * FRAME_RATE else "film"


class House:
    """One server.

    Args:
        engine: what answers; it checks what is said (`dialogue.safeguards`).
        options: where it listens, and its limits.
        model: the name by which clients ask for it.
        safeguards: the notices that a page shows, and the marks of origin; None = those notices and no marks.
    """

    def __init__(
        self, engine: Engine, options: Options, *, model: str = "empatheia", safeguards: Safeguards | None = None
    ):
        self.engine, self.options, self.model = engine, options, model
        self.safeguards = safeguards or Safeguards()
        self.metrics = Metrics(engine.state)
        self.sessions = Sessions(options.folder / "sessions", options.sessions)
        self.uploads = Uploads(options.folder / "uploads", options)
        self.turns = Turns(engine, self.safeguards.marks, self.metrics, self.sessions.save)
        self.measured: Measured | None = None
        self.began = int(time.time())

    def warm(self) -> Measured:
        """Compiles everything, and then measures how fast frames are drawn; the port is opened after it."""
        self.engine.warm()
        self.safeguards.marks.warm()
        first, last, frames = 0.0, 0.0, 0
        asked = Request("I am here.", modalities=("text", "speech", "motion", "video"))
        for event in self.engine.stream(Session(), asked):
            if isinstance(event, Frames):
                last, first = time.perf_counter(), first or time.perf_counter()
                frames += len(event.rgb) if first != last else 0  # those of the first batch were drawn before `first`
        speed = frames / (last - first) if last > first else 0.0
        self.measured = Measured(round(speed, 1), isinstance(self.engine.responder.faces, DrawnFaces))
        return self.measured

    def info(self) -> dict[str, Any]:
        """What a page needs to know before it begins."""
        from empatheia_jax.conversation import labels

        measured = self.measured or Measured(0.0, isinstance(self.engine.responder.faces, DrawnFaces))
        return {
            "model": self.model,
            "profiles": {"ages": labels.AGES, "genders": labels.GENDERS, "tones": labels.TONES},
            "emotions": {"shown": (*labels.EMOTIONS_7, "neutral"), "felt": labels.EMOTIONS_32},
            "face": {"default": measured.face, "drawn": measured.drawn, "frames_per_second": measured.film},
            "notices": self.safeguards.care.notices() | {"unheard": hearing.NOT_HEARD if hearing.is_deaf() else ""},
            "limits": {"characters": self.options.characters, "upload_bytes": self.options.upload_bytes},
        }
