"""Sizes of the released networks, so that a run can be planned before anything is downloaded.

Only the fields of each release's own configuration that say something about shapes; weights come with their full one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from empatheia_jax.assemble import Widths

CORES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vicuna-7b-v1.5": (
        "llama",
        {
            "model_type": "llama",
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "hidden_act": "silu",
            "rope_scaling": None,
            "tie_word_embeddings": False,
        },
    ),
    "chatglm3-6b": (
        "chatglm",
        {
            "model_type": "chatglm",
            "num_layers": 28,
            "padded_vocab_size": 65024,
            "hidden_size": 4096,
            "ffn_hidden_size": 13696,
            "kv_channels": 128,
            "num_attention_heads": 32,
            "seq_length": 8192,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "add_bias_linear": False,
            "add_qkv_bias": True,
            "rmsnorm": True,
            "post_layer_norm": True,
            "layernorm_epsilon": 1e-5,
            "original_rope": True,
            "tie_word_embeddings": False,
        },
    ),
    "flan-t5-xxl": (
        "t5",
        {
            "model_type": "t5",
            "vocab_size": 32128,
            "d_model": 4096,
            "d_kv": 64,
            "d_ff": 10240,
            "num_layers": 24,
            "num_decoder_layers": 24,
            "num_heads": 64,
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "layer_norm_epsilon": 1e-6,
            "feed_forward_proj": "gated-gelu",
            "is_encoder_decoder": True,
            "tie_word_embeddings": False,
            "decoder_start_token_id": 0,
        },
    ),
}
"""Name of a weights folder → kind and configuration of the language model that it will hold."""

WIDTHS = Widths(
    speech=1024, video=1024, speech_content=512, speech_style=256, video_window=11, video_content=256, video_style=256
)
"""The widths of HuBERT-large, CLIP-L/14-336, StyleTTS2 and DreamTalk."""
DENOISER = {"window_radius": 5, "d_model": 256, "audio_rows_per_frame": 2, "audio_feature_dim": 1024}
"""Sizes of DreamTalk's denoiser that decide the target of C^v."""


STYLETTS2_TEXT: dict[str, Any] = {"symbols": 178, "features": 512, "width": 5, "depth": 3}
"""StyleTTS2's text encoder (LibriTTS configuration)."""
STYLETTS2_STYLE: dict[str, Any] = {"first": 64, "widest": 512, "style_dim": 128}
"""StyleTTS2's acoustic and prosodic style encoders."""
