"""Kokoro's trained weights: every de-quantised tensor, and two sentences spoken by StyleTTS 2's modules with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from converters import interpreter
from converters.formats.kokoro_package import open_kokoro
from converters.formats.source import Source
from converters.parity.result import Result, compare
from converters.parity.vectors import Arrays, guarded
from converters.tables import kokoro, styletts2_networks
from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object
from empatheia_jax.styletts2.durations import frame_index, whole_durations
from empatheia_jax.styletts2.mel import log_mel
from empatheia_jax.styletts2.model import StyleTTS2

MANIFEST, REFERENCE = "kokoro_f32.manifest.json", "kokoro_ref.npz"
PROBE_BOUND = 1e-6  # relative: the tensors are then equal element by element
CURVE_BOUND = 1e-3  # relative to the largest value
SPECTRUM_BOUND = 1e-3  # 1 − correlation of log-mel spectrograms


def matches(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or (folder / REFERENCE).is_file()


def probe(tensor: np.ndarray) -> float:
    """A projection of all elements that no two different tensors share."""
    direction = np.random.default_rng(12345).standard_normal(tensor.size)
    return float(tensor.astype(np.float64).ravel() @ direction / np.sqrt(tensor.size))


def compare_tensors(source: Source, manifest: dict) -> Result:
    """All tensors of the source against the manifest: names, shapes and probes."""
    if set(source.keys()) != set(manifest):
        different = sorted(set(source.keys()) ^ set(manifest))
        return Result(MANIFEST, "keys", np.inf, np.inf, PROBE_BOUND, f"{len(different)} differ, first {different[0]}")
    worst, where = 0.0, ""
    for key, entry in manifest.items():
        tensor = source.read(key)
        if list(tensor.shape) != list(entry["shape"]):
            return Result(MANIFEST, key, np.inf, np.inf, PROBE_BOUND, f"shape {tensor.shape}")
        scale = max(abs(entry["probe"]), entry["std"], 1e-6)
        difference = abs(probe(tensor) - entry["probe"]) / scale
        if difference >= worst:
            worst, where = difference, key
    return Result(MANIFEST, f"{len(manifest)} probes", worst, worst, PROBE_BOUND, f"largest at {where}")


def load_model(source: Source, float64: bool = False) -> StyleTTS2:
    """Kokoro's networks with the tensors of `source`."""
    dtype = jnp.float64 if float64 else jnp.float32
    config = kokoro.config()

    def construct():
        return StyleTTS2(config, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype)

    abstract = weights.flatten(weights.abstract(construct))
    return weights.materialize(construct, interpreter.load(source, styletts2_networks.table(config), abstract, dtype))


def compare_voice(model: StyleTTS2, arrays, voice: str) -> Iterator[Result]:
    """One sentence at the file's speed, every stage from our own previous one, without source noise."""
    tokens, style = arrays[f"{voice}.tokens"].astype(np.int32), arrays[f"{voice}.style"]
    prosodic = np.split(style, 2, -1)[1]
    lengths = np.array([tokens.shape[1]], np.int32)
    encoded = model.encode(jnp.asarray(tokens), jnp.asarray(lengths), jnp.asarray(prosodic))
    whole = whole_durations(np.asarray(encoded.durations[0]) / float(np.asarray(arrays.get("speed", 1.0)).item()))
    yield compare(REFERENCE, f"{voice}.float_dur", whole, arrays[f"{voice}.float_dur"], 0)
    index = frame_index(whole, late=model.config.late)
    spoken = model.vocode(encoded.text[:, index], encoded.states[:, index], style, None)
    for name, curve in (("F0", spoken.f0), ("N", spoken.energy)):
        expected = arrays[f"{voice}.float_{name}"]
        bound = CURVE_BOUND * float(np.abs(expected).max())
        yield compare(REFERENCE, f"{voice}.float_{name}", curve, expected, bound)
    ours, expected = (
        np.asarray(log_mel(jnp.asarray(w))).ravel() for w in (spoken.wave[0], arrays[f"{voice}.float_audio"])
    )
    different = 1 - float(np.corrcoef(ours, expected)[0, 1])
    note = "1 − correlation of log-mel"
    yield Result(REFERENCE, f"{voice}.float_audio", different, different, SPECTRUM_BOUND, note)


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    try:
        source = open_kokoro(None)
    except UserError:
        return  # without the extra `demo` there is nothing to compare; the command then lists the file as not compared
    yield from guarded(MANIFEST, _tensors(folder, source))
    yield from guarded(REFERENCE, _voices(folder, source, float64))


def _tensors(folder: Path, source: Source) -> Iterator[Result]:
    yield compare_tensors(source, read_json_object(folder / MANIFEST, "the list of Kokoro's tensors"))


def _voices(folder: Path, source: Source, float64: bool) -> Iterator[Result]:
    arrays = Arrays(folder / REFERENCE)
    model = load_model(source, float64)
    for voice in sorted(key.removesuffix(".tokens") for key in arrays if key.endswith(".tokens")):
        yield from compare_voice(model, arrays, voice)
