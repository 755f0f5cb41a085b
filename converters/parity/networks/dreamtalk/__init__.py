"""DreamTalk: every vector of its folder but wav2vec 2.0's (see `networks.wav2vec2`).

The pictures and clips of `preprocess.npz`, `portrait_crop.npz` and `render_video.npz` come from the media folder beside
the vectors' root; without it those arrays are left out, and the command lists the files as not compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from converters.parity.networks.dreamtalk import denoiser, inputs, layers, renderer, sampling
from converters.parity.networks.dreamtalk.vectors import Vectors
from converters.parity.result import Result


def matches(folder: Path) -> bool:
    return (folder / "denoiser.manifest.json").is_file() and (folder / "renderer.manifest.json").is_file()


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    vectors = Vectors(folder, seed, float64)
    for check in (
        inputs.inputs,
        inputs.portraits,
        denoiser.denoiser_blocks,
        denoiser.noise_predictor,
        sampling.ddim,
        sampling.ddpm,
        layers.single_layers,
        layers.epsilons,
        layers.dynamic_layer,
        renderer.mapping,
        renderer.small_pictures,
        renderer.warping,
        renderer.editing,
        renderer.pictures,
        renderer.video,
    ):
        yield from check(vectors)
