"""DreamTalk's renderer from nothing, as PIRenderer trains it: the warping first, then everything.

`config.objective` goes to `dreamtalk.training.renderer_objective`, which the training step takes as its loss. Batches are
`dreamtalk.training.FrameBatch`. Constants that PIRenderer gives are its own (its `config/face.yaml`).
"""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict

from empatheia_jax.dreamtalk import released
from empatheia_jax.dreamtalk.training import RendererWeights


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "dreamtalk_renderer"
    config.seed = 0
    config.network = ConfigDict(dataclasses.asdict(released.RENDERER))
    config.network.unused_residual_convs = False  # a network of our own need not carry what is never used

    config.objective = ConfigDict(dataclasses.asdict(RendererWeights()))
    config.features = "vgg19"  # or "edges": no weights needed

    config.batch = 5  # frames per device
    config.warp_steps = 200_000  # first the mapping and warping networks alone
    config.steps = 600_000
    config.learning_rate = 1e-4
    config.beta1 = 0.5
    config.beta2 = 0.999
    config.decay_every = 300_000  # steps after which the rate is multiplied by `decay`
    config.decay = 0.2
    config.clip = None
    config.ema = 0.5 ** (32 / 10_000)
    config.log_every = 50
    config.save_every = 2000
    return config
