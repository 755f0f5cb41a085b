"""StyleTTS 2's released checkpoints, `{'net': {module: state_dict}}`: their files and configuration, and an export to them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from converters.conversion import Conversion
from converters.formats.source import Source
from converters.sources import open_source
from converters.table import Table
from converters.tables.styletts2_networks import EXPAND, table
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.config import NETWORKS, StyleTTS2Config
from empatheia_jax.styletts2.model import KIND, StyleTTS2

# `Utils/PLBERT/config.yml` of the original, which the configuration file of a checkpoint only points at (`PLBERT_dir`).
PLBERT = {
    "vocab_size": 178,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 2048,
    "max_position_embeddings": 512,
    "num_hidden_layers": 12,
    "dropout": 0.1,
}

PLBERT_FILE = "plbert_config.yml"
"""PL-BERT's parameters in an export."""
VOICES_FILE, VOCABULARY_FILE = "voices.npz", "vocab.json"
"""Kokoro's files beside its weights."""
ALBERT = {"embedding_size": 128, "layer_norm_eps": 1e-12}

RELEASE_FILE = "epochs_2nd_exported.pth"
UNWRAPPED = ("mpd", "msd", "wd")
"""Networks that the original does not wrap for data parallelism."""


def export_table(config: StyleTTS2Config) -> Table:
    """Rows for the original's modules, which keep both parts of weight norm."""
    return table(config if config.weight_norm else dataclasses.replace(config, weight_norm=EXPAND))


def export_keys(config: StyleTTS2Config, keys: Iterable[str]) -> list[str]:
    """Keys as the original's `state_dict`s have them: its discriminators are not wrapped, its denoiser is there twice."""
    found = []
    for key in keys:
        network = key.split(".")[1]
        key = key.replace(".module.", ".", 1) if network in UNWRAPPED else key
        found.append(key)
        if ".diffusion.net." in key:
            found.append(key.replace(".diffusion.net.", ".unet."))
    order = {name: place for place, name in enumerate(NETWORKS)}
    return sorted(found, key=lambda key: order[key.split(".")[1]])


def source_config(config: StyleTTS2Config) -> dict[str, Any]:
    """`model_params` of the configuration file that belongs to these weights; what no weight depends on is as published."""
    decoder = {key: value for key, value in dataclasses.asdict(config.decoder).items() if value is not None}
    for ours, theirs in (("n_fft", "gen_istft_n_fft"), ("hop", "gen_istft_hop_size")):
        if ours in decoder:
            decoder[theirs] = decoder.pop(ours)
    diffusion, slm = config.diffusion, config.slm
    shape = {"num_layers": 3, "num_heads": 8, "head_features": 64, "multiplier": 2}
    if diffusion is not None:
        shape = {name: getattr(diffusion, name) for name in shape}
    names = (
        "multispeaker",
        "dim_in",
        "hidden_dim",
        "max_conv_dim",
        "n_layer",
        "n_mels",
        "n_token",
        "max_dur",
        "style_dim",
    )
    return {
        **{name: getattr(config, name) for name in names},
        "dropout": 0.2,
        "decoder": json.loads(json.dumps(decoder)),
        "slm": {
            "model": "microsoft/wavlm-base-plus",
            "sr": 16000,
            "hidden": 768 if slm is None else slm.hidden,
            "nlayers": 13 if slm is None else slm.layers,
            "initial_channel": 64 if slm is None else slm.channels,
        },
        "diffusion": {
            "embedding_mask_proba": 0.1,
            "transformer": shape,
            "dist": {
                "sigma_data": 0.2 if diffusion is None else diffusion.sigma_data,
                "estimate_sigma_data": False,
                "mean": -3.0,
                "std": 1.0,
            },
        },
    }


def export_files(config: StyleTTS2Config) -> dict[str, bytes]:
    """`config.yml`, and PL-BERT's parameters, which the original keeps in a folder of their own."""
    bert = {name: getattr(config.bert, name) for name in PLBERT if name != "dropout"} | {"dropout": 0.1}
    # The published file leaves these to the defaults of transformers' ALBERT.
    bert |= {name: own for name, usual in ALBERT.items() if (own := getattr(config.bert, name)) != usual}
    files = {"config.yml": source_config(config), PLBERT_FILE: bert}
    return {name: yaml.safe_dump({"model_params": values}, sort_keys=False).encode() for name, values in files.items()}


def export_place(key: str) -> tuple[str, tuple[str, ...]]:
    """Where the original's `load_checkpoint` looks for a tensor."""
    _, network, rest = key.split(".", 2)
    return RELEASE_FILE, ("net", network, rest)


def _checkpoint(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.pth"))
    if len(found) != 1:
        raise UserError(f"{path} holds {len(found)} .pth files; give the checkpoint file itself")
    return found[0]


def _config(path: Path, source: Source) -> StyleTTS2Config:
    """`config.yml` beside the checkpoint (or the one .yml file there), and PL-BERT's own where it points at one that is there, or
    where an export of ours wrote it.
    """
    folder = path if path.is_dir() else path.parent
    found = [each for each in sorted(folder.glob("*.yml")) if each.name != PLBERT_FILE]
    chosen = folder / "config.yml" if folder / "config.yml" in found else (found[0] if len(found) == 1 else None)
    if chosen is None:
        raise UserError(f"{folder} lacks config.yml, the configuration file that is published with a checkpoint")
    values, content = _model_params(chosen)
    there = content.get("PLBERT_dir")
    bert = folder / str(there) / "config.yml" if there else folder / PLBERT_FILE
    plbert = _model_params(bert)[0] if bert.is_file() else PLBERT
    networks = tuple(name for name in NETWORKS if any(key.startswith(f"net.{name}.") for key in source))
    config = StyleTTS2Config.from_source(values, plbert, networks=networks)
    if "bert" in networks and not any(key.startswith("net.bert.") and ".pooler." in key for key in source):
        # nothing reads the pooler, and Kokoro's weights come without it
        config = dataclasses.replace(config, bert=dataclasses.replace(config.bert, pooler=False))
    return config


def _voices(path: Path, source: Source) -> dict[str, str | Path | bytes]:
    """Files of Kokoro that an export keeps: its symbols and its voices."""
    folder = path if path.is_dir() else path.parent
    return {name: folder / name for name in (VOICES_FILE, VOCABULARY_FILE) if (folder / name).is_file()}


def _model_params(path: Path) -> tuple[dict, dict]:
    """`model_params` of a configuration file, and all of it. Raises `UserError` where it is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return content["model_params"], content
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no StyleTTS 2 configuration: {error!r}") from error


CONVERSIONS = [
    Conversion(
        name="styletts2",
        kind=KIND,
        about="StyleTTS 2 (epochs_2nd_….pth with its config.yml), both decoders",
        config=_config,
        construct=lambda config: StyleTTS2,
        table=table,
        recognizes=lambda path, source: any(key.startswith("net.predictor.") for key in source),
        folder_files=(RELEASE_FILE,),  # an export has the voices of Kokoro beside it, which are an .npz file
        open=lambda path: open_source(_checkpoint(path)),
        files=_voices,
        place=export_place,
        keys=export_keys,
        export_table=export_table,
        export_files=export_files,
        config_class=StyleTTS2Config,
    )
]
