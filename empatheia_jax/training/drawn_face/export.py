"""Packs the trained networks into a weights folder that `Animator` loads: weights, a portrait per profile, a pose clip.

python -m empatheia_jax.training.drawn_face.export --folder=runs/drawn_face --output=weights/drawn-face
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
from absl import app, flags
from flax import nnx
from ml_collections import config_flags

from empatheia_jax import weights
from empatheia_jax.conversation.labels import AGES, GENDERS, TONES
from empatheia_jax.dreamtalk.animator import PORTRAITS_FILE, POSE_FILE
from empatheia_jax.dreamtalk.drawn_face.expressions import idle_pose
from empatheia_jax.dreamtalk.drawn_face.layout import NEUTRAL_POSE
from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile
from empatheia_jax.dreamtalk.model import KIND, DreamTalk, DreamTalkConfig
from empatheia_jax.dreamtalk.settings import DrawnFace
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.image import png_bytes
from empatheia_jax.runs import checkpoint
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import read

_CONFIG = config_flags.DEFINE_config_file("config", "configs/drawn_face.py", "The experiment.")
_FOLDER = flags.DEFINE_string("folder", "runs/drawn_face", "Where the checkpoints are.")
_OUTPUT = flags.DEFINE_string("output", "weights/drawn-face", "The weights folder to make.")
_POSE_FRAMES = 1500  # a minute; a longer reply holds its last pose


def assemble(config: DrawnFace, folder: Path) -> tuple[DreamTalk, dict]:
    """The averaged weights of both trainings in one model, and where they come from.

    Raises:
        UserError: one of the networks has no checkpoint in the folder.
    """
    steps, trained = {}, {}
    for name in ("renderer", "denoiser"):
        where = Run(folder / name).stage_folder(name)
        step = checkpoint.current_step(where)
        if step is None:
            raise UserError(f"{where} has no checkpoint; train it first: --network={name}")
        steps[f"{name}_steps"], trained[name] = step, checkpoint.load_trainable(where, step)
    values = DreamTalkConfig(
        speech=None,
        denoiser=config.denoiser,
        renderer=config.renderer,
        rest_pose=NEUTRAL_POSE,
    )
    model = DreamTalk(values, rngs=nnx.Rngs(config.seed))
    for name, leaves in trained.items():
        weights.overlay(getattr(model, name), leaves)
    return model, {"made_by": "empatheia_jax.dreamtalk.drawn_face", "seed": config.seed, **steps}


def _repack(folder: Path, flat: dict) -> None:
    """Writes the parameters again in one go: one by one, as large models need it, small ones take four times the room."""
    params = folder / weights.PARAMS_FOLDER
    shutil.rmtree(params)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as writer:
        writer.save(params.absolute(), {path: np.asarray(value) for path, value in flat.items()})
    weights.seal(folder)


@main_guard
def main(_) -> None:
    """Does what the command line asks for."""
    config, output = read(DrawnFace, _CONFIG.value), Path(_OUTPUT.value)
    model, provenance = assemble(config, Path(_FOLDER.value))
    flat = weights.flatten(model)
    entries, files = [], {}
    for a, age in enumerate(AGES):
        for g, gender in enumerate(GENDERS):
            for t, tone in enumerate(TONES):
                name = f"{age}-{gender}-{tone}.png"
                files[name] = png_bytes(portrait_for_profile(age, gender, tone))
                entries.append({"file": name, "age": a, "gender": g, "tone": t})
    files[PORTRAITS_FILE] = (json.dumps(entries, indent=1) + "\n").encode()
    pose = io.BytesIO()
    np.save(pose, idle_pose(np.random.default_rng(7), _POSE_FRAMES).astype(np.float32))
    files[POSE_FILE] = pose.getvalue()
    weights.save(output, flat, model.config, KIND, provenance, files)
    _repack(output, flat)
    weights.restore(output, DreamTalk, DreamTalkConfig, kind=KIND)  # reads what was written, hashes and all
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    print(f"{output}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    app.run(main)
