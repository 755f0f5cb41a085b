"""Sizes of the released encoders; our small ones are written as what they change."""

from __future__ import annotations

import dataclasses

from empatheia_jax.encoders.clip_vision import ClipVisionConfig
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2Config

HUBERT_LARGE = Wav2Vec2Config(
    model_type="hubert",
    width=1024,
    layers=24,
    heads=16,
    mlp=4096,
    conv_channels=(512,) * 7,
    conv_widths=(10, 3, 3, 3, 3, 2, 2),
    conv_strides=(5, 2, 2, 2, 2, 2, 2),
    conv_bias=True,
    conv_norm="layer",
    conv_activation="gelu",
    activation="gelu",
    pre_norm=True,
    position_width=128,
    position_groups=16,
    eps=1e-5,
    vocabulary=None,
)
"""facebook/hubert-large-ls960-ft, without its CTC head."""
XLSR_53 = dataclasses.replace(HUBERT_LARGE, model_type="wav2vec2")
"""facebook/wav2vec2-large-xlsr-53: DreamTalk's speech features are those of a fine-tuned one."""
CLIP_LARGE_336 = ClipVisionConfig(
    image=336, patch=14, channels=3, width=1024, layers=24, heads=16, mlp=4096, activation="quick_gelu", eps=1e-5
)
"""openai/clip-vit-large-patch14-336, the vision tower."""
