"""DreamTalk: every vector of its folder but wav2vec 2.0's (see `networks.wav2vec2`).

The pictures and clips of `preprocess.npz`, `portrait_crop.npz` and `render_video.npz` lie in a media folder, and are found
there by what the arrays say of them, not by their names; what is not found is left out with one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from converters.parity.networks.dreamtalk import denoiser, inputs, layers, renderer, sampling
from converters.parity.networks.dreamtalk.vectors import Vectors
from converters.parity.result import Result
from converters.parity.vectors import guarded


def matches(folder: Path) -> bool:
    return any((folder / f"{name}.manifest.json").is_file() for name in ("denoiser", "renderer"))


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    vectors = Vectors(folder, seed, float64)
    for check in (
        inputs.inputs,
        inputs.preprocessing,
        inputs.clips,
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
        yield from guarded(f"{folder.name}/{check.__name__}", check(vectors))
