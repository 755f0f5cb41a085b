"""The compiled half of speaking: padded arrays in, padded arrays out, one program per bucket of lengths.

`prosody`: tokens → text frames, prosody states, durations. `wave`: those, repeated by duration, → 24 kHz samples. `frames`:
tokens → text frames alone (`frames_with_bert`: and the PL-BERT states). `sampled_style`, `reference_style`: where
a style comes from the diffusion or from a recording. The repeating happens between them, on the host, so that the two lengths
(tokens and frames) never meet in one program and the number of programs is a sum, not a product.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Integer

from empatheia_jax.nn.programs import Program
from empatheia_jax.styletts2.durations import MAX_FRAMES
from empatheia_jax.styletts2.joins import FRAME
from empatheia_jax.styletts2.mel import log_mel
from empatheia_jax.styletts2.model import StyleTTS2
from empatheia_jax.styletts2.sampler import adpm2
from empatheia_jax.styletts2.sentences import bucket
from empatheia_jax.styletts2.source import HARMONICS

TOKENS = (64, 128, 512)
FRAMES = (144, 208, 320, 640, 960, 1280, MAX_FRAMES)
"""Padded lengths. Which one serves a text depends on its length alone: sums over another padding are taken in another order, so
that what was said before would otherwise change the last bits.
"""
WARM_FRAMES = FRAMES[:4]
"""Sizes that are compiled beforehand: up to 16 s of speech."""


def source_noise(seed: Integer[Array, ""], index: Int[Array, " B"], frames: int) -> Float[Array, "B samples 9"]:
    """Standard normal noise for the harmonic source, drawn frame by frame: padding does not change what a frame gets."""

    def row(number):
        key = jax.random.fold_in(jax.random.key(seed), number)
        keys = jax.vmap(lambda frame: jax.random.fold_in(key, frame))(jnp.arange(frames))
        return jax.vmap(lambda k: jax.random.normal(k, (FRAME, HARMONICS)))(keys).reshape(frames * FRAME, HARMONICS)

    return jax.vmap(row)(index)


class Synthesis:
    """A StyleTTS 2 model's networks, compiled per bucket."""

    def __init__(self, model: StyleTTS2):
        graph, self._state = nnx.split(model)
        self.config = model.config

        self._programs = {
            "prosody": Program(_prosody, graph),
            "prosody_of": Program(_prosody_of, graph),
            "wave": Program(_wave, graph),
            "frames": Program(_text_frames, graph),
            "frames_with_bert": Program(_frames_with_bert, graph),
            "sampled_style": Program(_sampled_style, graph),
            "reference_style": Program(_reference_style, graph),
        }

    @property
    def compilations(self) -> int:
        """Programs compiled so far."""
        return sum(program.compilations for program in self._programs.values())

    def warm(self, bert: bool = False) -> None:
        """Runs the programs of one piece, of the sizes that serve all lengths up to 640 frames (16 s).

        bert: whether PL-BERT's states will be given.
        """
        styles = np.zeros((1, 2 * self.config.style_dim), np.float32)
        for size in TOKENS:
            given = [np.zeros((size, self.config.hidden_dim), np.float32)] if bert else None
            found = self.prosody([np.zeros(size, np.int32)], styles, given)
        text, states, _ = found[0]
        for size in WARM_FRAMES:
            self.wave(
                [np.resize(text, (size, text.shape[1]))],
                [np.resize(states, (size, states.shape[1]))],
                styles,
                1.0,
                0,
                [0],
            )

    def _padded_tokens(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.array([len(row) for row in rows], np.int32)
        tokens = np.zeros((len(rows), bucket(int(lengths.max()), TOKENS)), np.int32)
        for row, ids in zip(tokens, rows):
            row[: len(ids)] = ids
        return tokens, lengths

    def frames(self, token_ids: Int[np.ndarray, " T"], bert: bool = False) -> Float[np.ndarray, "T C"]:
        """The text encoder's frames of one piece; with `bert` its projected PL-BERT states beside them."""
        tokens, lengths = self._padded_tokens([token_ids])
        program = self._programs["frames_with_bert" if bert else "frames"]
        return np.asarray(program(self._state, tokens, lengths))[0, : lengths[0]]

    def prosody(
        self,
        rows: Sequence[Int[np.ndarray, " _"]],
        styles: Float[np.ndarray, "B 256"],
        bert_frames: Sequence[Float[np.ndarray, "_ C"]] | None = None,
        share: float = 1.0,
    ) -> list[tuple[Float[np.ndarray, "_ C"], Float[np.ndarray, "_ D"], Float[np.ndarray, " _"]]]:
        """Per piece: text frames, prosody states, expected durations in frames before rounding.

        bert_frames: in place of the projected PL-BERT states of each piece, by this `share`.
        """
        tokens, lengths = self._padded_tokens(rows)
        prosodic = np.asarray(styles, np.float32)[:, styles.shape[1] // 2 :]
        inputs = (self._state, tokens, lengths, prosodic)
        if bert_frames is None:
            found = self._programs["prosody"](*inputs)
        else:
            given = np.stack([np.pad(row, ((0, tokens.shape[1] - len(row)), (0, 0))) for row in bert_frames])
            found = self._programs["prosody_of"](*inputs, given.astype(np.float32), np.float32(share))
        out = jax.device_get(found)
        return [tuple(array[i, :length] for array in out) for i, length in enumerate(lengths)]

    def sample_styles(
        self,
        rows: Sequence[Int[np.ndarray, " _"]],
        reference: Float[np.ndarray, " 256"] | None,
        steps: int,
        guidance: float,
        seed: int,
        index: Sequence[int],
    ) -> Float[np.ndarray, "B 256"]:
        """Styles that the diffusion draws for pieces of text (`reference`: the speaker's style, multi-speaker only)."""
        tokens, lengths = self._padded_tokens(rows)
        size = 2 * self.config.style_dim
        shown = np.zeros(size, np.float32) if reference is None else np.asarray(reference, np.float32)
        return np.asarray(
            self._programs["sampled_style"](
                self._state,
                tokens,
                lengths,
                np.broadcast_to(shown, (len(rows), size)),
                np.float32(guidance),
                np.uint32(seed),
                np.asarray(index, np.int32),
                np.zeros(steps - 1, np.float32),
            )
        )

    def reference_style(self, wave: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 256"]:
        """Both style encoders' outputs for a recording at 24 kHz. One program per length."""
        return np.asarray(self._programs["reference_style"](self._state, np.asarray(wave, np.float32)))

    def wave(
        self,
        asr: Sequence[Float[np.ndarray, "_ C"]],
        en: Sequence[Float[np.ndarray, "_ D"]],
        styles: Float[np.ndarray, "B 256"],
        pitch: float,
        seed: int,
        index: Sequence[int],
    ) -> list[Float[np.ndarray, " _"]]:
        """Frames (text, prosody), repeated by duration → samples. `index` numbers the pieces, for the noise."""
        lengths = np.array([len(row) for row in asr], np.int32)
        size = bucket(int(lengths.max()), FRAMES)

        def padded(rows):
            return np.stack([np.pad(row, ((0, size - len(row)), (0, 0))) for row in rows]).astype(np.float32)

        samples = self._programs["wave"](
            self._state,
            padded(asr),
            padded(en),
            lengths,
            np.asarray(styles, np.float32),
            np.full(len(asr), pitch, np.float32),
            np.uint32(seed),
            np.asarray(index, np.int32),
        )
        return [row[: FRAME * length] for row, length in zip(np.asarray(samples), lengths)]


# ---------------------------------------------------------------- on the device


def _prosody(graph, state, tokens, lengths, style):
    encoded = nnx.merge(graph, state).encode(tokens, lengths, style)
    return encoded.text, encoded.states, encoded.durations


def _prosody_of(graph, state, tokens, lengths, style, bert_frames, share):
    encoded = nnx.merge(graph, state).encode(tokens, lengths, style, bert_frames, share)
    return encoded.text, encoded.states, encoded.durations


def _wave(graph, state, asr, en, frames, style, pitch, seed, index):
    noise = source_noise(seed, index, asr.shape[1])
    return nnx.merge(graph, state).vocode(asr, en, style, noise, frames, pitch).wave


def _sampled_style(graph, state, tokens, lengths, reference, guidance, seed, index, fresh):
    net = nnx.merge(graph, state)
    text = net.bert(tokens, lengths=lengths)
    size = 2 * net.config.style_dim
    steps = fresh.shape[0]  # only its length counts: the number of updates is part of the program
    keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed + 1), number))(index)
    noise = jax.vmap(lambda key: jax.random.normal(key, (steps + 1, size)))(keys)
    features = reference if net.config.multispeaker else None

    def denoise(x, sigma):
        return net.diffusion.denoise(x, sigma, text, features, lengths, guidance)

    return adpm2(denoise, noise[:, 0], jnp.swapaxes(noise[:, 1:], 0, 1))


def _reference_style(graph, state, wave):
    net = nnx.merge(graph, state)
    mel = log_mel(wave[None])
    return jnp.concatenate([net.style_encoder(mel), net.predictor_encoder(mel)], -1)[0]


def _text_frames(graph, state, tokens, lengths):
    return nnx.merge(graph, state).text_encoder(tokens, lengths)


def _frames_with_bert(graph, state, tokens, lengths):
    net = nnx.merge(graph, state)
    return jnp.concatenate([net.text_encoder(tokens, lengths), net.bert_frames(tokens, lengths)], -1)
