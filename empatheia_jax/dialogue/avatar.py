"""The interface for Python programs and notebooks: load a trained run, say something, get an answer.

from empatheia_jax import Empatheia

avatar = Empatheia.from_pretrained("starter")   # or Empatheia.from_run("runs/quickstart")
reply = avatar.reply("My sister offered, but I did not want to worry her.", profile="elderly male gentle")
reply.text, reply.chain, reply.speech, reply.frames
reply.save("out/")
"""

from __future__ import annotations

import base64
import dataclasses
import html
import os
import tempfile
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from empatheia_jax import settings, weights
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue import commands
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.responder import Reply, Responder
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.dialogue.session import Session
from empatheia_jax.errors import UserError
from empatheia_jax.provenance.marks import Marks
from empatheia_jax.runs.run import Run


class AvatarReply:
    """An answer in three modalities. Frames are drawn when they are asked for first, and then kept."""

    def __init__(self, reply: Reply, asked: str, marks: Marks | None = None):
        self._reply, self._asked, self._marks = reply, asked, marks

    @property
    def text(self) -> str:
        """The words of the reply."""
        return self._reply.answer.response

    @property
    def chain(self) -> Answer:
        """The five steps as fields: event_scenario, speaker_emotion, emotion_cause, goal_to_response, response."""
        return self._reply.answer

    @property
    def instead(self) -> str:
        """Why the text of a file was said in place of the model's words ("self-harm", say); "" = the model's were said."""
        return self._reply.instead

    @property
    def profile(self) -> Profile:
        """Who answers: age, gender and tone of voice and face."""
        return self._reply.profile

    @property
    def speech(self) -> Float[np.ndarray, " samples"]:
        """The reply as sound, float32 from −1 to 1, at `rate`."""
        return self._reply.speech

    @property
    def rate(self) -> int:
        """Samples per second of `speech`."""
        return self._reply.rate

    @cached_property
    def frames(self) -> UInt8[np.ndarray, "frames height width 3"]:
        """The talking face, RGB, 25 frames per second."""
        return np.concatenate([np.asarray(batch) for batch in self._reply.frames])

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes reply.json, reply.wav and reply.mp4 with their marks of origin; all of them appear, or none does.

        Returns the folder.
        """
        reply = dataclasses.replace(self._reply, frames=iter([self.frames]))
        return commands.write_reply(reply, Path(folder), {"asked": self._asked}, self._marks)

    def __repr__(self) -> str:
        return f"AvatarReply({self.text!r}, {len(self.speech) / self.rate:.1f} s of speech)"

    def _repr_html_(self) -> str:
        """The film, the reply and the steps before it, for a notebook."""
        with tempfile.TemporaryDirectory() as folder:
            film = base64.b64encode((self.save(Path(folder) / "reply") / "reply.mp4").read_bytes()).decode()
        steps = [
            ("event", self.chain.event_scenario),
            ("emotion", self.chain.speaker_emotion),
            ("cause", self.chain.emotion_cause),
            ("goal", self.chain.goal_to_response),
        ]
        rows = "".join(f"<li><b>{name}</b>: {html.escape(value)}</li>" for name, value in steps if value)
        return (
            f'<video controls src="data:video/mp4;base64,{film}"></video><p>{html.escape(self.text)}</p><ul>{rows}</ul>'
        )


class Empatheia:
    """A trained model with its generators, loaded once. Make one by `from_pretrained` or `from_run`.

    Args:
        responder: the model.
        safeguards: what is checked and marked; None = as the commands do it: the texts that come with the package, and both marks
            as far as they are installed (`reply.save` writes them; a line says what is lacking).
    """

    def __init__(self, responder: Responder, safeguards: Safeguards | None = None):
        self._safeguards = safeguards or Safeguards.of()
        if self._safeguards.marks.notice:
            warnings.warn(self._safeguards.marks.notice, stacklevel=3)
        self._engine = Engine(responder, places=1, care=self._safeguards.care)

    @classmethod
    def from_run(cls, folder: str | os.PathLike, safeguards: Safeguards | None = None) -> Empatheia:
        """The model of a run's folder (`runs/<name>`), with the settings that it was trained with.

        Raises:
            UserError: the folder is no run, holds no trained stage, or a weights folder that it needs is missing.
        """
        run = Run(folder)
        return cls(commands.responder(settings.resolve(run.config()), run.folder), safeguards)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike = "starter", safeguards: Safeguards | None = None) -> Empatheia:
        """The model of trained leaves: of those that ship with the package by their name, or of a folder of the same form.

        Raises:
            UserError: there are none of that name, they are damaged, or a weights folder that they need is missing.
        """
        config = ConfigDict(dict(weights.open_start(name).config))
        config.start = str(name)
        return cls(commands.responder(settings.resolve(config), None), safeguards)

    def reply(
        self,
        text: str = "",
        *,
        speech: str | os.PathLike | None = None,
        video: str | os.PathLike | None = None,
        profile: str | Profile | None = None,
        history: Sequence[str] = (),
    ) -> AvatarReply:
        """Answers one utterance.

        Args:
            text: what the user says now; of a recording without text, its words are transcribed (the extra `transcribe`).
            speech, video: a recording of it, any sound file and any film; the model hears and sees what it was trained to.
            profile: who answers, "elderly male gentle" say; None takes the default voice and face.
            history: what was said before, oldest first: user, avatar, user, avatar …

        Raises:
            UserError: no words, a history that does not end with the avatar, a profile in other words, an unusable recording.
        """
        if not text.strip() and speech is None and video is None:
            raise UserError("there are no words to answer; expected text, or a recording")
        heard, seen = (None if path is None else Path(path) for path in (speech, video))
        text = Ask(text=text.strip(), speech=heard, video=seen).with_words().text
        listener = Profile.parse(profile) if isinstance(profile, str) else profile
        session = Session.of(history, listener, seed=self._engine.responder.seed)
        request = Request(text, speech, video, modalities=("speech", "motion"), early=False)
        return AvatarReply(self._engine.reply(session, request), text, self._safeguards.marks)
