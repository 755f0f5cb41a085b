"""A face that we draw ourselves: people, expressions and speaking mouths with exact ground truth."""

from empatheia_jax.dreamtalk.drawn_face.drawing import draw, draw_batches, portrait
from empatheia_jax.dreamtalk.drawn_face.expressions import EMOTIONS, perform, template
from empatheia_jax.dreamtalk.drawn_face.identity import Identity, sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, FULL, MOTION, coefficients

__all__ = [
    "ACTIONS", "EMOTIONS", "FULL", "MOTION", "Identity", "coefficients", "draw", "draw_batches",
    "perform", "portrait", "sample_identity", "template",
]  # fmt: skip
