"""Command: trains one of the drawn face's networks (see `configs/drawn_face.py`)."""

from __future__ import annotations

import time
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.errors import main_guard
from empatheia_jax.settings import read
from empatheia_jax.training.drawn_face import train_denoiser, train_renderer

_CONFIG = config_flags.DEFINE_config_file("config", "configs/drawn_face.py", "The experiment.")
_FOLDER = flags.DEFINE_string("folder", "runs/drawn_face", "Holds a run's folder for each network.")
_NETWORK = flags.DEFINE_enum("network", "renderer", ["renderer", "denoiser"], "What to train.")
_MINUTES = flags.DEFINE_float("minutes", 60.0, "Stop after so long; the same command goes on from there.")


@main_guard
def main(_) -> None:
    """Does what the command line asks for."""
    train = {"renderer": train_renderer, "denoiser": train_denoiser}[_NETWORK.value].train
    config, folder = read(DrawnFace, _CONFIG.value), Path(_FOLDER.value) / _NETWORK.value
    train(config, folder, time.monotonic() + 60 * _MINUTES.value)


if __name__ == "__main__":
    app.run(main)
