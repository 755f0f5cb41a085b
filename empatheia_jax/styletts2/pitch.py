"""StyleTTS 2's pitch extractor (JDC): log-mel → F0 in Hz per frame.

Kum and Nam 2019, "Joint Detection and Classification of Singing Voice Melody", with one regression output; after
yl4579/StyleTTS2, `Utils/JDC/model.py`. Its detector branch is part of the checkpoint and computes nothing that is used.
Axes: B batch, T frames, M mel bands (80, halved by every block), C channels.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from empatheia_jax.styletts2.activations import leaky_relu
from empatheia_jax.styletts2.layers2d import BatchNorm, Conv2d
from empatheia_jax.styletts2.linear import linear
from empatheia_jax.styletts2.recurrent import BiLSTM

WIDTHS = (64, 128, 192, 256)
HIDDEN = 256
SLOPE = 0.01


def max_pool_mel(x: Float[Array, "B T M C"], size: int) -> Float[Array, "B T M/size C"]:
    """Maximum over groups of `size` bands; a rest is dropped."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, size, 1), (1, 1, size, 1), "VALID")


class PitchBlock(nnx.Module):
    """Norm → LeakyReLU → pool by 2, then two convolutions beside a 1 x 1 shortcut."""

    def __init__(self, features_in: int, features_out: int, **kinds):
        plain = {"padding": (1, 1), "use_bias": False, **kinds}
        self.pre_norm = BatchNorm(features_in, **kinds)
        self.conv1 = Conv2d(features_in, features_out, (3, 3), **plain)
        self.norm = BatchNorm(features_out, **kinds)
        self.conv2 = Conv2d(features_out, features_out, (3, 3), **plain)
        self.shortcut = Conv2d(features_in, features_out, (1, 1), use_bias=False, **kinds)

    def __call__(self, x: Float[Array, "B T M I"]) -> Float[Array, "B T M/2 O"]:
        x = max_pool_mel(leaky_relu(self.pre_norm(x), SLOPE), 2)
        return self.conv2(leaky_relu(self.norm(self.conv1(x)), SLOPE)) + self.shortcut(x)


class PitchExtractor(nnx.Module):
    """Convolutions over (time, mel), then a recurrent layer over time and a linear map; the output is an absolute value."""

    def __init__(self, *, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32, param_dtype: DTypeLike = jnp.float32):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        plain = {"padding": (1, 1), "use_bias": False, **kinds}
        self.stem = Conv2d(1, WIDTHS[0], (3, 3), **plain)
        self.stem_norm = BatchNorm(WIDTHS[0], **kinds)
        self.stem_out = Conv2d(WIDTHS[0], WIDTHS[0], (3, 3), **plain)
        self.blocks = nnx.List(PitchBlock(a, b, **kinds) for a, b in zip(WIDTHS, WIDTHS[1:]))
        self.pool_norm = BatchNorm(WIDTHS[-1], **kinds)
        self.classifier_lstm = BiLSTM(2 * WIDTHS[-1], HIDDEN, **kinds)
        self.classifier = linear(2 * HIDDEN, 1, **kinds)
        # Kept so that a checkpoint goes through unchanged.
        self.detector_conv = Conv2d(sum(WIDTHS), HIDDEN, (1, 1), use_bias=False, **kinds)
        self.detector_norm = BatchNorm(HIDDEN, **kinds)
        self.detector_lstm = BiLSTM(2 * WIDTHS[-1], HIDDEN, **kinds)
        self.detector = linear(2 * HIDDEN, 2, **kinds)
        self.dtype = dtype

    def feature(self, mel: Float[Array, "B T 80"]) -> Float[Array, "B T 10 256"]:
        """What training compares between real and made speech."""
        x = leaky_relu(self.stem_norm(self.stem(mel.astype(self.dtype)[..., None])), SLOPE)
        x = self.stem_out(x)
        for block in self.blocks:
            x = block(x)
        return leaky_relu(self.pool_norm(x), SLOPE)

    def pool(self, feature: Float[Array, "B T 10 256"]) -> Float[Array, "B T 2 256"]:
        return max_pool_mel(feature, 4)

    def pitch(self, pooled: Float[Array, "B T 2 256"]) -> Float[Array, "B T"]:
        flat = jnp.swapaxes(pooled, 2, 3).reshape(*pooled.shape[:2], -1)  # channel-major: index 2 c + band
        return jnp.abs(self.classifier(self.classifier_lstm(flat))[..., 0])

    def __call__(self, mel: Float[Array, "B T 80"]) -> Float[Array, "B T"]:
        """Normalised log-mel → F0."""
        return self.pitch(self.pool(self.feature(mel)))
