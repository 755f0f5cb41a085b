"""Rows of the encoders and generators, and of a whole reply."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.accelerator.language import core
from benchmarks.accelerator.sizes import Sizes, denoiser, drawn, empatheia_config
from benchmarks.accelerator.timing import Measurement, median_seconds
from empatheia_jax.bridge.content_synchronizer import ContentSynchronizer
from empatheia_jax.bridge.style_disentangler import StyleDisentangler
from empatheia_jax.core import decoding
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.dreamtalk.compiled import Compiled
from empatheia_jax.dreamtalk.renderer import Renderer, to_uint8
from empatheia_jax.encoders.clip_vision import ClipVision
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
from empatheia_jax.parallel.preflight import count_flops
from empatheia_jax.styletts2.durations import frame_index
from empatheia_jax.styletts2.model import FRAME, StyleTTS2

RATE, FRAMES_PER_SECOND = 24_000, 25
GUIDANCE, DDIM = 2.0, 10


def _measured(function, module: nnx.Module, inputs: tuple, units: float, unit: str, repeats: int) -> Measurement:
    """A compiled function of a module: its time, and the arithmetic of its products and convolutions."""
    graph, state = nnx.split(module)
    program = jax.jit(lambda state, *inputs: function(nnx.merge(graph, state), *inputs))
    flops = count_flops(program.trace(state, *inputs).jaxpr)
    seconds = median_seconds(lambda: jax.block_until_ready(program(state, *inputs)), repeats)
    read = sum(x.nbytes for x in jax.tree.leaves(state))
    return Measurement(seconds, units, unit, flops=flops, bytes=read)


def hubert(sizes: Sizes) -> Measurement:
    """Speech of several clips at once, as `extract` reads it."""
    kinds: dict[str, Any] = {"dtype": sizes.dtype, "param_dtype": sizes.dtype}
    model = drawn(lambda: Wav2Vec2(sizes.hubert, rngs=nnx.Rngs(0), **kinds))
    waves = jax.random.normal(jax.random.key(0), (sizes.clips, sizes.clip_samples), sizes.dtype)
    return _measured(
        lambda m, x: m(x, implementation="auto").last, model, (waves,), sizes.clips, "clips/s", sizes.repeats
    )


def clip(sizes: Sizes) -> Measurement:
    """The frames of one clip, features of the second-to-last layer."""
    kinds: dict[str, Any] = {"dtype": sizes.dtype, "param_dtype": sizes.dtype}
    model = drawn(lambda: ClipVision(sizes.clip, rngs=nnx.Rngs(0), **kinds))
    pixels = jax.random.normal(jax.random.key(0), (sizes.frames, sizes.clip.image, sizes.clip.image, 3), sizes.dtype)
    return _measured(
        lambda m, x: m.patch_features(x, implementation="auto"), model, (pixels,), 1, "clips/s", sizes.repeats
    )


class Voice:
    """Phonemes in, samples out."""

    def __init__(self, sizes: Sizes):
        self.config = sizes.tts
        model = drawn(lambda: StyleTTS2(sizes.tts, rngs=nnx.Rngs(0)))
        graph, self.state = nnx.split(model)
        size = sizes.tts.style_dim

        @jax.jit
        def encode(state, tokens, lengths, style):
            return nnx.merge(graph, state).encode(tokens, lengths, style[:, size:])

        @jax.jit
        def vocode(state, text, states, index, style, key):
            noise = jax.random.normal(key, (1, FRAME * len(index), 9))
            return nnx.merge(graph, state).vocode(text[:, index], states[:, index], style, noise).wave

        self._encode, self._vocode, self.key = encode, vocode, jax.random.key(0)

    def __call__(self, phonemes: int, style, text=None) -> np.ndarray:
        """The samples of that many phonemes; `text` (1, P, 512): C^s in the place of the text encoder's frames."""
        tokens = np.random.default_rng(1).integers(1, self.config.n_token, (1, phonemes)).astype(np.int32)
        tokens[:, 0] = 0
        encoded = self._encode(self.state, tokens, np.array([phonemes], np.int32), style)
        np.asarray(encoded.durations)  # a real voice waits for them; drawn weights do not know how long a sound is
        durations = np.full(phonemes, 3)
        index = frame_index(durations, late=self.config.late)
        text = encoded.text if text is None else text
        return np.asarray(self._vocode(self.state, text, encoded.states, index, style, self.key))[0]


