"""The networks at their released sizes, and small ones that run everywhere. No reader of files is needed for them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.bridge.content_synchronizer import SynchronizerConfig
from empatheia_jax.bridge.style_disentangler import DisentanglerConfig
from empatheia_jax.bridge.transformer import BlockConfig
from empatheia_jax.core.llama import LlamaConfig
from empatheia_jax.dreamtalk import released
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.diffusion import VarianceSchedule
from empatheia_jax.empatheia import EmpatheiaConfig
from empatheia_jax.encoders.released import CLIP_LARGE_336, HUBERT_LARGE
from empatheia_jax.styletts2.config import SYNTHESIS, BertConfig, DecoderConfig, StyleTTS2Config

M = TypeVar("M", bound=nnx.Module)

VICUNA_7B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
SMALL_LLAMA = VICUNA_7B | {
    "vocab_size": 512,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
}
LIBRI_TTS = StyleTTS2Config(
    networks=SYNTHESIS,
    multispeaker=True,
    hidden_dim=512,
    style_dim=128,
    n_layer=3,
    text_kernel=5,
    n_token=178,
    max_dur=50,
    n_mels=80,
    dim_in=64,
    max_conv_dim=512,
    weight_norm=False,
    decoder=DecoderConfig(
        type="hifigan",
        upsample_rates=(10, 5, 3, 2),
        upsample_kernel_sizes=(20, 10, 6, 4),
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilation_sizes=((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        upsample_initial_channel=512,
        n_fft=None,
        hop=None,
    ),
    bert=BertConfig(
        vocab_size=178,
        embedding_size=128,
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=2048,
        max_position_embeddings=512,
        num_hidden_layers=12,
        layer_norm_eps=1e-12,
        pooler=False,
    ),
    diffusion=None,
    slm=None,
)
"""StyleTTS 2's `Configs/config_libritts.yml`, the networks of synthesis, weight norm folded as in use."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Networks and amounts of one run."""

    llm: dict[str, Any]
    dtype: Any
    batch: int
    length: int
    packed: int
    chunk: int
    prompt: int
    new: int
    hubert: Any
    clip: Any
    clips: int
    clip_samples: int
    frames: int
    tts: StyleTTS2Config
    phonemes: int
    denoiser: Any
    renderer: Any
    video_frames: int
    render_batch: int
    repeats: int
    tiny: bool = False


FULL = Sizes(
    llm=VICUNA_7B,
    dtype=jnp.bfloat16,
    batch=8,
    length=1024,
    packed=4096,
    chunk=256,
    prompt=512,
    new=63,
    hubert=HUBERT_LARGE,
    clip=CLIP_LARGE_336,
    clips=8,
    clip_samples=5 * 16_000,
    frames=24,
    tts=LIBRI_TTS,
    phonemes=100,
    denoiser=released.DENOISER,
    renderer=released.RENDERER,
    video_frames=125,
    render_batch=16,
    repeats=5,
)
TINY = Sizes(
    llm=SMALL_LLAMA,
    dtype=jnp.bfloat16,
    batch=2,
    length=64,
    packed=128,
    chunk=32,
    prompt=48,
    new=6,
    hubert=dataclasses.replace(
        HUBERT_LARGE, width=24, layers=1, heads=2, mlp=32, conv_channels=(8,) * 7, position_width=8, position_groups=2
    ),
    clip=dataclasses.replace(CLIP_LARGE_336, image=32, patch=8, width=24, layers=2, heads=2, mlp=32),
    clips=2,
    clip_samples=4000,
    frames=2,
    tts=dataclasses.replace(
        LIBRI_TTS,
        hidden_dim=32,
        n_layer=1,
        max_dur=4,
        decoder=DecoderConfig("istftnet", (10, 6), (20, 12), (3,), ((1,),), 512, 20, 5),
        bert=dataclasses.replace(
            LIBRI_TTS.bert,
            embedding_size=8,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            num_hidden_layers=1,
        ),
    ),
    phonemes=8,
    denoiser=dataclasses.replace(
        released.DENOISER,
        d_model=16,
        num_heads=2,
        feedforward_dim=32,
        content_encoder_layers=1,
        style_encoder_layers=1,
        decoder_layers=1,
        audio_feature_dim=20,
        window_radius=1,
        style_max_len=32,
        diffusion_steps=10,
        dropout=0.0,
    ),
    renderer=dataclasses.replace(
        released.RENDERER,
        descriptor_dim=16,
        mapping_layers=1,
        image_size=32,
        max_channels=16,
        warp_base_channels=8,
        warp_encoder_layers=2,
        warp_decoder_layers=2,
        edit_base_channels=8,
        edit_layers=2,
        edit_residual_blocks=1,
        adain_hidden=16,
    ),
    video_frames=8,
    render_batch=4,
    repeats=1,
    tiny=True,
)


