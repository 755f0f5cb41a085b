"""Command: trains one of the drawn face's networks (see `configs/drawn_face.py`)."""

from __future__ import annotations

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.errors import main_guard
from empatheia_jax.settings import read
from empatheia_jax.training.drawn_face import train_denoiser, train_renderer

_CONFIG = config_flags.DEFINE_config_file("config", "configs/drawn_face.py", "The experiment.")
_FOLDER = flags.DEFINE_string("folder", "runs/drawn_face", "Where shards, checkpoints and logs go.")
_NETWORK = flags.DEFINE_enum("network", "renderer", ["renderer", "denoiser"], "What to train.")
_MINUTES = flags.DEFINE_float("minutes", 60.0, "Stop after so long; the same command goes on from there.")


@main_guard
def main(_) -> None:
    folder = Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    train = {"renderer": train_renderer, "denoiser": train_denoiser}[_NETWORK.value].train
    train(read(DrawnFace, _CONFIG.value), folder, _MINUTES.value)


if __name__ == "__main__":
    app.run(main)
