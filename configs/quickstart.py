"""The whole schedule on a laptop: SmolLM2-135M, small encoders, Kokoro's voice, a drawn face, and the toy set."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from empatheia_jax.errors import UserError

EVERY_MATRIX = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
"""A small core has more to learn than its attention can hold: on the validation split better than attention's four alone."""


def get_config(variant: str = "") -> ConfigDict:
    """A few minutes on 2 cores, from the starter; `:bare` begins from the bare language model."""
    if variant not in ("", "bare"):
        raise UserError(
            f"configs/quickstart.py:{variant} is unknown; expected configs/quickstart.py or configs/quickstart.py:bare"
        )
    config = common.base()
    config.name = "quickstart"
    config.start = "" if variant == "bare" else "starter"
    config.networks.update(
        {
            "llm": "smollm2-135m-instruct",
            "speech_encoder": "toy-hubert",
            "video_encoder": "toy-clip",
            "tts": "kokoro",
            "talking_head": "drawn-face",
            "faces": "drawn",
            "dtype": "float32",  # no fast bfloat16 on CPUs
            "remat": "nothing",
        }
    )
    config.bridge.update(
        {"width": 128, "heads": 4, "mlp": 256, "layers": 2, "content_latent": 128, "style_latent": 128}
    )
    config.data.update(
        {
            "path": "data/toy",
            "max_length": 384,
            "answer_length": 160,
            "reply_tokens": 64,
            "phonemes": 192,
            "frames": 250,
        }
    )
    config.data.update({"utterances": 1, "instruction": "short", "chat_template": "own", "workers": 0})
    config.lora.update({"rank": 16, "dropout": 0.05, "targets": EVERY_MATRIX})
    # From the starter a few careful steps are enough to see the schedule at work, and `make demo` has to end soon. From the bare
    # language model (`configs/quickstart.py:bare`) the new rows have everything to learn and the core little: at the rows' rate
    # it would unlearn how people talk.
    bare = variant == "bare"
    config.coe = common.stage(steps=35 if bare else 6, batch=4, accumulation=1, learning_rate=2e-3 if bare else 2e-4)
    config.coe.group_rates = "core.*=0.35"
    config.content = common.stage(steps=20 if bare else 15, batch=4, accumulation=1, learning_rate=5e-4)
    config.style = common.stage(steps=20 if bare else 16, batch=8 if bare else 4, accumulation=1, learning_rate=2e-4)
    config.joint = common.stage(steps=6 if bare else 4, batch=4, accumulation=1, learning_rate=1e-4 if bare else 3e-5)
    for stage in config.schedule.split(","):
        config[stage].save_every = 10
        config[stage].eval_every = config[stage].get_oneway_ref("steps")  # once, at the end
    config.decoding.update({"max_new_tokens": 200, "step_tokens": 32, "response_tokens": 64, "no_repeat_ngram": 4})
    # Minutes of training teach the bridge styles, not yet the sounds of words: the generators' own encoding of the reply leads.
    config.decoding.update({"content_blend": 0.1, "style_blend": 0.3})
    config.log_every = 5 if bare else 2  # a line is the mean of so many small, hence noisy, batches
    return config
