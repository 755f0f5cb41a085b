"""wav2vec 2.0 XLSR as DreamTalk uses it: `wav2vec2_*.npz`, with the sizes in the folder's `config.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from converters.parity.result import Result, bound_of, compare
from converters.parity.seeded_network import compiled, seeded_network
from converters.parity.vectors import Arrays, guarded, read_manifest
from converters.tables.hubert import table
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config, normalize
from empatheia_jax.files import read_json_object

FULL = "wav2vec2_xlsr53"
FLOAT32_BOUND = 2e-5
_EXTRA_FIELDS = ("like", "input", "output", "note", "notes")


def matches(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("wav2vec2_*.npz"))


def config_of(folder: Path, name: str, manifest: dict) -> Wav2Vec2Config:
    """The configuration of `name`: its own fields over those of the network that it is said to be like."""
    every = read_json_object(folder / "config.json", "the sizes of the networks")
    own: dict[str, Any] = next((every[key] for key in (name, name.rsplit("_", 1)[0], FULL) if key in every), {})
    fields = dict(every.get(str(own.get("like")), {})) | dict(own)
    known = {key: value for key, value in fields.items() if key not in _EXTRA_FIELDS}
    head = ["Wav2Vec2ForCTC"] if "lm_head.weight" in manifest else ["Wav2Vec2Model"]
    return Wav2Vec2Config.from_source(known | {"model_type": "wav2vec2", "architectures": head})


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for path in sorted(folder.glob("wav2vec2_*.npz")):
        yield from guarded(path.name, _run(folder, path, seed, float64))


def _run(folder: Path, path: Path, seed: int, float64: bool) -> Iterator[Result]:
    dtype, bound = jnp.float64 if float64 else jnp.float32, bound_of(float64, FLOAT32_BOUND)
    own = folder / f"{path.stem}.manifest.json"
    manifest = read_manifest(own if own.is_file() else folder / f"{FULL}.manifest.json")
    config = config_of(folder, path.stem if own.is_file() else FULL, manifest)
    model = seeded_network(Wav2Vec2, config, table(config), manifest, seed, float64)
    arrays = Arrays(path)

    def forward(model, wave, values):
        output = model(values, all_hidden=True)
        features = model.convolve(values)
        ours = {"input_values": normalize(wave), "last_hidden": output.last, "conv_features": features}
        ours["proj"] = model.project(features)
        ours["pos_conv"] = model.position(ours["proj"])
        return ours | {f"hidden{i}": hidden for i, hidden in enumerate(output.hidden)}

    wave = jnp.asarray(arrays["wav_int16"], dtype)[None] / 32768
    ours = compiled(model, forward, wave, jnp.asarray(arrays["input_values"], dtype)[None])
    for name in filter(ours.__contains__, arrays):
        yield compare(path.name, name, ours[name][0], arrays[name], bound)
