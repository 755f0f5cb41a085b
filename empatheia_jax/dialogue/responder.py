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
from jaxtyping import Array, Float

from empatheia_jax.bridge.style_disentangler import Style
from empatheia_jax.conversation import expression, labels
from empatheia_jax.conversation.answer import Answer, parse_reply
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.dialogue.voices import Voices
from empatheia_jax.dialogue.writer import Question, Writer, Written
from empatheia_jax.empatheia import Signals
from empatheia_jax.errors import UserError
from empatheia_jax.media.video import frames_for
from empatheia_jax.nn.programs import Program
from empatheia_jax.settings.choices import Expression, VideoTarget
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.voices import MANNERS, Voice
from empatheia_jax.tokens import SIGNALS

DEFAULT_LISTENER = Profile("young", "female", "mid", None)
"""Lends voice and portrait where a dialogue does not say who answers."""
SPEECH_RATE = 16_000
"""What the talking head's encoder hears."""
WARM = (128, 256, 512)
"""Sizes of C^s and C^v that are compiled beforehand."""


@dataclasses.dataclass(frozen=True)
class Blend:
    """How much of the bridge's output reaches the generators, path by path: 1 = all of it (the paper), 0 = none (a pipeline).

    Between them, content frames mix with the generator's own encoding of the reply, styles with those of the profile's voice
    and the listener's expression. A bridge that trained for minutes carries style before it carries words.
    """

    speech_content: float
    speech_style: float
    video_content: float
    video_style: float

    @staticmethod
    def of(content: float, style: float) -> Blend:
        """The same shares for speech and for video."""
        return Blend(content, style, content, style)


@dataclasses.dataclass
class Reply:
    """What came out.

    `heard`: the kinds of recordings that it answers to. `emotion`: the speaker's, as understood. `shown`: the listener's, one of
    the 7 or neutral, and its intensity, on face and voice. `speech` (samples,) float32 at `rate`. `frames` yields uint8
    (N, H, W, 3) at 25 fps, once; `size` (H, W). `features`: fused E and P (D,), and the means of r^s and r^v (H,) before them.
    `instead`: why the text of a file was said in place of the model's (`care.rules.Kind`); "" = the model's was said.
    """

    answer: Answer
    text: str
    emotion: Mapping[str, str | None]
    shown: tuple[str, float]
    profile: Profile
    heard: tuple[str, ...]
    speech: np.ndarray
    rate: int
    frames: Iterator[np.ndarray]
    frame_count: int
    size: tuple[int, int]
    timings: dict[str, float]
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    instead: str = ""


