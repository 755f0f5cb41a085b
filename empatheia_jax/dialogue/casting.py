"""Who speaks a reply, and how: emotion, expression, voice and face, decided once and kept for the whole reply."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from empatheia_jax.bridge.style_disentangler import Style
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.dialogue.job import Job
from empatheia_jax.dialogue.performance import Performance, Role
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Blend
from empatheia_jax.dialogue.writer import Written

PIPELINE_CLIP = "neutral"
"""The fixed style clip of the pipeline."""


def understand(job: Job, written: Written) -> Style:
    """Reads the user's emotion out of an answer and its states, and decides what the reply shows; its style."""
    responder = job.responder
    style = responder.style(responder.signals(written))
    decide(job, style.logits)
    return style


def decide(job: Job, logits: Mapping[str, Any]) -> None:
    """The user's emotion, as the answer says and as `logits` of the style disentangler say, and what the reply shows.

    What is shown stays what it was once the reply is spoken.
    """
    responder = job.responder
    job.emotion = responder.emotion(job.answer, logits)
    if job.performance is not None:
        return
    if job.request.emotion is not None:
        job.shown = (job.request.emotion, 1.0)
    elif job.request.pipeline:
        job.shown = (responder.style_clip or PIPELINE_CLIP, 1.0)
    else:
        job.shown = responder.shown(job.emotion)


def cast(job: Job, written: Written | None, *, draws: bool) -> Performance:
    """The performance of a reply, begun with its first piece.

    Args:
        job: the reply.
        written: the states of the first piece; None for a text that is given: the profile's own voice and face alone.
        draws: as in `Performance`.
    """
    responder, request = job.responder, job.request
    if written is None:
        speech_style: Any = np.zeros((), np.float32)
        video_style: Any = speech_style
    else:
        style = understand(job, written)
        speech_style, video_style = style.speech[0], style.video[0]
    listener, mix = job.listener or DEFAULT_LISTENER, request.mix
    people, shows = [(listener, 1.0)], [(job.shown, 1.0)]
    if mix is not None and written is not None:
        style = _mixed(job, written)
        speech_style, video_style = style.speech[0], style.video[0]
        if mix.profile is not None:
            people = [(listener, 1 - mix.profile_share), (mix.profile, mix.profile_share)]
        if mix.emotion is not None and request.emotion is None:
            other = responder.shown(responder.emotion(_felt(job), {}))
            shows = [(job.shown, 1 - mix.emotion_share), (other, mix.emotion_share)]
    role = Role(
        people=tuple(people),
        shows=tuple(shows),
        speech_style=speech_style,
        video_style=video_style,
        blend=Blend.of(0.0, 0.0) if request.pipeline or written is None else responder.blend,
        seed=job.seed,
    )
    return Performance(responder, job.generation, role, draws=draws)


def _felt(job: Job) -> Answer:
    """The answer as it would be to the other emotion of a mix."""
    mix = job.request.mix
    if mix is None or mix.emotion is None:
        return job.answer
    return dataclasses.replace(job.answer, speaker_emotion=labels.emotion32(mix.emotion, strict=True))


def _mixed(job: Job, written: Written) -> Style:
    """The style of the reply mixed with that of the same words by another person, or to another emotion."""
    responder, mix = job.responder, job.request.mix
    assert mix is not None
    question = dataclasses.replace(job.question, listener=mix.profile or job.listener)
    return responder.mixed_style(
        responder.signals(written),
        responder.writer.reread(question, _felt(job)),
        0.0 if mix.emotion is None else mix.emotion_share,
        0.0 if mix.profile is None else mix.profile_share,
    )
