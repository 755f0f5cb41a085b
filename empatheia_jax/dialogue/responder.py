"""One reply: from a dialogue with its media to text, speech and a talking face.

The order is that of the data flow: text and Chain of Empathy → phonemes → C^s, S^s → durations → speech → number of frames → C^v,
S^v → motion → portrait chosen by the profile → frames. The hidden states r^t, r^s, r^v come out of the decoding pass itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import soxr
from flax import nnx

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.core.decoding import bucket
from empatheia_jax.dialogue.writer import Question, Writer, Written
from empatheia_jax.empatheia import Signals
from empatheia_jax.errors import UserError
from empatheia_jax.media.video import frames_for
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.voices import for_profile
from empatheia_jax.tokens import SIGNALS

DEFAULT_LISTENER = Profile("young", "female", "mid", None)
"""Lends voice and portrait where a dialogue does not say who answers."""
SPEECH_RATE = 16_000
"""What the talking head's encoder hears."""


@dataclasses.dataclass(frozen=True)
class Blend:
    """How much of the bridge's output reaches the generators: 1 = all of it (the paper), 0 = none (a pipeline).

    Between them, content frames mix with the generator's own encoding of the reply, styles with those of the profile's voice
    and the emotion's expression. A bridge that trained for minutes carries style before it carries words.
    """

    content: float
    style: float


@dataclasses.dataclass
class Reply:
    """What came out.

    `heard`: the kinds of recordings that it answers to. `speech` (samples,) float32 at `rate`. `frames` yields uint8
    (N, H, W, 3) at 25 fps, once; `size` (H, W).
    """

    answer: Answer
    text: str
    emotion: Mapping[str, str | None]
    profile: Profile
    heard: tuple[str, ...]
    speech: np.ndarray
    rate: int
    frames: Iterator[np.ndarray]
    frame_count: int
    size: tuple[int, int]
    timings: dict[str, float]