class Responder:
    """Answers dialogues with a trained model and the generators.

    Args:
      writer: the text half, with the trained model (`dialogue.writer`).
      speaker, animator: the generators (`styletts2.Speaker`, `dreamtalk.Animator`).
      faces: portraits by profile and style clips by emotion (`dialogue.faces`).
      voices: the generator's own voices by profile (`dialogue.voices`); by default those of the speaker's table.
      blend: see `Blend`.
      reading: what the listener shows for the speaker's emotion (`conversation.expression`).
      video_target: what C^v was trained to be; speech features go through the talking head's content encoder.
      style_clip: an expression that is shown always, whatever the emotion ("neutral", or a clip's name); "" = none.
      classifies: whether the style disentangler's classifiers were trained (L_sac). What untrained ones say is noise, and is
        neither reported nor followed.
    """

    def __init__(
        self,
        writer: Writer,
        speaker: Any,
        animator: Any,
        faces: Any,
        *,
        blend: Blend,
        voices: Voices | None = None,
        reading: Expression = "empathic",
        style_clip: str = "",
        classifies: bool = True,
        video_target: VideoTarget = "content",
        guidance: float = 1.0,
        seed: int = 0,
    ):
        self.writer, self.model, self.policy = writer, writer.model, writer.policy
        self.speaker, self.animator, self.faces = speaker, animator, faces
        self.voices, self.reading, self.style_clip = voices or Voices(speaker), reading, style_clip
        self.blend, self.guidance, self.seed, self.video_target = blend, guidance, seed, video_target
        self.classifies = classifies
        graph, self._state = nnx.split(writer.model)
        self._style = Program(_style, graph)
        self._mixed_style = Program(_mixed_style, graph)
        self._content_speech = Program(_content_speech, graph, static=("size",))
        self._content_video = Program(_content_video, graph, static=("size",))

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
          listener: the profile of who answers. It decides voice and portrait, and the prompt says it; None = unknown, and
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
            signals = self.signals(written)
            style = self.style(signals)
        listener = DEFAULT_LISTENER if listener is None else listener
        emotion = self.emotion(answer, style.logits)
        shown = self.shown(emotion)
        with _timed(timings, "speak"):
            spoken = self._speak(answer.response, signals, style.speech[0], listener, shown)
        count = frames_for(len(spoken.samples) / SAMPLE_RATE)
        with _timed(timings, "move"):
            motion = self._move(spoken, signals, style.video[0], shown, count)
        portrait = self.faces.portrait(listener)
        return Reply(
            answer=answer,
            text=written.text,
            emotion=emotion,
            shown=shown,
            profile=listener,
            heard=written.heard,
            speech=np.clip(spoken.samples, -1.0, 1.0),  # an untrained voice may shout; encoders refuse that
            rate=SAMPLE_RATE,
            frames=self.animator.render(portrait, motion),
            frame_count=count,
            size=(self.animator.image_size,) * 2,
            timings=timings,
            features=_features(signals, style),
        )

    def warm(self) -> None:
        """Compiles what speech and face of a reply need, up to 512 symbols and frames (about 20 s)."""
        hidden, size = self.model.core.config.hidden_size, self.model.config.reply_tokens
        signals = self.signals(
            Written(
                parse_reply(""),
                "",
                (),
                (),
                np.zeros((1, hidden), np.float32),
                np.zeros((2 * SIGNALS, hidden), np.float32),
                np.zeros((size, hidden), np.float32),
            )
        )
        for count in WARM:
            if self.blend.speech_content:
                self.speech_content(signals, count)
            if self.blend.video_content:
                self.video_content(signals, count)
        channels = self.model.config.synchronizer.speech_channels
        self.speaker.warm(bert=channels > self.speaker.model.config.hidden_dim)

    # ------------------------------------------------------------------------------------------------ its steps

    def signals(self, written: Written) -> Signals:
        """r^t at the tokens that wrote the response, r^s and r^v at the signal tokens; or the whole answer for all three."""
        whole, size = self.model.config.signal_source == "all", self.model.config.reply_tokens
        states = written.states[-size:] if whole else written.response
        padded = np.zeros((1, size, states.shape[-1]), np.float32)
        padded[0, : len(states)] = states
        text, lengths = jnp.asarray(padded), jnp.asarray([len(states)], jnp.int32)
        if whole:
            return Signals(text, lengths, text, text, lengths)
        forced = jnp.asarray(written.signals)[None]
        return Signals(text, lengths, forced[:, :SIGNALS], forced[:, SIGNALS:])

    def style(self, signals: Signals) -> Style:
        """S^s, S^v, E, P and the classifiers' logits, on the host."""
        return jax.device_get(self._style(self._state, signals))

    @property
    def mixes(self) -> bool:
        """Whether the model has E and P to mix (it has none without the style disentangler)."""
        return self.model.config.disentangler.kind == "vae"

    def mixed_style(self, signals: Signals, other: Signals, emotion: float, profile: float) -> Style:
        """`style` with shares of another answer's E (`emotion`) and P (`profile`), on the host."""
        return jax.device_get(self._mixed_style(self._state, signals, other, np.float32(emotion), np.float32(profile)))

    def emotion(self, answer: Answer, logits: Mapping[str, Array | np.ndarray]) -> dict[str, str | None]:
        """The speaker's emotion: as written, its label of 32 and of 7, and what the classifier of the style disentangler says.

        The last is None where there is no such classifier, or where nothing trained it.
        """
        of_32 = answer.emotion32
        known = bool(logits) and self.classifies
        heard = labels.EMOTIONS_7[int(np.argmax(logits["emotion"][0]))] if known else None
        of_7 = heard if of_32 is None else labels.emotion7(of_32, self.policy.label_map)
        return {"written": answer.speaker_emotion, "of_32": of_32, "of_7": of_7, "classified": heard}

    def shown(self, emotion: Mapping[str, str | None]) -> tuple[str, float]:
        """What face and voice show, and how strongly."""
        if self.style_clip:
            return self.style_clip, 1.0
        return expression.shown(emotion["of_32"], emotion["of_7"], self.reading, self.policy.label_map)

    def speech_content(self, signals: Signals, count: int) -> Float[np.ndarray, "count C"]:
        """C^s for so many symbols of the response."""
        content = self._content_speech(self._state, signals, jnp.asarray([count]), size=_size(count))
        return np.asarray(content, np.float32)[0, :count]

    def video_content(self, signals: Signals, count: int) -> Float[np.ndarray, "count W D"]:
        """C^v for so many frames of the response's film."""
        content = self._content_video(self._state, signals, jnp.asarray([count]), size=_size(count))
        content = np.asarray(content, np.float32)[0, :count]
        return self.animator.content_of(content) if self.video_target == "speech" else content

    def voice(
        self,
        predicted: Array | np.ndarray,
        listener: Profile,
        shown: tuple[str, float],
        symbols: int,
        share: float | None = None,
    ) -> tuple[np.ndarray | None, Voice]:
        """With which style and manner a reply of so many symbols is spoken. `share`: of S^s (`predicted`), by default the
        blend's. A style of None is drawn by the weights themselves for each piece of the text.

        Speed and pitch with which a tabled voice plays a profile and a feeling belong to its share of the style alone: a
        predicted S^s has them already, and a recording has its own.
        """
        share = self.blend.speech_style if share is None else share
        voice = self.voices.manner(listener)
        style: np.ndarray | None = np.asarray(predicted)
        if share < 1:
            if voice.mix:
                feeling = shown[0] if shown[0] in MANNERS else NEUTRAL
                voice = voice.feeling(feeling, shown[1])
            own = self.voices.style(listener, symbols)
            if own is not None:
                style = share * np.asarray(predicted) + (1 - share) * own
            elif share == 0:
                style = None
        return style, voice.share(1 - share)

    def face_style(
        self, predicted: Array | np.ndarray, shown: tuple[str, float], share: float | None = None
    ) -> np.ndarray:
        """The style code of the face. `share`: of S^v (`predicted`), by default the blend's; the rest is what is shown."""
        share = self.blend.video_style if share is None else share
        if share == 1:
            return np.asarray(predicted)
        own = np.asarray(self.animator.style_of(self.faces.style_clip(*shown)))
        return share * np.asarray(predicted) + (1 - share) * own

    def _speak(self, response: str, signals: Signals, predicted: Array | np.ndarray, listener: Profile, shown):
        ids = self.speaker.token_ids(response)
        style, voice = self.voice(predicted, listener, shown, len(ids))
        return self.speaker.say(
            response,
            voice=None if style is None else voice,
            style=style,
            speed=voice.speed if style is None else 1.0,
            pitch=voice.pitch if style is None else 1.0,
            content=self.speech_content(signals, len(ids)),
            content_share=self.blend.speech_content,
            seed=self.seed,
        )

    def _move(self, spoken, signals: Signals, style: Array | np.ndarray, shown: tuple[str, float], count: int):
        content = self.video_content(signals, count)
        share = self.blend.video_content
        if share < 1:
            heard = self.animator.content(soxr.resample(spoken.samples, SAMPLE_RATE, SPEECH_RATE))
            heard = np.asarray(heard)[np.minimum(np.arange(count), len(heard) - 1)]  # one frame of rounding at most
            content = share * content + (1 - share) * heard
        return self.animator.motion(content, self.face_style(style, shown), seed=self.seed, guidance=self.guidance)


