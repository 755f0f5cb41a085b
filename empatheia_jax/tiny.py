"""Tiny networks with made-up weights, for `configs/debug.py` and tests: the real modules at toy size."""

from __future__ import annotations

from empatheia_jax.core.llama_config import LlamaConfig

BYTES = 256
LLM = LlamaConfig(
    vocab_size=BYTES + 2,  # every byte, begin and end of a message
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
WIDTHS = {
    "speech": 24,
    "video": 24,
    "speech_content": 32,
    "speech_style": 16,
    "video_window": 3,
    "video_content": 16,
    "video_style": 16,
}
"""Feature widths and target shapes of the tiny encoders and generators (`assemble.Widths`)."""
