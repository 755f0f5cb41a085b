"""The two published configurations, their stand-in checkpoints, and how arrays are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from converters import interpreter
from converters.parity.result import Result, compare
from converters.parity.seeded import seeded_state_dict
from converters.parity.vectors import Arrays, part, read_manifest, read_settings
from converters.tables.styletts2 import PLBERT
from converters.tables.styletts2_networks import network_table
from empatheia_jax import weights
from empatheia_jax.files import read_json_object
from empatheia_jax.styletts2.config import StyleTTS2Config
from empatheia_jax.styletts2.model import build_network

LOSSES = "float32_vs_float64.json"
CONFIGS = ("ljspeech", "libritts")
# README section 5: the waveform with the stored source put in, by decoder and trace.
WAVE_BOUNDS = {
    ("hifigan", "decoder"): 1e-5,
    ("hifigan", "e2e"): 1e-5,
    ("istftnet", "decoder"): 1e-5,
    ("istftnet", "e2e"): 2e-4,
}
# Nothing put in: 1 − correlation that the README states for the reference itself in float32, end to end.
CHAINED_BOUNDS = {"hifigan": 1 - 0.9999, "istftnet": 1 - 0.954}
# A float32 source is off by this much in the reference itself (decoder file, end to end); ours keeps more digits.
SOURCE_BOUNDS = {"decoder": 4e-4, "e2e": 2e-3}


def source_config(name: str) -> dict[str, Any]:
    """`model_params` of the two published configurations (`Configs/config.yml`, `Configs/config_libritts.yml`)."""
    blocks = {"resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3}
    istft: dict[str, Any] = {"type": "istftnet", "upsample_rates": [10, 6], "upsample_kernel_sizes": [20, 12]}
    istft |= {"gen_istft_n_fft": 20, "gen_istft_hop_size": 5}
    hifigan = {"type": "hifigan", "upsample_rates": [10, 5, 3, 2], "upsample_kernel_sizes": [20, 10, 6, 4]}
    return {
        "multispeaker": name == "libritts",
        "dim_in": 64,
        "hidden_dim": 512,
        "n_layer": 3,
        "n_mels": 80,
        "n_token": 178,
        "max_dur": 50,
        "style_dim": 128,
        "decoder": {**(hifigan if name == "libritts" else istft), **blocks, "upsample_initial_channel": 512},
        "slm": {"hidden": 768, "nlayers": 13, "initial_channel": 64},
        "diffusion": {
            "transformer": {"num_layers": 3, "num_heads": 8, "head_features": 64, "multiplier": 2},
            "dist": {"sigma_data": 0.2},
        },
    }


def published_config(name: str) -> StyleTTS2Config:
    """One of the two published configurations."""
    return StyleTTS2Config.from_source(source_config(name), PLBERT)


def config_names(folder: Path) -> list[str]:
    """The configurations that a folder has vectors of: those of its `set.json`, else the published ones that are there."""
    own = read_settings(folder).get("configs")
    return list(own) if own is not None else [name for name in CONFIGS if (folder / "manifests" / name).is_dir()]


def config_of(folder: Path, name: str) -> StyleTTS2Config:
    """One configuration. sigma_data, which training replaces, is what the vectors of the denoiser say."""
    settings = read_settings(folder)
    source = settings.get("configs", {}).get(name) or source_config(name)
    config = StyleTTS2Config.from_source(source, settings.get("plbert", PLBERT))
    weights.check_values(config)
    path = folder / f"{name}.diffusion.npz"
    if config.diffusion is None or not path.is_file():
        return config
    sigma = Arrays(path).get("sigma_data")
    if sigma is None:
        return config
    meant = float(str(sigma))  # 0.2 was stored in float32, and meant as 0.2
    return dataclasses.replace(config, diffusion=dataclasses.replace(config.diffusion, sigma_data=meant))


def state_dict(folder: Path, network: str, config: str, seed: int) -> dict[str, np.ndarray]:
    """The stand-in checkpoint of one network: seeded tensors, then the folder's overrides."""
    manifest = read_manifest(folder / "manifests" / config / f"{network}.json")
    overrides = folder / "overrides.json"
    spec = read_json_object(overrides, "changes to the stand-in weights").get(network, {}) if overrides.exists() else {}
    tensors = seeded_state_dict(manifest, seed + spec.get("seed_offset", 0))
    for key, (factor, offset) in {**spec.get("affine", {}), **spec.get("affine_by_config", {}).get(config, {})}.items():
        tensors[key] = tensors[key] * np.float32(factor) + np.float32(offset)
    if "arrays" in spec:
        with np.load(folder / spec["arrays"]) as arrays:
            tensors.update({key: arrays[key] for key in arrays.files if key in tensors})
    for key, entry in manifest.items():
        if "same_as" in entry:
            tensors[key] = tensors[entry["same_as"]]
    return tensors