def _style(graph, state, signals):
    return nnx.merge(graph, state).style(signals)


def _mixed_style(graph, state, *inputs):
    return nnx.merge(graph, state).mixed_style(*inputs)


def _content_speech(graph, state, signals, count, *, size: int):
    return nnx.merge(graph, state).synchronizer.speech(signals.text, signals.text_lengths, count, size)[0]


def _content_video(graph, state, signals, count, *, size: int):
    return nnx.merge(graph, state).synchronizer.video(signals.text, signals.text_lengths, count, size)[0]


def _features(signals: Signals, style: Style) -> dict[str, np.ndarray]:
    """What Figure 7 compares: E and P of the style disentangler, and the states that go into it."""
    count = signals.speech.shape[1] if signals.lengths is None else int(signals.lengths[0])
    found = {"r_speech": signals.speech[0, :count].mean(0), "r_video": signals.video[0, :count].mean(0)}
    if style.emotion is not None and style.profile is not None:
        found |= {"emotion": style.emotion[0], "profile": style.profile[0]}
    return {name: np.asarray(each, np.float32) for name, each in found.items()}


def _size(count: int) -> int:
    """The padded length of C^s and C^v: few sizes, so that few programs serve all replies."""
    return max(WARM[0], 1 << (count - 1).bit_length())


@contextlib.contextmanager
def _timed(timings: dict[str, float], name: str):
    began = time.perf_counter()
    yield
    timings[name] = round(time.perf_counter() - began, 3)
