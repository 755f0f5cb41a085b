"""DreamTalk's renderer from nothing, as PIRenderer trains it: the warping first, then everything.

    python launch.py --config=configs/dreamtalk_renderer.py --config.data=FOLDER

`config.objective` holds the factors of `dreamtalk.training.renderer_loss`.
How the folder looks: `data_pipeline.talking_heads`. Constants that PIRenderer gives are its own (its `config/face.yaml`).
"""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from empatheia_jax.dreamtalk import released
from empatheia_jax.dreamtalk.training import RendererWeights


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "dreamtalk_renderer"
    config.trains = "renderer"
    config.seed = 0
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})
    config.network = ConfigDict(dataclasses.asdict(released.RENDERER))
    config.network.unused_residual_convs = False  # a network of our own need not carry what is never used

    config.objective = ConfigDict(dataclasses.asdict(RendererWeights()))
    config.features = "vgg19"  # weights folder (`python -m converters.convert --source=vgg19`); "edges" needs none

    config.data = "data/talking_heads"  # clips: films and motion (`data_pipeline.talking_heads`)
    config.batch = 5  # frames
    config.warp_steps = placeholder(int)  # first the mapping and warping networks alone; None = a third of the steps
    config.steps = 600_000  # with the warping's
    config.learning_rate = 1e-4
    config.beta1 = 0.5
    config.beta2 = 0.999
    config.decay_every = placeholder(int)  # steps until the rate is multiplied by `decay`; None = half of all steps
    config.decay = 0.2
    config.clip = 0.0  # no limit
    config.ema = 0.5 ** (32 / 10_000)
    config.log_every = 50
    config.save_every = 2000
    config.eval_every = 2000
    config.valid_every = 20  # every 20th clip is kept for validation; 0 = none
    config.valid_batches = 4  # of it, each time
    config.keep_checkpoints = 2
    config.compiler_options = ""  # XLA's, of the training step: "name=value,…"
    return config
