"""The vision tower of CLIP (Radford et al., 2021, arXiv:2103.00020): an image to one feature row per patch.

Axis letters: B batch, N patches, T = N + 1 (class token first), D width, p patch size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from empatheia_jax.encoders.source_config import read_fields
from empatheia_jax.encoders.transformer import ACTIVATIONS, Layer, TransformerConfig, run
from empatheia_jax.errors import UserError
from empatheia_jax.nn.linear import LayerNorm
from empatheia_jax.nn.parameters import parameter

_REQUIRED = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "num_channels",
    "hidden_act",
    "layer_norm_eps",
)
_IGNORED = frozenset(["attention_dropout", "dropout", "projection_dim"])


@dataclasses.dataclass(frozen=True)
class ClipVisionConfig:
    """Architecture of one network; every value comes from the released configuration.

    Attributes:
      image, patch, channels: side of the square image, side of a patch, colour channels.
      width, layers, heads, mlp: of the Transformer.
      activation: name in `transformer.ACTIVATIONS`.
      eps: of all norms.
    """

    image: int
    patch: int
    channels: int
    width: int
    layers: int
    heads: int
    mlp: int
    activation: str
    eps: float

    @classmethod
    def from_source(cls, source: Mapping[str, Any]) -> ClipVisionConfig:
        """From a released `config.json`, of the vision tower or of the whole CLIP.

        Raises: UserError for a field, or a value of one, that is not implemented.
        """
        if source.get("model_type") == "clip" and isinstance(source.get("vision_config"), Mapping):
            source = {"model_type": "clip_vision_model"} | dict(source["vision_config"])
        what = "a CLIP vision tower"
        fields = read_fields(source, what, _REQUIRED, {}, _IGNORED, ("clip_vision_model",))
        problems = []
        if fields["hidden_act"] not in ACTIVATIONS:
            problems.append(f"hidden_act is {fields['hidden_act']!r}, expected one of {sorted(ACTIVATIONS)}")
        if fields["image_size"] % fields["patch_size"]:
            problems.append("patch_size does not divide image_size")
        if fields["hidden_size"] % fields["num_attention_heads"]:
            problems.append("num_attention_heads does not divide hidden_size")
        if problems:
            raise UserError(f"the configuration of {what} is not implemented: {'; '.join(problems)}")
        return cls(
            image=fields["image_size"],
            patch=fields["patch_size"],
            channels=fields["num_channels"],
            width=fields["hidden_size"],
            layers=fields["num_hidden_layers"],
            heads=fields["num_attention_heads"],
            mlp=fields["intermediate_size"],
            activation=fields["hidden_act"],
            eps=fields["layer_norm_eps"],
        )

    @property
    def patches(self) -> int:
        """Patches N of an image."""
        return (self.image // self.patch) ** 2

    @property
    def transformer(self) -> TransformerConfig:
        """The Transformer's part."""
        return TransformerConfig(
            self.width, self.heads, self.mlp, self.layers, self.eps, self.activation, pre_norm=True
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClipVisionOutput:
    """`last` (B, T, D): the last layer, without the post-norm; `pooled` (B, D): post-norm of the class token; `hidden`
    (layers + 1, B, T, D) on request: after the pre-norm, then every layer.
    """

    last: Float[Array, "B T D"]
    pooled: Float[Array, "B D"]
    hidden: Float[Array, "L1 B T D"] | None


class ClipVision(nnx.Module):
    """The vision tower. Pixels come from `clip_image.ClipPreprocessor`."""

    def __init__(self, config: ClipVisionConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.config, self.dtype = config, dtype
        kinds: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        normal = jax.nn.initializers.normal(0.02)
        window = (config.patch, config.patch, config.channels, config.width)
        self.patch = parameter(rngs, normal, window, param_dtype, (None, None, None, "embed"))
        self.class_token = parameter(rngs, normal, (config.width,), param_dtype, ("embed",))
        self.positions = parameter(rngs, normal, (config.patches + 1, config.width), param_dtype, (None, "embed"))
        self.pre_norm = LayerNorm(config.width, config.eps, **kinds)
        self.layers = Layer(config.transformer, config.layers, **kinds)
        self.post_norm = LayerNorm(config.width, config.eps, **kinds)

    def embed(self, pixels: Float[Array, "B H W C"]) -> Float[Array, "B T D"]:
        """Patches mapped to the width, class token first, positions added."""
        config = self.config
        if pixels.shape[1:] != (config.image, config.image, config.channels):
            raise UserError(
                f"pixels have the shape {tuple(pixels.shape)}, expected (B, {config.image}, {config.image}, "
                f"{config.channels}); use ClipPreprocessor"
            )
        batch, side, p = pixels.shape[0], config.image // config.patch, config.patch
        x = pixels.astype(self.dtype).reshape(batch, side, p, side, p, config.channels)
        x = x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, side * side, -1)  # (B, N, p·p·C), as the kernel's rows
        x = x @ self.patch[...].astype(self.dtype).reshape(-1, config.width)
        first = jnp.broadcast_to(self.class_token[...].astype(self.dtype), (batch, 1, config.width))
        return jnp.concatenate([first, x], axis=1) + self.positions[...].astype(self.dtype)

    def __call__(
        self,
        pixels: Float[Array, "B H W C"],
        *,
        all_hidden: bool = False,
        scan: bool = True,
        remat: str = "nothing",
        implementation: str | None = None,
    ) -> ClipVisionOutput:
        """Encodes normalised pixels, channels last. `scan`, `remat`, `implementation`: see `nn.stack.run_layers` and
        `nn.attention.attention`.
        """
        x, hidden = run(
            self.layers,
            self.config.layers,
            self.pre_norm(self.embed(pixels)),
            all_hidden=all_hidden,
            scan=scan,
            remat=remat,
            implementation=implementation,
        )
        return ClipVisionOutput(x, self.post_norm(x[:, 0]), hidden)

    def patch_features(
        self, pixels: Float[Array, "B H W C"], *, layer: int = -2, implementation: str | None = None
    ) -> Float[Array, "B N D"]:
        """Rows of the patches after a layer, class token dropped; layer −2, the second-to-last, is LLaVA's choice.

        Layers after the one asked for are not run. `layer` counts as an index of `ClipVisionOutput.hidden`.
        """
        count = range(self.config.layers + 1)[layer]
        x = self.pre_norm(self.embed(pixels))
        if count:
            graph, state = nnx.split(self.layers)
            first = nnx.merge(graph, jax.tree.map(lambda leaf: leaf[:count], state))
            x, _ = run(first, count, x, implementation=implementation)
        return x[:, 1:]
