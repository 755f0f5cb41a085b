"""Text in, speech out: a StyleTTS 2 model with its symbols and voices, usable alone.

    speaker = Speaker.load("weights/kokoro")
    speech = speaker.say("I'm so glad you told me.", voice="jf_alpha")
    write_wav("reply.wav", speech.samples)

A text is cut into pieces (one or several sentences, never more than a bucket holds), each piece is spoken and cleaned at
its edges, and pieces follow each other with pauses. The two places where Empatheia enters are arguments: `content`
replaces (or is blended with) the text encoder's frames, `style` replaces the voice's style vector.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2 import joins
from empatheia_jax.styletts2.config import StyleTTS2Config
from empatheia_jax.styletts2.durations import frame_index, whole_durations
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.model import KIND, StyleTTS2
from empatheia_jax.styletts2.phonemes import Phonemizer, phonemizer
from empatheia_jax.styletts2.reference import prepare_reference
from empatheia_jax.styletts2.sampler import carry_over, mix_with_reference
from empatheia_jax.styletts2.sentences import split_long, split_sentences
from empatheia_jax.styletts2.symbols import STYLETTS2, SymbolTable
from empatheia_jax.styletts2.synthesis import TOKENS, Synthesis
from empatheia_jax.styletts2.text import normalise
from empatheia_jax.styletts2.voices import STYLE, Voice, VoiceTable

PIECE = 128
"""Sentences are put together up to this many phonemes: short ones sound better in company."""
LONGEST_PIECE = 222
"""A longer sentence is cut, at a clause where it has one. Fits a bucket of 256 and the frames of slow speech."""
FIRST_PIECE = 24
"""The first piece is complete with the sentence that reaches this many phonemes, so that sound starts early."""

EARLY = 2 * joins.FRAME
"""A token is heard so many samples (50 ms) before its frames begin. Measured with Kokoro's weights: in each of twelve sentences
of our corpus, in four voices, loudness fits the kinds of the phonemes best with 45 to 65 ms. Kokoro's own package moves its
word times by 75 ms.
"""

SPEEDS = (0.4, 2.5)
PITCHES = (0.5, 2.0)


@dataclass(frozen=True)
class Speech:
    """What was said.

    Attributes:
        samples: float32, 24 kHz; 600 · sum(durations) of them.
        phonemes: IPA, pieces separated by a space.
        token_ids: symbol numbers of all pieces, each with its pads: T_ph of them.
        durations: frames (25 ms) of every token; silence between words belongs to the pads and marks around it.
        style: the style vector (of the first piece, where a voice table gave one for each).
    """

    samples: Float[np.ndarray, " samples"]
    phonemes: str
    token_ids: Int[np.ndarray, " T_ph"]
    durations: Int[np.ndarray, " T_ph"]
    style: Float[np.ndarray, " 256"]

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE

    @property
    def ends(self) -> Int[np.ndarray, " T_ph"]:
        """The sample at which each token ends for a listener (`EARLY`); the last one ends with the sound."""
        ends = joins.FRAME * np.cumsum(self.durations)
        return np.concatenate([np.maximum(ends[:-1] - EARLY, 0), ends[-1:]])


@dataclass(frozen=True)
class Sampling:
    """How the diffusion draws styles, for weights that have it.

    Attributes:
        steps: noise levels; a few suffice, more vary more.
        guidance: 1 follows the text as trained, more exaggerates its feeling.
        alpha, beta: shares of the drawn style in the acoustic and the prosodic half; the rest is the reference's.
        carry: share of the previous piece's style in this one's, so that a long text keeps one manner.
    """

    steps: int = 5
    guidance: float = 1.0
    alpha: float = 0.3
    beta: float = 0.7
    carry: float = 0.7

    def __post_init__(self):
        _within("steps of the diffusion", self.steps, (2, 1000))
        _within("guidance", self.guidance, (0.0, 20.0))
        for name in ("alpha", "beta", "carry"):
            _within(name, getattr(self, name), (0.0, 1.0))


@dataclass(frozen=True)
class Passage:
    """A piece of text as the model sees it."""

    phonemes: str
    token_ids: Int[np.ndarray, " T"]


class Speaker:
    """A speaking model.

    Args:
        model: a `StyleTTS2` module.
        symbols: its symbol table.
        voices: its voices, or None.
        phonemizer: name (`phonemes.phonemizer`) or object; opened at the first text.
        batch: pieces spoken at once after the first. 1 is best on a CPU.
    """

    def __init__(
        self,
        model: StyleTTS2,
        symbols: SymbolTable,
        voices: VoiceTable | None = None,
        phonemizer: str | Phonemizer = "auto",
        batch: int = 1,
    ):
        if batch < 1:
            raise ValueError(f"batch must be at least 1; found {batch}")
        self.model, self.symbols, self.voices, self.batch = model, symbols, voices or VoiceTable({}), batch
        self._phonemizer = phonemizer
        self._synthesis = Synthesis(model)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike,
        *,
        phonemizer: str | Phonemizer = "auto",
        batch: int = 1,
        dtype=jnp.float32,
    ) -> Speaker:
        """Reads a weights folder of kind `styletts2`, with its `vocab.json` and `voices.npz` where it has them.

        Raises:
            UserError: the folder is missing, damaged or of another kind.
        """
        model = weights.restore(folder, StyleTTS2, StyleTTS2Config, kind=KIND, dtype=dtype)
        vocab, voices = Path(folder) / "vocab.json", Path(folder) / "voices.npz"
        symbols = STYLETTS2
        if vocab.is_file():
            try:
                symbols = SymbolTable.from_vocab(
                    Path(folder).name, json.loads(vocab.read_text(encoding="utf-8"))["vocab"]
                )
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise UserError(f"{vocab} is not {{'vocab': …}} ({error!r}); convert the weights again") from None
        return cls(model, symbols, VoiceTable.read(voices) if voices.is_file() else None, phonemizer, batch)

    @property
    def compilations(self) -> int:
        """Programs compiled so far; a second sentence of a similar length adds none."""
        return self._synthesis.compilations

    def warm(self, *, bert: bool = False) -> None:
        """Compiles the programs that speak pieces of up to 16 seconds, by speaking silence; `bert`: for wide contents."""
        self._synthesis.warm(bert)

    # --- text ---------------------------------------------------------------------------------------------------

    def passages(self, text: str, *, ipa: bool = False) -> Iterator[Passage]:
        """Cuts a text of any length into the pieces that are spoken one by one. Lazy.

        Args:
            ipa: `text` is phonemes already.

        Raises:
            UserError: nothing that can be spoken; with `ipa`, symbols that the table lacks.
        """
        if ipa and (unknown := self.symbols.unknown(text)):
            raise UserError(
                f"phonemes hold {unknown!r}, which the {self.symbols.name} symbol table lacks; leave them out"
            )
        found = False
        for phonemes in self._packed(split_sentences(text) if ipa else self._sentences(text)):
            ids = self.symbols.encode(phonemes)
            found = True
            yield Passage(phonemes, np.array(ids, np.int32))
        if not found:
            shown = text.strip()[:30]
            raise UserError(f"the text {shown!r} has nothing to say; expected words")

    def _open_phonemizer(self) -> Phonemizer:
        if isinstance(self._phonemizer, str):
            self._phonemizer = phonemizer(self._phonemizer)
        return self._phonemizer

    @property
    def phonemizer_name(self) -> str:
        """Which phonemizer speaks for text, for example "gruut" or "espeak"."""
        return self._open_phonemizer().name

    def _sentences(self, text: str) -> Iterator[str]:
        for sentence in split_sentences(normalise(text)):
            yield self._open_phonemizer()(sentence)

    def _packed(self, sentences: Iterable[str]) -> Iterator[str]:
        waiting, enough = "", FIRST_PIECE
        for sentence in sentences:
            for piece in split_long(self.symbols.spell(sentence), LONGEST_PIECE):
                if not any(symbol.isalpha() for symbol in piece):
                    continue
                if waiting and (len(waiting) >= enough or len(waiting) + 1 + len(piece) > PIECE):
                    yield waiting
                    waiting, enough = "", PIECE
                waiting = f"{waiting} {piece}".strip()
        if waiting:
            yield waiting

    def phonemes(self, text: str) -> str:
        """The text's phonemes; pieces are separated by a space."""
        return " ".join(passage.phonemes for passage in self.passages(text))

    def token_ids(self, text: str) -> Int[np.ndarray, " T_ph"]:
        """Symbol numbers of the whole text, as `say` uses them: their count is the T_ph that `content` must have."""
        return np.concatenate([passage.token_ids for passage in self.passages(text)])

    # --- targets of the bridge ----------------------------------------------------------------------------------

    def content_frames(self, token_ids: Shaped[np.ndarray, ...], *, bert: bool = False) -> Float[np.ndarray, "T_ph C"]:
        """The text encoder's frames (512): what stage 2 learns to produce.

        Args:
            token_ids: (T_ph,), whole numbers. Those of several pieces, as in `Speech.token_ids`, are encoded piece by piece, as
                they are spoken.
            bert: the projected PL-BERT states (512) beside them, from which durations, pitch and energy are predicted.

        Raises:
            UserError: not a row of known symbol numbers.
        """
        ids = np.asarray(token_ids)
        if ids.ndim != 1 or not len(ids) or not np.issubdtype(ids.dtype, np.integer):
            raise UserError(f"token ids: expected a row of integers; found {ids.dtype} of shape {ids.shape}")
        if ids.min() < 0 or ids.max() >= self.symbols.size:
            raise UserError(f"token ids: {ids.min()}…{ids.max()} do not fit {self.symbols.size} symbols")
        pieces = self.symbols.pieces(ids)
        if longest := max((len(p) for p in pieces if len(p) > TOKENS[-1]), default=0):
            raise UserError(f"a piece of {longest} tokens is too long; at most {TOKENS[-1]} fit, cut the text")
        return np.concatenate([self._synthesis.frames(piece, bert) for piece in pieces])

    def voice_style(self, voice: str | Voice, phonemes: int) -> Float[np.ndarray, " 256"]:
        """A tabled voice's style for a sentence of `phonemes` symbols: stage 3's target where voices are tables."""
        return self.voices.style(voice, phonemes)

    def style_of(self, wave: Float[np.ndarray, " n *channels"], rate: int = SAMPLE_RATE) -> Float[np.ndarray, " 256"]:
        """The style of a recording: acoustic and prosodic encoder, 128 values each. Stage 3's target, or a voice to copy.

        Args:
            wave: mono (n,) or with channels (n, channels), full scale ±1. Silence around the words is cut off, and less
                than half a second from the end, so that recordings of similar length share a program.
            rate: its samples per second.

        Raises:
            UserError: weights without style encoders, or a recording that is silent, not finite or below 1 s of speech.
        """
        if "style_encoder" not in getattr(self.model.config, "networks", ()):
            raise UserError(
                "these weights have no style encoders, so no voice can be taken from a recording; name a voice"
            )
        return self._synthesis.reference_style(prepare_reference(wave, rate))

    # --- speaking -----------------------------------------------------------------------------------------------

    def say(self, text: str, **options) -> Speech:
        """Speaks a text as one sound; arguments and errors as `stream`.

        The sound is kept in memory (5.8 MB a minute): write texts of book length with `stream`.
        """
        pieces = list(self.stream(text, **options))
        return Speech(
            np.concatenate([piece.samples for piece in pieces]),
            " ".join(piece.phonemes for piece in pieces),
            np.concatenate([piece.token_ids for piece in pieces]),
            np.concatenate([piece.durations for piece in pieces]),
            pieces[0].style,
        )

    def stream(
        self,
        text: str,
        *,
        voice: str | Voice | None = None,
        style: Shaped[np.ndarray, ...] | None = None,
        content: Float[np.ndarray, "T_ph C"] | None = None,
        content_share: float = 1.0,
        sampling: Sampling | None = None,
        speed: float = 1.0,
        pitch: float = 1.0,
        seed: int = 0,
        ipa: bool = False,
    ) -> Iterator[Speech]:
        """Speaks a text piece by piece; the samples of all pieces, one after the other, are `say`'s.

        Args:
            text: English, or phonemes with `ipa`.
            voice: a name, a mixture 'a:0.7+b:0.3', or a `Voice`; default: the first of the table.
            style: a style vector (256,) instead: 128 acoustic, then 128 prosodic values. A `voice` beside it gives only
                speed and pitch.
            content: frames in place of the text encoder's, for all T_ph tokens of the text (`token_ids`); twice as wide,
                their second half takes the place of the projected PL-BERT states (`content_frames(…, bert=True)`).
            content_share: 1 replaces the text encoder's frames, 0 ignores `content`, between them blends.
            sampling: draw each piece's style by diffusion around `style` (weights with a diffusion; without style and
                voice table this is the default).
            speed: 1.2 = faster by a fifth; multiplies the voice's own.
            pitch: factor on the fundamental frequency; multiplies the voice's own.
            seed: of the source noise; the same seed gives the same sound.

        Raises:
            UserError: nothing to say, an unknown voice, or an argument of the wrong size, not finite or out of range.
                Before anything is spoken, save for a text that turns out empty of known symbols.
        """
        manner = Voice.parse(voice) if isinstance(voice, str) else voice
        if style is not None:
            style = _finite(style, (STYLE,), "style vector")
        elif manner is None and self.voices.names:
            manner = Voice(((self.voices.names[0], 1.0),))
        if style is None and manner is None and sampling is None:
            sampling = Sampling()
        if sampling is not None:
            self._check_diffusion(style)
        elif style is None and manner is not None:
            self.voices.style(manner, 1)  # an unknown voice is refused before anything is spoken
        if manner is not None:
            speed, pitch = speed * manner.speed, pitch * manner.pitch
        _within("speed", speed, SPEEDS)
        _within("pitch", pitch, PITCHES)
        _within("content_share", content_share, (0.0, 1.0))
        passages: Iterator[Passage] | list[Passage] = self.passages(text, ipa=ipa)
        if content is not None:
            passages = list(passages)
            total = sum(len(passage.token_ids) for passage in passages)
            width = self.model.config.hidden_dim
            both = np.shape(content)[1:] == (2 * width,)
            content = _finite(content, (total, 2 * width if both else width), "content frames")
        else:
            passages = iter(passages)
            first = next(passages)  # raises here, not at the first `next` of the caller, where nothing can be said
            passages = itertools.chain([first], passages)
        styles = self._style_chooser(manner, style, sampling, seed)
        return self._spoken(passages, styles, content, content_share, speed, pitch, seed)

    def _check_diffusion(self, style) -> None:
        if "diffusion" not in getattr(self.model.config, "networks", ()):
            raise UserError("these weights have neither a voice table nor a diffusion; give a style vector (style=…)")
        if style is None and self.model.config.multispeaker:
            raise UserError("these weights speak with any voice: give one as a recording (style_of) or a style vector")

    def _style_chooser(self, manner, style, sampling, seed):
        """A function (passages, number of the first) → their styles (B, 256)."""
        previous = None

        def choose(group: list[Passage], first: int) -> np.ndarray:
            nonlocal previous
            if sampling is None and style is not None:
                return np.stack([style] * len(group))
            if sampling is None:
                return np.stack([self.voices.style(manner, len(p.phonemes)) for p in group])
            rows, index = [p.token_ids for p in group], range(first, first + len(group))
            drawn = self._synthesis.sample_styles(rows, style, sampling.steps, sampling.guidance, seed, index)
            styles = []
            for row in drawn:
                previous = carry_over(row, previous, sampling.carry)
                mixed = (
                    previous if style is None else mix_with_reference(previous, style, sampling.alpha, sampling.beta)
                )
                styles.append(np.asarray(mixed))
            return np.stack(styles)

        return choose

    def _spoken(self, passages, choose_styles, content, share, speed, pitch, seed) -> Iterator[Speech]:
        done = used = 0
        for group, more in _groups(passages, self.batch):
            count = len(group)
            styles = choose_styles(group, done)
            # Rows that fill the batch up, so that there are two batch sizes and no more.
            rows = list(range(count)) + [0] * ((self.batch - count) if 1 < count < self.batch else 0)
            width, given = self.model.config.hidden_dim, None
            if content is not None:
                ends = used + np.cumsum([len(p.token_ids) for p in group])
                given = [content[ends[i] - len(group[i].token_ids) : ends[i]] for i in rows]  # fillers repeat row 0
            of_bert = [row[:, width:] for row in given] if given and given[0].shape[1] > width else None
            states = self._synthesis.prosody([group[i].token_ids for i in rows], styles[rows], of_bert, share)
            asr, en, durations = [], [], []
            for place, (text_frames, d, expected) in enumerate(states):
                if given is not None:
                    text_frames = share * given[place][:, :width] + (1 - share) * text_frames
                durations.append(whole_durations(expected, speed, last_extra=self.model.config.last_extra))
                index = frame_index(durations[-1], late=self.model.config.late)
                asr.append(text_frames[index])
                en.append(d[index])
            waves = self._synthesis.wave(asr, en, styles[rows], pitch, seed, [done + i for i in rows])
            for i, passage in enumerate(group):
                pause = joins.pause_after(passage.phonemes) if more or i + 1 < count else 0
                finished = joins.finish(waves[i], durations[i], pause)
                yield Speech(finished.samples, passage.phonemes, passage.token_ids, finished.durations, styles[i])
            done += count
            used += sum(len(p.token_ids) for p in group)


def _groups(passages: Iterable[Passage], size: int) -> Iterator[tuple[list[Passage], bool]]:
    """The first passage alone, so that sound starts early, then `size` at a time; and whether more follow."""
    passages = iter(passages)
    group = list(itertools.islice(passages, 1))
    while group:
        following = list(itertools.islice(passages, size))
        yield group, bool(following)
        group = following


def _finite(value, shape: tuple[int, ...], what: str) -> np.ndarray:
    array = np.asarray(value, np.float32)
    if array.shape != shape:
        raise UserError(f"{what}: expected shape {shape}; found {array.shape}")
    if not np.isfinite(array).all():
        raise UserError(f"{what}: {int((~np.isfinite(array)).sum())} of {array.size} values are NaN or infinite")
    return array


def _within(what: str, value: float, allowed: tuple[float, float]) -> None:
    if not allowed[0] <= value <= allowed[1]:
        raise UserError(f"{what} is {value:g}; expected {allowed[0]:g} to {allowed[1]:g}")
