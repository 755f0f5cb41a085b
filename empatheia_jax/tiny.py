"""Tiny networks with made-up weights, for `configs/debug.py` and tests: the real modules at toy size."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import tokenizers
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.conversation.labels import AGES, GENDERS, TONES
from empatheia_jax.core.chatglm import ChatGLMConfig
from empatheia_jax.core.llama import Llama
from empatheia_jax.core.llama_config import LlamaConfig
from empatheia_jax.core.t5_config import T5Config
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.dreamtalk.config import DenoiserConfig, RendererConfig
from empatheia_jax.dreamtalk.diffusion import VarianceSchedule
from empatheia_jax.dreamtalk.model import DreamTalk, DreamTalkConfig
from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig
from empatheia_jax.encoders.released import HUBERT_LARGE
from empatheia_jax.encoders.towers import SpeechTower, Towers, VideoTower
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
from empatheia_jax.styletts2.config import SYNTHESIS, BertConfig, DecoderConfig, StyleTTS2Config
from empatheia_jax.styletts2.model import StyleTTS2
from empatheia_jax.styletts2.speaker import Speaker
from empatheia_jax.styletts2.symbols import STYLETTS2
from empatheia_jax.styletts2.voices import VoiceTable, for_profile

M = TypeVar("M", bound=nnx.Module)

BYTES = 256
LLM = LlamaConfig(
    vocab_size=BYTES,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position_embeddings=2048,
    rms_norm_eps=1e-5,
    rope_theta=10_000.0,
    rope_scaling=None,
    tie_word_embeddings=True,
    qkv_bias=False,
    output_bias=False,
    mlp_bias=False,
    qk_norm=False,
    sliding_window=None,
)
CHATGLM = ChatGLMConfig(
    vocab_size=BYTES,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position_embeddings=2048,
    rms_norm_eps=1e-5,
    rope_theta=10_000.0,
    qkv_bias=True,
)
FLAN_T5 = T5Config(
    vocab_size=BYTES,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_decoder_layers=2,
    num_heads=4,
    head_dim=8,
    relative_buckets=8,
    relative_longest=32,
    rms_norm_eps=1e-6,
    decoder_start_token_id=0,
)
CORES = {"debug": ("llama", LLM), "debug-chatglm3": ("chatglm", CHATGLM), "debug-flan-t5": ("t5", FLAN_T5)}
"""`config.networks.llm` → kind (`assemble.CORES`) and sizes."""
HUBERT = dataclasses.replace(
    HUBERT_LARGE,
    width=24,
    layers=1,
    heads=2,
    mlp=32,
    conv_channels=(8,) * 7,
    position_width=8,
    position_groups=2,
)
CLIP = ClipVisionConfig(
    image=32, patch=8, channels=3, width=24, layers=2, heads=2, mlp=32, activation="quick_gelu", eps=1e-5
)
STYLE_TTS2 = StyleTTS2Config(
    networks=SYNTHESIS,
    multispeaker=True,
    hidden_dim=32,
    style_dim=128,
    n_layer=1,
    text_kernel=5,
    n_token=178,
    max_dur=4,  # untrained durations are half of it: short sounds
    n_mels=80,
    dim_in=16,
    max_conv_dim=32,
    weight_norm=False,
    decoder=DecoderConfig(
        type="istftnet",
        upsample_rates=(10, 6),
        upsample_kernel_sizes=(20, 12),
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1,),),
        upsample_initial_channel=16,
        n_fft=20,
        hop=5,
    ),
    bert=BertConfig(
        vocab_size=178,
        embedding_size=8,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=512,
        num_hidden_layers=1,
        layer_norm_eps=1e-12,
        pooler=False,
    ),
    diffusion=None,
    slm=None,
)
DREAMTALK = DreamTalkConfig(
    speech=None,
    denoiser=DenoiserConfig(
        d_model=16,
        num_heads=2,
        feedforward_dim=32,
        content_encoder_layers=1,
        style_encoder_layers=1,
        decoder_layers=1,
        audio_feature_dim=20,
        audio_rows_per_frame=2,
        window_radius=1,
        face3d_dim=64,
        style_max_len=128,
        style_pooling="self_attention_pooling",
        upper_face_indices=tuple(range(32)),
        lower_face_indices=tuple(range(32, 64)),
        dropout=0.0,
        layer_norm_eps=1e-5,
        dynamic_experts=None,
        dynamic_ratio=None,
        dynamic_temperature=None,
        diffusion_steps=10,
        beta_first=1e-4,
        beta_last=0.02,
    ),
    renderer=RendererConfig(
        coefficient_dim=73,
        descriptor_dim=16,
        mapping_layers=1,
        image_size=32,
        image_channels=3,
        max_channels=16,
        warp_base_channels=8,
        warp_encoder_layers=2,
        warp_decoder_layers=2,
        edit_base_channels=8,
        edit_layers=2,
        edit_residual_blocks=1,
        adain_hidden=16,
        leaky_relu_slope=0.1,
        norm_eps=1e-5,
        window_radius=6,
        unused_residual_convs=False,
    ),
    rest_pose=(0.0,) * 9,
)
WIDTHS = {
    "speech": HUBERT.width,
    "video": CLIP.width,
    "speech_content": STYLE_TTS2.hidden_dim,
    "speech_style": 2 * STYLE_TTS2.style_dim,
    "video_window": DREAMTALK.denoiser.window_slots,
    "video_content": DREAMTALK.denoiser.d_model,
    "video_style": DREAMTALK.denoiser.d_model,
}
"""Feature widths and target shapes of the tiny encoders and generators (`assemble.Widths`)."""


def made_up(construct: Callable[[], M], seed: int = 0) -> M:
    """A module with weights drawn by NumPy: compiling the initialisers of a whole network takes longer than running it.

    Matrices are scaled by their fan-in, norms' scales are one, biases and LoRA's B zero.
    """
    random = np.random.default_rng(seed)

    def draw(path: str, leaf) -> np.ndarray:
        name = path.rsplit(".", 1)[-1]
        if not np.issubdtype(leaf.dtype, np.floating) or name in ("b", "bias"):
            return np.zeros(leaf.shape, leaf.dtype)
        if name.startswith(("scale", "alpha", "g")) and leaf.ndim < 3:
            return np.ones(leaf.shape, leaf.dtype)
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 4
        return (0.5 * random.standard_normal(leaf.shape) / fan_in**0.5).astype(leaf.dtype)

    return weights.materialize(construct, lambda abstract: {path: draw(path, leaf) for path, leaf in abstract.items()})


def llm(**options) -> Llama:
    """The language model; `options` as of its constructor."""
    return made_up(lambda: Llama(LLM, rngs=nnx.Rngs(0), **options))


def tokenizer(words: Sequence[str] = ()) -> Tokenizer:
    """One token per byte, and the added ones."""
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocab={letter: k for k, letter in enumerate(sorted(alphabet))}, merges=[])
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    return Tokenizer(backend, vocab_size=BYTES, words=words)


def speech_tower() -> SpeechTower:
    """The speech encoder."""
    return SpeechTower(made_up(lambda: Wav2Vec2(HUBERT, rngs=nnx.Rngs(0))))


def video_tower(layer: int = -2, pooling: str = "patches") -> VideoTower:
    """The video encoder."""
    values = {"crop_size": CLIP.image, "size": CLIP.image, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    preprocess = ClipPreprocessor.from_source(values)
    clip = made_up(lambda: ClipVision(CLIP, rngs=nnx.Rngs(0)))
    return VideoTower(clip, preprocess, layer=layer, pooling=pooling)


def towers() -> Towers:
    """Both encoders."""
    return Towers(speech_tower(), video_tower())


def speaker() -> Speaker:
    """A speech generator with a random style for each voice."""
    random = np.random.default_rng(0)
    profiles = itertools.product(AGES, GENDERS, TONES)
    names = sorted({name for profile in profiles for name, _ in for_profile(*profile).mix})
    tables = {name: random.standard_normal((8, WIDTHS["speech_style"])).astype(np.float32) for name in names}
    return Speaker(made_up(lambda: StyleTTS2(STYLE_TTS2, rngs=nnx.Rngs(0))), STYLETTS2, VoiceTable(tables))


def animator() -> Animator:
    """A talking head of 32 × 32 pixels."""
    model, config = made_up(lambda: DreamTalk(DREAMTALK, rngs=nnx.Rngs(0))), DREAMTALK.denoiser
    # The tables of the diffusion are no weights: drawn ones give a motion that is not a number.
    model.denoiser.schedule = VarianceSchedule(config.diffusion_steps, config.beta_first, config.beta_last)
    return Animator(model)
