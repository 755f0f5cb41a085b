"""HuBERT (vectors beside a `NAME.config.json` of model type hubert or wav2vec2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from converters.parity.result import Result, bound_of, compare
from converters.parity.seeded_network import compiled, seeded_network
from converters.parity.vectors import Arrays, VectorSet, guarded, is_set_of, vector_sets
from converters.tables.hubert import table
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config, normalize
from empatheia_jax.errors import UserError

MODEL_TYPES = ("hubert", "wav2vec2")


def matches(folder: Path) -> bool:
    return is_set_of(folder, *MODEL_TYPES)


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for vectors in vector_sets(folder, *MODEL_TYPES):
        yield from guarded(vectors.file, _run(vectors, seed, float64))


def _samples_alone(model: Wav2Vec2, arrays: Arrays) -> int:
    """How many samples of wave 0 were run alone: with its padding or without, as the number of frames says."""
    frames = arrays["single0_last_hidden_state"].shape[1]
    for count in (arrays["wave"].shape[1], int(arrays["lengths"][0])):
        if int(model.frames(np.asarray(count))) == frames:
            return count
    raise UserError(f"single0_last_hidden_state has {frames} frames, which wave 0 gives neither padded nor unpadded")


def _run(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    config = Wav2Vec2Config.from_source(vectors.config)
    model = seeded_network(Wav2Vec2, config, table(config), vectors.manifest, seed, float64)
    dtype = jnp.float64 if float64 else jnp.float32
    arrays, bound = vectors.arrays, bound_of(float64)

    def check(name: str, ours, mask=None) -> Result:
        ours = np.asarray(ours)
        return compare(vectors.file, name, ours if mask is None else ours * mask, arrays[name], bound)

    alone = _samples_alone(model, arrays)

    def forward(model, wave, values, lengths):
        output = model(values, lengths=lengths if config.masks_padding else None, all_hidden=True)
        ours = {
            "input_values": normalize(wave, lengths),
            "conv_features": model.convolve(values),
            "frame_lengths": model.frames(lengths),
            "hidden_states": output.hidden,
            "last_hidden_state": output.last,
            "single0_last_hidden_state": model(values[:1, :alone]).last,
            "pos_conv_weight_effective_slice": model.position.kernel(),
        }
        return ours if config.vocabulary is None else ours | {"ctc_logits": model.logits(output.last)}

    # The vectors' normalised waves are float32, hence the encoder starts from them and not from ours.
    inputs = (jnp.asarray(arrays["wave"], dtype), jnp.asarray(arrays["input_values"], dtype))
    ours = compiled(model, forward, *inputs, jnp.asarray(arrays["lengths"]))
    few = arrays["pos_conv_weight_effective_slice"].shape
    kernel = np.asarray(ours["pos_conv_weight_effective_slice"]).transpose(2, 1, 0)
    ours["pos_conv_weight_effective_slice"] = kernel[: few[0], : few[1]]
    mask = np.asarray(arrays["frame_mask"])[..., None] if config.masks_padding else None
    for name, value in ours.items():
        masked = mask is not None and name in ("hidden_states", "last_hidden_state", "ctc_logits")
        yield check(name, value, mask if masked else None)
