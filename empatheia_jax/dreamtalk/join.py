r"""Puts networks that were trained apart into one weights folder, which `Animator` and the command load.

python -m empatheia_jax.dreamtalk.join --denoiser=runs/dreamtalk_denoiser/denoiser \
        --renderer=runs/dreamtalk_renderer/renderer --speech=wav2vec2-large-xlsr-53-english --output=weights/my-dreamtalk
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from empatheia_jax import weights
from empatheia_jax.dreamtalk import motion, released
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.model import KIND, DreamTalkConfig
from empatheia_jax.dreamtalk.speech import LOG_MEL
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2Config
from empatheia_jax.errors import UserError, main_guard


def join(denoiser: str, renderer: str, speech: str, rest_pose: Sequence[float]) -> tuple[DreamTalkConfig, dict, dict]:
    """(config, path → parameter, provenance) of the whole.

    Args:
        denoiser, renderer: weights folders of the kinds `dreamtalk-denoiser` and `dreamtalk-renderer`.
        speech: weights folder of the wav2vec 2.0 that the denoiser was trained on, or "log-mel".
        rest_pose: pose coefficients where no pose clip is given.

    Raises:
        UserError: a folder is missing, of another kind, or does not fit the others.
    """
    parts = {"denoiser": (denoiser, DenoiserConfig), "renderer": (renderer, RendererConfig)}
    if speech != LOG_MEL:
        parts["speech"] = (speech, Wav2Vec2Config)
    configs: dict[str, Any] = {"speech": None}
    flat: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    for name, (folder, config_class) in parts.items():
        place = weights.find(folder)
        description = weights.describe(place)
        expected = {"speech": ("wav2vec2", "hubert")}.get(name, (f"dreamtalk-{name}",))
        if description["kind"] not in expected:
            raise UserError(f"{place} holds weights of the kind {description['kind']!r}; expected {expected[0]!r}")
        _, values, params = weights.load(place)
        configs[name] = weights.config_from_dict(config_class, values)
        flat |= {f"{name}.{path}": value for path, value in params.items()}
        provenance[name] = {"sha256": description["sha256"], **description["provenance"]}
    return DreamTalkConfig(**configs, rest_pose=tuple(rest_pose)), flat, provenance


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m empatheia_jax.dreamtalk.join", description="Parts → one weights folder."
    )
    parser.add_argument("--denoiser", required=True, help="its weights folder")
    parser.add_argument("--renderer", required=True, help="its weights folder")
    parser.add_argument("--speech", required=True, help=f"weights folder of the wav2vec 2.0, or {LOG_MEL}")
    parser.add_argument("--pose", help="head movements (.mat, .npy, .txt) whose first pose is the still one")
    parser.add_argument("--output", required=True, help="the weights folder to make")
    options = parser.parse_args(argv)
    rest = released.STILL_POSE if options.pose is None else motion.read_pose(options.pose)[0]
    config, flat, provenance = join(options.denoiser, options.renderer, options.speech, np.asarray(rest).tolist())
    folder = weights.save(options.output, flat, config, KIND, provenance)
    print(f"{folder}: {sum(v.size for v in flat.values()):,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
