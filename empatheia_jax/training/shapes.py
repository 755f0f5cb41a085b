"""Shapes of what a stage trains on, for steps that are traced or compiled before any batch exists."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from empatheia_jax.assemble import Widths
from empatheia_jax.batch import Batch
from empatheia_jax.settings import Experiment


def abstract_batch(config: Experiment, stage: str, size: int, sizes: Widths) -> Batch:
    """The largest batch that the data pipeline makes for a stage: shapes and dtypes."""
    data = config.data
    length, needs = data.max_length, config.losses(stage)

    def array(*shape, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((size, *shape), dtype)

    wide: dict[str, Any] = {}
    for name in data.modalities:
        wide[name] = array(data.utterances * data.slots, getattr(sizes, name), dtype=jnp.float32)
    if "ccl" in needs:
        wide["speech_content"] = array(data.phonemes, sizes.speech_content, dtype=jnp.float32)
        wide["speech_content_lengths"] = array()
        wide["video_content"] = array(data.frames, sizes.video_window, sizes.video_content, dtype=jnp.float32)
        wide["video_content_lengths"] = array()
    if "sac" in needs:
        wide["speech_style"] = array(sizes.speech_style, dtype=jnp.float32)
        wide["video_style"] = array(sizes.video_style, dtype=jnp.float32)
    if config.objective.emotion_weight != 1:
        wide["emotion_mask"] = array(length, dtype=jnp.bool_)
    labels = {name: array() for name in ("emotion32", "emotion7", "age", "gender", "tone", "example_id", "lengths")}
    return Batch(
        tokens=array(length),
        loss_mask=array(length, dtype=jnp.bool_),
        reply_mask=array(length, dtype=jnp.bool_),
        weight=array(dtype=jnp.float32),
        **labels,
        **wide,
    )