def drawn(construct: Callable[[], M], seed: int = 0, known: Mapping[str, Any] | None = None) -> M:
    """A module with weights drawn from a seed: large ones on the device, small ones on the host, since compiling the initialisers
    of a whole network takes longer. Matrices are scaled by their fan-in, norms' scales are one, biases and LoRA's B zero.
    `known`: values by path that exist already.
    """
    host, key = np.random.default_rng(seed), jax.random.key(seed)

    def draw(number: int, path: str, leaf: Any) -> jax.Array:
        if known and path in known:
            return known[path]
        name = path.rsplit(".", 1)[-1]
        # made by NumPy: on a GPU each shape that JAX fills is a program to compile
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or name in ("b", "bias") or name.endswith("padding"):
            return jax.device_put(np.zeros(leaf.shape, leaf.dtype))
        if name.startswith(("scale", "alpha", "g")) and leaf.ndim < 3:
            return jax.device_put(np.ones(leaf.shape, leaf.dtype))
        deviation = 0.5 / float(np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 4) ** 0.5
        if leaf.size < 2**22:
            values = np.float32(deviation) * host.standard_normal(leaf.shape, np.float32)
            return jax.device_put(values.astype(leaf.dtype))
        return _normal(jax.random.fold_in(key, number), deviation, leaf.shape, leaf.dtype)

    return weights.materialize(
        construct, lambda abstract: {path: draw(k, path, leaf) for k, (path, leaf) in enumerate(abstract.items())}
    )


@functools.partial(jax.jit, static_argnums=(2, 3))
def _normal(key, deviation, shape, dtype):
    return jax.random.normal(key, shape, dtype) * jnp.asarray(deviation, dtype)


def denoiser(config: DenoiserConfig, **kinds: Any) -> Denoiser:
    """DreamTalk's denoiser; the tables of its schedule are what they are, and not drawn."""
    tables = weights.flatten(VarianceSchedule(config.diffusion_steps, config.beta_first, config.beta_last))
    known = {f"schedule.{path}": value for path, value in tables.items()}
    return drawn(lambda: Denoiser(config, rngs=nnx.Rngs(0), **kinds), known=known)


def llama_config(sizes: Sizes) -> LlamaConfig:
    """Of the core."""
    return LlamaConfig.from_source(sizes.llm)


def empatheia_config(sizes: Sizes) -> EmpatheiaConfig:
    """The whole around the core, at the sizes of the paper or small ones."""
    hidden = sizes.llm["hidden_size"]
    width, heads, mlp, layers = (32, 2, 64, 1) if sizes.tiny else (512, 4, 2048, 4)
    content, style = (16, 16) if sizes.tiny else (512, 256)
    block = BlockConfig(width=width, heads=heads, mlp=mlp, layers=layers)
    return EmpatheiaConfig(
        speech_features=sizes.hubert.width,
        video_features=sizes.clip.width,
        reply_tokens=16 if sizes.tiny else 128,
        synchronizer=SynchronizerConfig(
            hidden=hidden,
            block=block,
            latent=content,
            speech_channels=sizes.tts.hidden_dim,
            video_window=sizes.denoiser.window_slots,
            video_channels=sizes.denoiser.d_model,
            kind="vae",
            source_positions=True,
        ),
        disentangler=DisentanglerConfig(
            hidden=hidden,
            block=block,
            latent=style,
            speech_style=2 * sizes.tts.style_dim,
            video_style=sizes.denoiser.d_model,
            sharing="all",
            inputs="own",
            fuse="linear",
            kind="vae",
        ),
    )