def speech(sizes: Sizes) -> Measurement:
    """Phonemes to samples on the host; the unit is seconds of speech. Noted: a first piece of 25 phonemes."""
    voice = Voice(sizes)
    style = jax.random.normal(jax.random.key(2), (1, 2 * sizes.tts.style_dim))
    count = len(voice(sizes.phonemes, style))
    seconds = median_seconds(lambda: voice(sizes.phonemes, style), sizes.repeats)
    first = max(4, sizes.phonemes // 4)
    begin = median_seconds(lambda: voice(first, style), sizes.repeats)
    return Measurement(
        seconds, count / RATE, "× real time", bytes=0.0, note=f"first {first} phonemes after {begin:.3f} s"
    )


def motion(sizes: Sizes) -> Measurement:
    """Expression of all frames by guided DDIM."""
    c = sizes.denoiser
    model = denoiser(c)
    shapes = ((1, sizes.video_frames, c.window_slots, c.d_model), (1, c.d_model), (1, sizes.video_frames, c.face3d_dim))
    inputs = tuple(jax.random.normal(jax.random.key(k), shape) for k, shape in enumerate(shapes))

    def sample(m, content, style, noise):
        return m.sample_ddim(content, style, noise, steps=DDIM, guidance=GUIDANCE)[0]

    return _measured(sample, model, inputs, sizes.video_frames, "frames/s", sizes.repeats)


def render(sizes: Sizes) -> Measurement:
    """Pictures from one portrait and windows of motion, as bytes."""
    c = sizes.renderer
    model = drawn(lambda: Renderer(c, rngs=nnx.Rngs(0), dtype=sizes.dtype))
    portrait = jax.random.uniform(jax.random.key(0), (1, c.image_size, c.image_size, 3), minval=-1.0)
    windows = jax.random.normal(jax.random.key(1), (sizes.render_batch, 2 * c.window_radius + 1, c.coefficient_dim))
    return _measured(
        lambda m, p, w: to_uint8(m(p, w).image),
        model,
        (portrait, windows),
        sizes.render_batch,
        "frames/s",
        sizes.repeats,
    )


def reply(sizes: Sizes) -> Measurement:
    """One reply from its prompt to its last picture: streamed text, C and S, the first sentence's sound, all sound, motion,
    pictures. The unit is replies; the note says when each began.
    """
    model = core(sizes)
    added = AddedTokens.for_model(model, 34, rngs=nnx.Rngs(5), param_dtype=sizes.dtype)
    config, base = empatheia_config(sizes), sizes.llm["vocab_size"]
    kinds: dict[str, Any] = {"dtype": jnp.float32}
    synchronizer = Compiled(
        drawn(lambda: ContentSynchronizer(config.synchronizer, rngs=nnx.Rngs(6), **kinds)), _content, ("sizes",)
    )
    disentangler = Compiled(
        drawn(lambda: StyleDisentangler(config.disentangler, rngs=nnx.Rngs(7), **kinds)), lambda m, s, v: m(s, v)
    )
    voice, c = Voice(sizes), sizes.denoiser
    mover = Compiled(denoiser(c), _motion)
    renderer = Compiled(
        drawn(lambda: Renderer(sizes.renderer, rngs=nnx.Rngs(0), dtype=sizes.dtype)),
        lambda m, p, w: to_uint8(m(p, w).image),
    )
    size, r = sizes.renderer.image_size, sizes.renderer
    portrait = jax.random.uniform(jax.random.key(0), (1, size, size, 3), minval=-1.0)
    prompt = jnp.asarray(np.random.default_rng(0).integers(0, base, (1, sizes.prompt)))
    embeds = added.embed(model, prompt)
    settings = decoding.DecodingSettings(
        sizes.new, banned_ids=tuple(range(base, base + 34)), forced_ids=tuple(range(base + 2, base + 34))
    )
    moments: dict[str, float] = {}

    def once() -> None:
        start = time.perf_counter()

        def mark(name: str) -> None:
            moments.setdefault(name, time.perf_counter() - start)

        moments.clear()
        out = decoding.generate(model, added, embeds, [sizes.prompt], settings, on_token=lambda *_: mark("first word"))
        mark("text")
        limit = config.reply_tokens
        text = np.zeros((1, limit, out.hidden.shape[-1]), np.float32)
        count = min(limit, int(out.lengths[0]))
        text[:, :count] = out.hidden[:, :count]
        signals = np.asarray(out.forced_hidden, np.float32)
        style = disentangler(signals[:, :16], signals[:, 16:])
        first = max(4, sizes.phonemes // 4)
        heard, _ = synchronizer(text, np.array([count]), sizes=(sizes.phonemes, sizes.video_frames))
        voice(first, style.speech, heard[:, :first])
        mark("first sound")
        wave = voice(sizes.phonemes, style.speech, heard)
        mark("all sound")
        frames = max(1, round(len(wave) / RATE * FRAMES_PER_SECOND))
        frames = min(frames, sizes.video_frames)
        _, seen = synchronizer(text, np.array([count]), sizes=(sizes.phonemes, sizes.video_frames))
        noise = np.random.default_rng(3).standard_normal((1, sizes.video_frames, c.face3d_dim), np.float32)
        moves = np.asarray(mover(seen, style.video, noise))[0]
        moves = np.pad(moves, ((r.window_radius, r.window_radius), (0, r.coefficient_dim - c.face3d_dim)), mode="edge")
        for begin in range(0, frames, sizes.render_batch):
            picked = [min(begin + k, frames - 1) for k in range(sizes.render_batch)]
            windows = np.stack([moves[k : k + 2 * r.window_radius + 1] for k in picked])
            np.asarray(renderer(portrait, windows))
            mark("first picture")
        mark("all pictures")
        moments["frames"], moments["seconds of speech"] = frames, len(wave) / RATE

    seconds = median_seconds(once, sizes.repeats, warm=1)
    said = ", ".join(f"{name} {value:.3f}" for name, value in moments.items())
    return Measurement(seconds, 1, "replies/s", note=f"seconds after the prompt: {said}")


def _content(module, text, lengths, *, sizes: tuple[int, int]):
    speech, _ = module.speech(text, lengths, jnp.array([sizes[0]]), sizes[0])
    video, _ = module.video(text, lengths, jnp.array([sizes[1]]), sizes[1])
    return speech, video


def _motion(module, content, style, noise):
    return module.sample_ddim(content, style, noise, steps=DDIM, guidance=None)[0]
