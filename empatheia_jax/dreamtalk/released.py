"""Hyperparameters of the released DreamTalk, which its checkpoints do not hold (its `configs/` and `renderer_conf.yaml`)."""

from __future__ import annotations

from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.motion import REST_POSE

_LOWER = (0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14)

DENOISER = DenoiserConfig(
    d_model=256,
    num_heads=8,
    feedforward_dim=1024,
    content_encoder_layers=3,
    style_encoder_layers=3,
    decoder_layers=3,
    audio_feature_dim=1024,
    audio_rows_per_frame=2,
    window_radius=5,
    face3d_dim=64,
    style_max_len=256,
    style_pooling="self_attention_pooling",
    upper_face_indices=tuple(i for i in range(64) if i not in _LOWER),
    lower_face_indices=_LOWER,
    dropout=0.1,
    layer_norm_eps=1e-5,
    dynamic_experts=None,
    dynamic_ratio=None,
    dynamic_temperature=None,
    diffusion_steps=1000,
    beta_first=1e-4,
    beta_last=0.02,
)

RENDERER = RendererConfig(
    coefficient_dim=73,
    descriptor_dim=256,
    mapping_layers=3,
    image_size=256,
    image_channels=3,
    max_channels=256,
    warp_base_channels=32,
    warp_encoder_layers=5,
    warp_decoder_layers=3,
    edit_base_channels=64,
    edit_layers=3,
    edit_residual_blocks=2,
    adain_hidden=128,
    leaky_relu_slope=0.1,
    norm_eps=1e-5,
    window_radius=13,
    unused_residual_convs=True,
)

STILL_POSE = tuple(float(value) for value in REST_POSE)
