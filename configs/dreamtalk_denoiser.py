"""DreamTalk's motion denoiser from nothing: x0 loss, a tenth of the clips without a style.

    python launch.py --config=configs/dreamtalk_denoiser.py --config.data=FOLDER

The network is the released one's size; `config.objective` goes to `dreamtalk.training.denoiser_objective`, which the
training step takes as its loss. How the folder looks: `data_pipeline.talking_heads`.
"""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from empatheia_jax.dreamtalk import released


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "dreamtalk_denoiser"
    config.trains = "denoiser"
    config.seed = 0
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})
    config.network = ConfigDict(dataclasses.asdict(released.DENOISER))

    config.objective = ConfigDict()
    config.objective.null_probability = 0.1  # of a clip to be shown without its style
    config.objective.velocity_weight = 0.0  # of the error of frame-to-frame differences (not DreamTalk's)

    config.data = "data/talking_heads"  # clips: speech and motion (`data_pipeline.talking_heads`)
    # A weights folder; "log-mel" needs none (with --config.network.audio_feature_dim=80).
    config.speech = "wav2vec2-large-xlsr-53-english"
    config.batch = 64  # clips
    config.frames = 64  # per clip
    config.steps = 200_000
    config.learning_rate = 1e-4
    config.warmup = placeholder(int)  # steps of rising rate; None = 1,000, but at most a tenth of the steps
    config.clip = 1.0
    config.ema = 0.999
    config.log_every = 50
    config.save_every = 2000
    config.eval_every = 2000
    config.valid_every = 20  # every 20th clip is kept for validation; 0 = none
    config.valid_batches = 4  # of it, each time
    config.keep_checkpoints = 2
    config.compiler_options = ""  # XLA's, of the training step: "name=value,…"
    return config
