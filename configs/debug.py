"""Tiny networks with made-up weights on made-up features: all four stages and a reply within a minute on 2 cores.

Every network is the real one at toy size. What it says is noise; that it runs is the point.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    """The whole schedule, a few steps a stage."""
    config = common.base()
    config.name = "debug"
    for network in ("llm", "speech_encoder", "video_encoder", "tts", "talking_head"):
        config.networks[network] = "debug"
    config.networks.faces = "drawn"
    config.networks.dtype = "float32"
    config.networks.remat = "nothing"
    config.bridge.update({"width": 32, "heads": 2, "mlp": 64, "layers": 1, "content_latent": 16, "style_latent": 16})
    config.data.update(
        {"path": "debug", "max_length": 1024, "answer_length": 512, "reply_tokens": 48, "phonemes": 64, "frames": 50}
    )
    config.data.update({"utterances": 2, "instruction": "short", "workers": 0})
    config.lora.dropout = 0.0
    for stage in config.schedule.split(","):
        config[stage].update({"steps": 6, "batch": 4, "accumulation": 2, "learning_rate": 2e-3, "warmup": 1})
        config[stage].update({"save_every": 2, "eval_every": 0})
    config.decoding.update({"max_new_tokens": 48, "step_tokens": 4, "response_tokens": 24})
    config.decoding.temperature = 1.0  # greedy, it would repeat one byte
    config.log_every = 1
    # A few steps of tiny networks: compiling them takes longer than running them.
    config.compiler_options = "xla_backend_optimization_level=0,xla_llvm_disable_expensive_passes=true"
    return config
