"""Kokoro-82M, StyleTTS 2's modules with real trained weights, from its int8 ONNX file (see `converters.formats.kokoro_package`).

`--source=kokoro` without `--input` reads the installed packages; else `--input` is the ONNX file, or a folder with one
and/or with more voices (`*.bin`, `*.npz`).
"""

from __future__ import annotations

import json
from pathlib import Path

from converters.conversion import Conversion
from converters.formats import kokoro_package
from converters.formats.source import Source
from converters.tables import styletts2, styletts2_networks
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.config import SYNTHESIS, BertConfig, DecoderConfig, StyleTTS2Config
from empatheia_jax.styletts2.model import KIND, StyleTTS2

# As in the `config.json` of hexgrad/Kokoro-82M, which the ONNX file does not carry; every size is checked against it.
_DECODER = {
    "type": "istftnet",
    "upsample_rates": [10, 6],
    "upsample_kernel_sizes": [20, 12],
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "upsample_initial_channel": 512,
    "gen_istft_n_fft": 20,
    "gen_istft_hop_size": 5,
}


def config() -> StyleTTS2Config:
    """Kokoro's sizes. It has no style encoders, diffusion, aligner or pitch network: styles come from a table."""
    return StyleTTS2Config(
        networks=SYNTHESIS,
        multispeaker=True,
        hidden_dim=512,
        style_dim=128,
        n_layer=3,
        text_kernel=5,
        n_token=178,
        max_dur=50,
        n_mels=80,
        dim_in=64,
        max_conv_dim=512,
        weight_norm=False,
        decoder=DecoderConfig.from_source(_DECODER),
        bert=BertConfig.from_source(styletts2.PLBERT, pooler=False),
        diffusion=None,
        slm=None,
    )


def _default_input() -> Path:
    for package in kokoro_package.MODEL_PACKAGES:
        kokoro_package.package_folder(package)
    return kokoro_package.package_folder(kokoro_package.VOICE_PACKAGE) / "data"


def _model_file(path: Path) -> Path | None:
    """The ONNX file that `path` is or holds; None means the installed packages' one."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) > 1:
        raise UserError(f"{path} holds {len(found)} ONNX files; give one of them as --input")
    return found[0] if found else None


def _files(path: Path, source: Source) -> dict[str, bytes]:
    tables = kokoro_package.voices(path if path.is_dir() else None)
    vocabulary = json.dumps({"vocab": kokoro_package.vocabulary()}, ensure_ascii=False, indent=1) + "\n"
    return {styletts2.VOICES_FILE: kokoro_package.voices_file(tables), styletts2.VOCABULARY_FILE: vocabulary.encode()}


CONVERSIONS = [
    Conversion(
        name="kokoro",
        kind=KIND,
        about="Kokoro-82M, int8 ONNX (no --input needed where the extra `demo` is installed), with its voices",
        config=lambda path, source: config(),
        construct=lambda config: StyleTTS2,
        table=styletts2_networks.table,
        recognizes=lambda path, source: False,
        open=lambda path: kokoro_package.open_kokoro(_model_file(path)),
        files=_files,
        config_class=StyleTTS2Config,
        default_input=_default_input,
    )
]
