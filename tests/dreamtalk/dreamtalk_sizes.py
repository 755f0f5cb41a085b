"""A tiny DreamTalk for tests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.model import DreamTalk, DreamTalkConfig
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.dreamtalk.transformer import Buffer

DENOISER = DenoiserConfig(
    d_model=32,
    num_heads=4,
    feedforward_dim=64,
    content_encoder_layers=1,
    style_encoder_layers=1,
    decoder_layers=2,
    audio_feature_dim=20,
    audio_rows_per_frame=2,
    window_radius=2,
    face3d_dim=10,
    style_max_len=16,
    style_pooling="self_attention_pooling",
    upper_face_indices=(3, 5, 7, 8, 9),
    lower_face_indices=(0, 1, 2, 4, 6),
    dropout=0.1,
    layer_norm_eps=1e-5,
    dynamic_experts=None,
    dynamic_ratio=None,
    dynamic_temperature=None,
    diffusion_steps=100,
    beta_first=1e-4,
    beta_last=0.02,
)
RENDERER = RendererConfig(
    coefficient_dim=12,
    descriptor_dim=16,
    mapping_layers=1,
    image_size=32,
    image_channels=3,
    max_channels=16,
    warp_base_channels=4,
    warp_encoder_layers=3,
    warp_decoder_layers=2,
    edit_base_channels=4,
    edit_layers=2,
    edit_residual_blocks=1,
    adain_hidden=8,
    leaky_relu_slope=0.1,
    norm_eps=1e-5,
    window_radius=6,
    unused_residual_convs=False,
)
WHOLE = DreamTalkConfig(
    speech=None,
    denoiser=DENOISER,
    renderer=dataclasses.replace(RENDERER, coefficient_dim=DENOISER.face3d_dim + 9),
    rest_pose=(0.0,) * 6 + (1.0, 0.0, 0.0),
)
NETWORKS = {type(DENOISER): Denoiser, type(RENDERER): Renderer, type(WHOLE): DreamTalk}


def build(config, seed: int = 0):
    """A network of random weights, without compiling the initialisers (they would take most of a test's time)."""

    def construct():
        return NETWORKS[type(config)](config, rngs=nnx.Rngs(0))

    buffers = jax.jit(lambda: nnx.state(construct(), Buffer))()
    graph, params, _ = nnx.split(weights.abstract(construct), nnx.Param, ...)
    rng = np.random.default_rng(seed)

    def draw(path, variable):
        shape = variable.get_value().shape
        if path[-1] == "scale":
            return variable.replace(jnp.asarray(np.ones(shape, np.float32)))
        size = 0.05 if len(shape) < 2 else np.prod(shape[:-1]) ** -0.5
        return variable.replace(jnp.asarray(size * rng.normal(size=shape), jnp.float32))

    flat = [(path, draw(path, variable)) for path, variable in nnx.to_flat_state(params)]
    return nnx.merge(graph, nnx.from_flat_state(flat), buffers)