class Responder:
    """Answers dialogues with a trained model and the generators.

    Args:
      writer: the text half, with the trained model (`dialogue.writer`).
      speaker, animator: the generators (`styletts2.Speaker`, `dreamtalk.Animator`).
      faces: portraits by profile and style clips by emotion (`dialogue.faces`).
      blend: see `Blend`.
    """

    def __init__(
        self,
        writer: Writer,
        speaker: Any,
        animator: Any,
        faces: Any,
        *,
        blend: Blend,
        guidance: float = 1.0,
        seed: int = 0,
    ):
        self.writer, self.model, self.policy = writer, writer.model, writer.policy
        self.speaker, self.animator, self.faces = speaker, animator, faces
        self.blend, self.guidance, self.seed = blend, guidance, seed
        graph, self._state = nnx.split(writer.model)
        self._style = jax.jit(lambda state, signals: nnx.merge(graph, state).style(signals))
        self._content_speech = jax.jit(
            lambda state, s, n, size: nnx.merge(graph, state).synchronizer.speech(s.text, s.text_lengths, n, size)[0],
            static_argnums=3,
        )
        self._content_video = jax.jit(
            lambda state, s, n, size: nnx.merge(graph, state).synchronizer.video(s.text, s.text_lengths, n, size)[0],
            static_argnums=3,
        )

    # ------------------------------------------------------------------------------------------------ the reply

    def reply(
        self,
        history: Sequence[Utterance],
        media: Mapping[int, Mapping[str, Path]],
        listener: Profile | None,
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """Answers the last utterance of `history`.

        Args:
          history: what was said, the speaker last.
          media: recordings by utterance index, {"speech": wav, "video": mp4}, each optional.
          listener: whose reply it is: decides voice and portrait, and the prompt says it; None = unknown, and
            `DEFAULT_LISTENER` lends voice and portrait.
          on_text: called with each new piece of text while it is decoded.

        Raises:
          UserError: a recording is unusable, the history does not fit, or the model wrote no reply.
        """
        timings: dict[str, float] = {}
        with _timed(timings, "hear, see, think and write"):
            say = None if on_text is None else lambda _, piece: on_text(piece)
            written = self.writer.write([Question(history, media, listener)], say)[0]
            answer = written.answer
            if not answer.response:
                raise UserError(
                    f"the model wrote no reply (it wrote {' '.join(written.text[:80].split())!r}); train longer, raise "
                    "--config.decoding.max_new_tokens, or set --config.decoding.form=fixed"
                )
            signals = self._signals(written)
            style = jax.device_get(self._style(self._state, signals))
        listener = DEFAULT_LISTENER if listener is None else listener
        emotion = self._emotion(answer, style.logits)
        with _timed(timings, "speak"):
            spoken = self._speak(answer.response, signals, style.speech[0], listener)
        count = frames_for(len(spoken.samples) / SAMPLE_RATE)
        with _timed(timings, "move"):
            motion = self._move(spoken, signals, style.video[0], emotion["of_7"], count)
        portrait = self.faces.portrait(listener)
        return Reply(
            answer=answer,
            text=written.text,
            emotion=emotion,
            profile=listener,
            heard=written.heard,
            speech=np.clip(spoken.samples, -1.0, 1.0),  # an untrained voice may shout; encoders refuse that
            rate=SAMPLE_RATE,
            frames=self.animator.render(portrait, motion),
            frame_count=count,
            size=(self.animator.image_size,) * 2,
            timings=timings,
        )

    # ------------------------------------------------------------------------------------------------ its parts

    def _signals(self, written: Written) -> Signals:
        """r^t at the tokens that wrote the response, r^s and r^v at the signal tokens; or the whole answer for all three."""
        whole, size = self.model.config.signal_source == "all", self.model.config.reply_tokens
        states = written.states[-size:] if whole else written.response
        text = np.zeros((1, size, states.shape[-1]), np.float32)
        text[0, : len(states)] = states
        text, lengths = jnp.asarray(text), jnp.asarray([len(states)], jnp.int32)
        if whole:
            return Signals(text, lengths, text, text, lengths)
        forced = jnp.asarray(written.signals)[None]
        return Signals(text, lengths, forced[:, :SIGNALS], forced[:, SIGNALS:])

    def _emotion(self, answer: Answer, logits: Mapping[str, np.ndarray]) -> dict[str, str | None]:
        """The speaker's emotion: as written, its label of 32 and of 7, and what the style disentangler heard."""
        of_32 = answer.emotion32
        heard = labels.EMOTIONS_7[int(np.argmax(logits["emotion"][0]))] if logits else None
        of_7 = heard if of_32 is None else labels.emotion7(of_32, self.policy.label_map)
        return {"written": answer.speaker_emotion, "of_32": of_32, "of_7": of_7, "classified": heard}

    def _speak(self, response: str, signals: Signals, style: np.ndarray, listener: Profile):
        ids = self.speaker.token_ids(response)
        content = self._content_speech(self._state, signals, jnp.asarray([len(ids)]), bucket(len(ids)))
        voice = for_profile(*labels.profile_words(listener.profile_id))
        if self.blend.style < 1:
            if not self.speaker.voices.names:
                raise UserError("these weights have no voices to blend with; set --config.decoding.style_blend=1.0")
            tabled = self.speaker.voice_style(voice, len(ids))
            style = self.blend.style * np.asarray(style) + (1 - self.blend.style) * tabled
        return self.speaker.say(
            response,
            voice=voice,
            style=style,
            content=np.asarray(content[0, : len(ids)], np.float32),
            content_share=self.blend.content,
            seed=self.seed,
        )

    def _move(self, spoken, signals: Signals, style: np.ndarray, emotion: str | None, count: int):
        content = self._content_video(self._state, signals, jnp.asarray([count]), bucket(count))[0, :count]
        content = np.asarray(content, np.float32)
        if self.blend.content < 1:
            heard = self.animator.content(soxr.resample(spoken.samples, SAMPLE_RATE, SPEECH_RATE))
            heard = np.asarray(heard)[np.minimum(np.arange(count), len(heard) - 1)]  # one frame of rounding at most
            content = self.blend.content * content + (1 - self.blend.content) * heard
        if self.blend.style < 1:
            shown = np.asarray(self.animator.style_of(self.faces.style_clip(emotion)))
            style = self.blend.style * np.asarray(style) + (1 - self.blend.style) * shown
        return self.animator.motion(content, style, seed=self.seed, guidance=self.guidance)


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str):
    began = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - began, 3)
