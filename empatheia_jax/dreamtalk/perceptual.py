"""What a picture is compared by: features of VGG-19, or weight-free ones, at several scales.

The perceptual loss is Johnson et al. 2016's; layers, scales and the Gram term follow PIRenderer (Ren et al. 2021).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.dreamtalk.renderer_layers import average_pool

Features = Callable[[Float[Array, "B H W 3"]], Sequence[Array]]  # image in [-1, 1] → feature maps (B, h, w, C)

KIND = "vgg19"
_IMAGENET_MEAN = np.asarray([0.485, 0.456, 0.406])
_IMAGENET_STD = np.asarray([0.229, 0.224, 0.225])


@dataclasses.dataclass(frozen=True)
class Vgg19Config:
    """Blocks of 3 × 3 convolutions with a pooling between them: how many in each, and how wide they are."""

    convolutions: tuple[int, ...]
    widths: tuple[int, ...]


VGG19 = Vgg19Config((2, 2, 4, 4, 1), (64, 128, 256, 512, 512))  # of the fifth block only relu5_1 is needed


class Vgg19(nnx.Module):
    """VGG-19 (Simonyan & Zisserman 2015) up to relu5_1; returns relu1_1 … relu5_1.

    Weights come from torchvision's `vgg19` through `converters.tables.dreamtalk.vgg19`.
    """

    def __init__(self, config: Vgg19Config = VGG19, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        blocks, width = [], 3
        for count, out in zip(config.convolutions, config.widths, strict=True):
            convs = []
            for _ in range(count):
                convs.append(nnx.Conv(width, out, (3, 3), padding=1, rngs=rngs, dtype=dtype, param_dtype=param_dtype))
                width = out
            blocks.append(nnx.List(convs))
        self.blocks = nnx.List(blocks)

    def __call__(self, image: Float[Array, "B H W 3"]) -> list[Array]:
        x = ((image + 1) / 2 - _IMAGENET_MEAN.astype(image.dtype)) / _IMAGENET_STD.astype(image.dtype)
        features = []
        for index, block in enumerate(self.blocks):
            if index:
                batch, height, width, channels = x.shape
                x = x[:, : height // 2 * 2, : width // 2 * 2]
                x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
            for place, conv in enumerate(block):
                x = jax.nn.relu(conv(x))
                if place == 0:
                    features.append(x)
        return features


def edge_features(image: Float[Array, "B H W 3"]) -> list[Array]:
    """Weight-free features: the picture and its horizontal and vertical differences."""
    return [image, image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]]


def gram(x: Float[Array, "B H W C"]) -> Float[Array, "B C C"]:
    """Channel products averaged over positions and divided by the number of channels."""
    _, height, width, channels = x.shape
    return jnp.einsum("bhwc,bhwd->bcd", x, x) / (height * width * channels)


def perceptual_distance(
    features: Features,
    image: Float[Array, "B H W 3"],
    target: Float[Array, "B H W 3"],
    *,
    scales: int,
    style_weight: float = 0.0,
) -> Float[Array, " B"]:
    """Σ over scales and layers of mean |φ(image) − φ(target)|, plus `style_weight` times the same of Gram matrices.

    Each scale halves the picture; the Gram term is taken at full size only. No gradient passes to the target.
    """
    target = jax.lax.stop_gradient(target)
    total = jnp.zeros(image.shape[0], image.dtype)
    for scale in range(scales):
        if scale:
            image, target = average_pool(image), average_pool(target)
        for ours, theirs in zip(features(image), features(target), strict=True):
            total += jnp.abs(ours - theirs).mean(axis=(1, 2, 3))
            if style_weight and scale == 0:
                total += style_weight * jnp.abs(gram(ours) - gram(theirs)).mean(axis=(1, 2))
    return total
