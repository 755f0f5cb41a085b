"""The typed batch: what the data pipeline hands to the training steps and the reply."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Field = TypeVar("Field")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch of dialogues, each up to one listener turn (its reply). All shapes are static; padding is zero.

    Letters: B examples, T tokens, U user utterances that carry media, S = 24 slots per utterance, R reply tokens,
    P phonemes, F video frames at 25 fps. `None` marks a field that the stage at hand does not use.

    Text
      tokens      (B, T) int32   prompt, five CoE steps, reply, `</response>`, 16 + 16 signal tokens, padding
      loss_mask   (B, T) bool    True where the token is to be predicted (CoE steps to the last signal token)
      reply_mask  (B, T) bool    True at the reply's own tokens: the positions of r^t
      emotion_mask (B, T) bool   True at the tokens of the emotion's label; None where all tokens count alike
      lengths     (B,)   int32   valid tokens per example
      segments    (B, T) int32   packed text-only batches: 1, 2, … per example inside a row, 0 = padding; else None
      positions   (B, T) int32   packed batches: position inside the segment; else None
    Media of the user's utterances, in the order of their `<Aud>` / `<Vid>` runs in `tokens`
      speech      (B, U * S, C_speech) float   pooled encoder features
      video       (B, U * S, C_video)  float
    Targets of the bridge
      speech_content (B, P, C) float,  speech_content_lengths (B,) int32       frames of the StyleTTS2 text encoder (512), and
                                                                               its PL-BERT states (512) where both are learnt
      video_content  (B, F, 11, D) float, video_content_lengths (B,) int32     DreamTalk content encoder
      speech_style   (B, 256) float     acoustic 128 + prosodic 128
      video_style    (B, D_style) float DreamTalk's style code
    Labels (-1 = unknown, left out of the loss)
      emotion32, emotion7, age, gender, tone   (B,) int32; emotion of the speaker, profile of the listener
    weight        (B,) float32  1 = a real example, 0 = padding of the last evaluation batch
    example_id    (B,) int64    index in the data set, for logs and tests
    """

    tokens: Int[Array, "B T"]
    loss_mask: Bool[Array, "B T"]
    reply_mask: Bool[Array, "B T"]
    lengths: Int[Array, " B"]
    weight: Float[Array, " B"]
    emotion32: Int[Array, " B"]
    emotion7: Int[Array, " B"]
    age: Int[Array, " B"]
    gender: Int[Array, " B"]
    tone: Int[Array, " B"]
    example_id: Int[Array, " B"]
    speech: Float[Array, "B US C"] | None = None
    video: Float[Array, "B US C"] | None = None
    speech_content: Float[Array, "B P C"] | None = None
    speech_content_lengths: Int[Array, " B"] | None = None
    video_content: Float[Array, "B F W D"] | None = None
    video_content_lengths: Int[Array, " B"] | None = None
    speech_style: Float[Array, "B 256"] | None = None
    video_style: Float[Array, "B D"] | None = None
    segments: Int[Array, "B T"] | None = None
    positions: Int[Array, "B T"] | None = None
    emotion_mask: Bool[Array, "B T"] | None = None

    @property
    def size(self) -> int:
        """Number of rows, padding included."""
        return self.tokens.shape[0]

    def numpy(self) -> Batch:
        """The same batch as NumPy arrays on the host."""
        return jax.tree.map(np.asarray, self)


def required(field: Field | None, name: str) -> Field:
    """A field of a batch that a loss needs. Raises ValueError where the batch was built without it."""
    if field is None:
        raise ValueError(f"the batch was built without {name}")
    return field