class Comparison:
    """Loads networks of one configuration, runs them compiled, and compares with one file of the folder."""

    def __init__(self, folder: Path, config: str, seed: int, float64: bool):
        self.folder, self.name, self.seed, self.float64 = folder, config, seed, float64
        self.settings, self.config = read_settings(folder), config_of(folder, config)
        self.dtype = jnp.float64 if float64 else jnp.float32
        self.losses = read_json_object(folder / LOSSES, "what the reference loses in float32")
        self._networks: dict[str, nnx.Module] = {}

    def network(self, name: str) -> nnx.Module:
        """One network with its stand-in weights; converted through the table, as a checkpoint is."""
        if name not in self._networks:

            def construct():
                kinds = {"rngs": nnx.Rngs(0), "dtype": self.dtype, "param_dtype": self.dtype}
                return build_network(name, self.config, **kinds)

            abstract = weights.flatten(weights.abstract(construct))
            rows = network_table(name, self.config, "module.", "")
            tensors = state_dict(self.folder, name, self.name, self.seed)
            flat = interpreter.load(tensors, rows, abstract, self.dtype)
            self._networks[name] = weights.materialize(construct, flat)
        return self._networks[name]

    def call(self, network: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """`function(network, *arguments)` compiled, float arguments in the run's type."""
        graph, state = nnx.split(self.network(network))
        arguments = jax.tree.map(self.cast, arguments)
        return jax.jit(lambda state, *a: function(nnx.merge(graph, state), *a))(state, *arguments)

    def cast(self, x: Any) -> Any:
        x = np.asarray(x)
        return x.astype(self.dtype) if np.issubdtype(x.dtype, np.floating) else x

    def arrays(self, file: str) -> Arrays:
        return Arrays(self.folder / f"{file}.npz")

    def cut(self, file: str, key: str, ours: Any, default: str) -> np.ndarray:
        """The part of `ours` that an array holds, see `set.json`."""
        return np.asarray(ours)[part(self.settings, f"{file}/{key}", default)]

    def wave_bound(self, trace: str) -> float:
        """Bound of the waveform in a trace, `decoder` or `e2e`."""
        return WAVE_BOUNDS[self.config.decoder.type, trace]

    def result(self, file: str, key: str, ours: Any, expected: np.ndarray, bound: float | None = None) -> Result:
        """Compared within the README's bound, or within `bound` in float32."""
        largest = float(np.abs(expected).max())
        exact = 1e-6 * largest
        if self.float64:
            bound = exact
        elif bound is None:
            loss = self.losses.get(file, {}).get(key, {}).get("float32_vs_float64_max_abs", 0.0)
            bound = 10 * loss + exact
        return compare(f"{file}.npz", key, np.asarray(ours), expected, bound)


def cf(x: Any) -> np.ndarray:
    """Channels-last → channels-first."""
    return np.moveaxis(np.asarray(x), -1, 1)


def cl(x: Any) -> np.ndarray:
    """Channels-first → channels-last."""
    return np.moveaxis(np.asarray(x), 1, -1)
