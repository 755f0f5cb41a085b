"""The folder's arrays, the networks with their stand-in weights, and how both are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from converters import interpreter
from converters.parity.result import Result, compare
from converters.parity.seeded import seeded_state_dict
from converters.parity.vectors import Arrays, part, read_manifest, read_settings
from converters.table import Table
from converters.tables import dreamtalk as tables
from empatheia_jax import weights
from empatheia_jax.dreamtalk import motion, windows
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.renderer import Renderer, normalise_image
from empatheia_jax.files import read_json_object

# In float32: what the reference itself differs by between float32 and float64, with some room.
DENOISER, DESCRIPTOR, PICTURE, EXACT = 2e-5, 2e-4, 1e-4, 1e-6
GREY_LEVEL = 1.0
HIDDEN = 4e-6  # of hidden features, relative to the largest of them: they reach 600
STORED_FLOAT64 = 1e-9  # relative, in a float64 run
STORED_FLOAT32 = 2e-7  # the same for arrays that are stored rounded to float32

M = TypeVar("M", bound=nnx.Module)


class Vectors:
    """The folder's arrays, and the networks with their stand-in weights."""

    def __init__(self, folder: Path, seed: int, float64: bool):
        self.folder, self.seed, self.float64 = folder, seed, float64
        self.dtype = jnp.float64 if float64 else jnp.float32
        self.config = read_json_object(folder / "config.json", "the sizes of the networks")
        self.settings = read_settings(folder)
        beside = (p / "media" for p in folder.resolve().parents if (p / "media").is_dir())
        own = self.settings.get("media")
        self.media = folder / own if own is not None else next(beside, None)
        self._loaded: dict[str, Arrays] = {}

    def load(self, name: str) -> Arrays:
        if name not in self._loaded:
            self._loaded[name] = Arrays(self.folder / f"{name}.npz")
        return self._loaded[name]

    def manifest(self, name: str) -> dict:
        return read_manifest(self.folder / f"{name}.manifest.json")

    def cut(self, file: str, name: str, ours, default: str):
        """The part of `ours` that an array holds, see `set.json`."""
        return np.asarray(ours)[part(self.settings, f"{file}/{name}", default)]

    def cut_of(self, file: str, name: str, default: str) -> tuple[slice, ...]:
        """The slices of an array that is made of a part of another, see `set.json`."""
        return part(self.settings, f"{file}/{name}", default)

    def media_files(self, *patterns: str) -> list[Path]:
        """Files of the media folder, by name; none where there is no folder."""
        if self.media is None:
            return []
        return sorted(path for pattern in patterns for path in self.media.rglob(pattern))

    def array(self, value: np.ndarray | jax.Array) -> jax.Array:
        return jnp.asarray(value, self.dtype)

    def picture(self, value: np.ndarray) -> jax.Array:
        """uint8 (H, W, 3) → (1, H, W, 3) in [-1, 1]."""
        return self.array(normalise_image(jnp.asarray(value)))[None]  # rounded to float32, as the reference's input

    def windows(self, value: np.ndarray) -> jax.Array:
        """(N, 73, 27) → (N, 27, 73)."""
        return self.array(value.transpose(0, 2, 1))

    def check(self, file: str, name: str, ours, expected, bound: float) -> Result:
        expected = np.asarray(expected)
        if self.float64:
            bound = STORED_FLOAT64 if expected.dtype == np.float64 else STORED_FLOAT32
            scale = float(np.max(np.abs(expected))) if expected.size else 0.0
            bound *= max(1.0, scale)
        return compare(f"{file}.npz", name, np.asarray(ours, np.float64), expected, bound)

    def exact(self, file: str, name: str, ours, expected, bound: float = 0.0) -> Result:
        """For what does not depend on the precision of the run."""
        return compare(f"{file}.npz", name, np.asarray(ours, np.float64), expected, bound)

    def build(self, construct: Callable[[], M], table: Table, state: dict) -> M:
        abstract = weights.flatten(weights.abstract(construct))
        flat = interpreter.load(state, table, abstract, self.dtype, place=lambda _, array: jnp.asarray(array))
        return weights.materialize(construct, flat)

    @cached_property
    def denoiser(self) -> Denoiser:
        config = DenoiserConfig.from_source(self.config)
        manifest = self.manifest("denoiser")
        state = seeded_state_dict(manifest, self.seed) | self.load("denoiser_buffers")
        return self.build(
            lambda: Denoiser(config, rngs=nnx.Rngs(0), dtype=self.dtype, param_dtype=self.dtype),
            tables.denoiser(config),
            state,
        )

    @cached_property
    def renderer(self) -> Renderer:
        config = RendererConfig.from_source(self.config["renderer"])
        return self.build(
            lambda: Renderer(config, rngs=nnx.Rngs(0), dtype=self.dtype, param_dtype=self.dtype),
            tables.renderer(config),
            seeded_state_dict(self.manifest("renderer"), self.seed),
        )

    @cached_property
    def audio(self) -> jax.Array:
        given, frames = self.load("audio_window"), len(self.load("content_encoder")["content"])
        return self.array(windows.audio_windows(given["feat"], frames, radius=int(given["win_size"])))[None]

    @cached_property
    def styles(self) -> tuple[jax.Array, jax.Array]:
        """Clips and padding masks: the padded clip, then the full one."""
        given = self.load("style_encoder")
        longest = len(given["clip_full"])
        padded, padding, _ = motion.style_clip(given["clip_padded"], longest)
        clips = np.stack([padded, given["clip_full"]])
        return self.array(clips), jnp.asarray(np.stack([padding, np.zeros(longest, bool)]))


def compiled(module: nnx.Module, function: Callable = lambda net, *inputs: net(*inputs), *first):
    """`function(module, *first, …)` as one program that takes the weights as an argument, not as constants."""
    graph, state = nnx.split(module)
    call = jax.jit(lambda state, *inputs, **options: function(nnx.merge(graph, state), *inputs, **options))
    return functools.partial(call, state, *first)


def nchw(x) -> np.ndarray:
    return np.asarray(x).transpose(0, 3, 1, 2)


def summaries(v: Vectors, file: str, name: str, ours, expected: dict, bound: float) -> Iterator[Result]:
    """Mean, standard deviation, largest magnitude and probe of a whole tensor, channels last."""
    x = nchw(ours).astype(np.float64)
    noise = np.random.default_rng(12345).standard_normal(x.shape[1:])
    found = {
        "shape": x.shape,
        "mean": x.mean(axis=(2, 3)),
        "std": x.std(axis=(2, 3)),
        "absmax": np.abs(x).max(axis=(2, 3)),
        "probe": (x * noise).sum(axis=(1, 2, 3)) / np.sqrt(noise.size),
    }
    bound = max(bound, HIDDEN * float(expected[f"{name}_absmax"].max()))
    for kind, value in found.items():
        yield v.check(file, f"{name}_{kind}", value, expected[f"{name}_{kind}"], bound)
