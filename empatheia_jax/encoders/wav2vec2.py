"""wav2vec 2.0 and HuBERT: speech at 16 kHz to one feature row per 320 samples.

One family (Baevski et al., 2020, arXiv:2006.11477; Hsu et al., 2021, arXiv:2106.07447) covers HuBERT base (group norm
on the first convolution, post-norm Transformer) and large (layer norm on every convolution, pre-norm Transformer), and
wav2vec 2.0 XLSR-53. Axis letters: B batch, S samples, T frames, C convolution channels, D width, K kernel taps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax.encoders.source_config import read_fields
from empatheia_jax.encoders.transformer import ACTIVATIONS, Layer, TransformerConfig, run
from empatheia_jax.errors import UserError
from empatheia_jax.nn.linear import LayerNorm, Linear
from empatheia_jax.nn.parameters import parameter

SAMPLE_RATE = 16_000
CONV_NORM_EPS = 1e-5  # of the convolutions' own norms, which the released code does not take from the configuration
WAVE_NORM_EPS = 1e-7

_REQUIRED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "feat_extract_norm",
    "feat_extract_activation",
    "hidden_act",
    "do_stable_layer_norm",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "layer_norm_eps",
)
_FIXED = {"feat_proj_layer_norm": True, "conv_pos_batch_norm": False, "add_adapter": False, "adapter_attn_dim": None}
# Dropout, masking of the training, contrastive loss, and heads of other tasks: none acts on features at inference.
_IGNORED = frozenset(
    """
    activation_dropout apply_spec_augment attention_dropout feat_extract_dropout feat_proj_dropout
    feat_quantizer_dropout final_dropout hidden_dropout hidden_dropout_prob layerdrop mask_channel_length
    mask_channel_min_space mask_channel_other mask_channel_prob mask_channel_selection mask_feature_length
    mask_feature_min_masks mask_feature_prob mask_time_length mask_time_min_masks mask_time_min_space
    mask_time_other mask_time_prob mask_time_selection ctc_loss_reduction ctc_zero_infinity classifier_proj_size
    contrastive_logits_temperature codevector_dim diversity_loss_weight num_codevector_groups
    num_codevectors_per_group num_negatives proj_codevector_dim use_weighted_layer_sum num_feat_extract_layers
    adapter_kernel_size adapter_stride num_adapter_layers output_hidden_size tdnn_dim tdnn_kernel tdnn_dilation
    xvector_output_dim do_normalize
    """.split()  # noqa: SIM905
)


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    """Architecture of one network; every value comes from the released configuration.

    Attributes:
      model_type: "hubert" or "wav2vec2" (they differ in nothing but the names of their tensors).
      width, layers, heads, mlp: of the Transformer.
      conv_channels, conv_widths, conv_strides, conv_bias: of the convolutions over the wave.
      conv_norm: "group" (per channel over time, on the first convolution only) or "layer" (over channels, on each).
      conv_activation, activation: names in `transformer.ACTIVATIONS`.
      pre_norm: the "stable" Transformer with norms before its sublayers and one at the end.
      position_width, position_groups: kernel taps and groups of the positional convolution.
      eps: of the Transformer's and the projection's norms.
      vocabulary: symbols of the CTC head, None without one.
    """

    model_type: str
    width: int
    layers: int
    heads: int
    mlp: int
    conv_channels: tuple[int, ...]
    conv_widths: tuple[int, ...]
    conv_strides: tuple[int, ...]
    conv_bias: bool
    conv_norm: str
    conv_activation: str
    activation: str
    pre_norm: bool
    position_width: int
    position_groups: int
    eps: float
    vocabulary: int | None

    @classmethod
    def from_source(cls, source: Mapping[str, Any]) -> Wav2Vec2Config:
        """From a released `config.json`; has a CTC head where `architectures` names a `…ForCTC`.

        Raises: UserError for a field, or a value of one, that is not implemented.
        """
        what = f"a {source.get('model_type', 'wav2vec2')} model"
        fields = read_fields(
            source, what, _REQUIRED, _FIXED, _IGNORED, ("hubert", "wav2vec2"), optional=("vocab_size",)
        )
        problems = []
        if fields["feat_extract_norm"] not in ("group", "layer"):
            problems.append(f"feat_extract_norm is {fields['feat_extract_norm']!r}, expected 'group' or 'layer'")
        for name in ("hidden_act", "feat_extract_activation"):
            if fields[name] not in ACTIVATIONS:
                problems.append(f"{name} is {fields[name]!r}, expected one of {sorted(ACTIVATIONS)}")
        if len({len(fields[name]) for name in ("conv_dim", "conv_kernel", "conv_stride")}) != 1:
            problems.append("conv_dim, conv_kernel and conv_stride differ in length")
        if fields["hidden_size"] % fields["num_attention_heads"]:
            problems.append("num_attention_heads does not divide hidden_size")
        if fields["hidden_size"] % fields["num_conv_pos_embedding_groups"]:
            problems.append("num_conv_pos_embedding_groups does not divide hidden_size")
        ctc = any(str(name).endswith("ForCTC") for name in source.get("architectures") or ())
        if ctc and "vocab_size" not in fields:
            problems.append("vocab_size is missing, and the model has a CTC head")
        if problems:
            raise UserError(f"the configuration of {what} is not implemented: {'; '.join(problems)}")
        return cls(
            model_type=source["model_type"],
            width=fields["hidden_size"],
            layers=fields["num_hidden_layers"],
            heads=fields["num_attention_heads"],
            mlp=fields["intermediate_size"],
            conv_channels=tuple(fields["conv_dim"]),
            conv_widths=tuple(fields["conv_kernel"]),
            conv_strides=tuple(fields["conv_stride"]),
            conv_bias=fields["conv_bias"],
            conv_norm=fields["feat_extract_norm"],
            conv_activation=fields["feat_extract_activation"],
            activation=fields["hidden_act"],
            pre_norm=fields["do_stable_layer_norm"],
            position_width=fields["num_conv_pos_embeddings"],
            position_groups=fields["num_conv_pos_embedding_groups"],
            eps=fields["layer_norm_eps"],
            vocabulary=fields["vocab_size"] if ctc else None,
        )

    @property
    def transformer(self) -> TransformerConfig:
        """The Transformer's part."""
        return TransformerConfig(
            self.width, self.heads, self.mlp, self.layers, self.eps, self.activation, self.pre_norm
        )

    @property
    def masks_padding(self) -> bool:
        """Whether the released model was trained with masked padding. Group-norm models were not: their statistics run
        over time, so padding changes their result whatever is masked; give them one utterance at a time.
        """
        return self.conv_norm == "layer"

    @property
    def hop(self) -> int:
        """Samples between two feature rows."""
        return int(np.prod(self.conv_strides))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Wav2Vec2Output:
    """`last` (B, T, D); `lengths` (B,) valid frames, None where no lengths were given; `hidden` (layers + 1, B, T, D)
    on
    request: the Transformer's input and every layer's output, without the final norm of a pre-norm model.
    """

    last: Float[Array, "B T D"]
    lengths: Int[Array, " B"] | None
    hidden: Float[Array, "L1 B T D"] | None


def normalize(waves: Float[Array, "B S"], lengths: Int[Array, " B"] | None = None) -> Float[Array, "B S"]:
    """Zero mean and unit variance per utterance over its own samples, `(x - mean) / sqrt(var + 1e-7)`; padding is
    zero.
    """
    valid = jnp.ones(waves.shape, bool) if lengths is None else jnp.arange(waves.shape[1]) < lengths[:, None]
    mean = jnp.mean(waves, axis=1, keepdims=True, where=valid)
    variance = jnp.mean(jnp.square(waves - mean), axis=1, keepdims=True, where=valid)
    return jnp.where(valid, (waves - mean) / jnp.sqrt(variance + WAVE_NORM_EPS), 0)


class Convolution(nnx.Module):
    """One strided convolution over time (no padding), its norm if it has one, and the activation."""

    def __init__(self, config: Wav2Vec2Config, index: int, *, rngs: nnx.Rngs, dtype, param_dtype):
        width, channels = config.conv_widths[index], config.conv_channels[index]
        inputs = config.conv_channels[index - 1] if index else 1
        self.stride, self.activation, self.dtype = config.conv_strides[index], config.conv_activation, dtype
        self.over_time = config.conv_norm == "group"
        init = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
        self.kernel = parameter(rngs, init, (width, inputs, channels), param_dtype, (None, None, "channels"))
        zeros = jax.nn.initializers.zeros
        self.bias = parameter(rngs, zeros, (channels,), param_dtype, ("channels",)) if config.conv_bias else None
        normed = index == 0 or not self.over_time
        self.norm = (
            LayerNorm(channels, CONV_NORM_EPS, rngs=rngs, dtype=dtype, param_dtype=param_dtype) if normed else None
        )

    def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B U C"]:
        x = strided_convolution(x.astype(self.dtype), self.kernel[...].astype(self.dtype), self.stride)
        if self.bias is not None:
            x = x + self.bias[...].astype(self.dtype)
        if self.norm is not None:
            x = self._norm_over_time(x, self.norm) if self.over_time else self.norm(x)
        return ACTIVATIONS[self.activation](x)

    def _norm_over_time(self, x: Float[Array, "B T C"], norm: LayerNorm) -> Float[Array, "B T C"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        wide = wide - jnp.mean(wide, axis=1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=1, keepdims=True) + CONV_NORM_EPS)
        scale, bias = (p[...].astype(wide.dtype) for p in (norm.scale, norm.bias))
        return (wide * scale + bias).astype(self.dtype)


def strided_convolution(
    x: Float[Array, "B T I"], kernel: Float[Array, "K I C"] | Float[np.ndarray, "K I C"], stride: int
) -> Float[Array, "B U C"]:
    """Convolution over time without padding: U = (T - K) // stride + 1 rows."""
    return jax.lax.conv_general_dilated(
        x, jnp.asarray(kernel), (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
    )


class PositionalConvolution(nnx.Module):
    """Grouped convolution over frames, weight-normalised per kernel tap: w[k] = scale[k] · v[k] / ‖v[k]‖.

    The norm runs over input and output channels of a tap. Frames are padded by half the kernel on both sides, and the
    last output of an even kernel is dropped.
    """

    def __init__(self, config: Wav2Vec2Config, *, rngs: nnx.Rngs, dtype, param_dtype):
        taps, width, groups = config.position_width, config.width, config.position_groups
        self.groups, self.activation, self.dtype = groups, config.conv_activation, dtype
        init = jax.nn.initializers.variance_scaling(4.0, "fan_in", "normal")
        zeros = jax.nn.initializers.zeros
        self.direction = parameter(rngs, init, (taps, width // groups, width), param_dtype, (None, None, "channels"))
        norm = jnp.sqrt(jnp.sum(jnp.square(self.direction[...]), axis=(1, 2)))
        self.scale = parameter(rngs, lambda *_: norm.astype(param_dtype), (taps,), param_dtype, (None,))
        self.bias = parameter(rngs, zeros, (width,), param_dtype, ("channels",))

    def kernel(self) -> Float[Array, "K I D"]:
        """The effective kernel."""
        v = self.direction[...]
        v = v.astype(jnp.promote_types(v.dtype, jnp.float32))
        norm = jnp.sqrt(jnp.sum(jnp.square(v), axis=(1, 2), keepdims=True))
        return (v * (self.scale[...].astype(v.dtype)[:, None, None] / norm)).astype(self.dtype)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        kernel = self.kernel()
        pad = kernel.shape[0] // 2
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel,
            (1,),
            [(pad, pad - 1 + kernel.shape[0] % 2)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=self.groups,
        )
        return ACTIVATIONS[self.activation](y + self.bias[...].astype(self.dtype))


class Wav2Vec2(nnx.Module):
    """The encoder, with its CTC head where the checkpoint has one."""

    def __init__(self, config: Wav2Vec2Config, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        self.config = config
        kinds: dict[str, Any] = dict(rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.convolutions = nnx.List([Convolution(config, i, **kinds) for i in range(len(config.conv_channels))])
        channels, width = config.conv_channels[-1], config.width
        self.projection_norm = LayerNorm(channels, config.eps, **kinds)
        self.projection = Linear(channels, width, axes=("channels", "embed"), use_bias=True, **kinds)
        # Stands for masked frames in training; kept so that a released checkpoint can be written again.
        init = jax.nn.initializers.uniform(1.0)
        self.masked_frame = parameter(rngs, init, (width,), param_dtype, ("embed",))
        self.position = PositionalConvolution(config, **kinds)
        self.norm = LayerNorm(width, config.eps, **kinds)
        self.layers = Layer(config.transformer, config.layers, **kinds)
        self.ctc = (
            None
            if config.vocabulary is None
            else Linear(width, config.vocabulary, axes=("embed", "vocab"), use_bias=True, **kinds)
        )

    def frames(self, samples: Any) -> Any:
        """Feature rows that so many samples give (an int or an array of them)."""
        for width, stride in zip(self.config.conv_widths, self.config.conv_strides):
            samples = (samples - width) // stride + 1
        return samples

    def convolve(self, values: Float[Array, "B S"]) -> Float[Array, "B T C"]:
        """The convolutions over the normalised wave."""
        x = values[..., None]
        for convolution in self.convolutions:
            x = convolution(x)
        return x

    def project(self, features: Float[Array, "B T C"]) -> Float[Array, "B T D"]:
        """Norm and projection of the convolutions' output to the Transformer's width."""
        return self.projection(self.projection_norm(features))

    def __call__(
        self,
        values: Float[Array, "B S"],
        *,
        lengths: Int[Array, " B"] | None = None,
        all_hidden: bool = False,
        scan: bool = True,
        remat: str = "nothing",
        implementation: str | None = None,
    ) -> Wav2Vec2Output:
        """Encodes normalised waves (see `normalize`), zero-padded on the right.

        Args:
          values: 16 kHz samples, at least as many as the first feature row needs (400 in all released models).
          lengths: valid samples per wave. Padded frames are then zero before the positional convolution and are not
            attended to. Give None for one unpadded wave, and for models where `config.masks_padding` is false.
          all_hidden: also return every layer's output.
          scan, remat, implementation: see `nn.stack.run_layers` and `nn.attention.attention`.

        Raises: UserError where the waves are too short for one feature row.
        """
        if self.frames(values.shape[1]) < 1:
            raise UserError(f"{values.shape[1]} samples are too short for one feature row of {self.config.model_type}")
        x = self.project(self.convolve(values))
        frame_lengths = None
        if lengths is not None:
            frame_lengths = self.frames(lengths)
            x = jnp.where((jnp.arange(x.shape[1]) < frame_lengths[:, None])[..., None], x, 0)
        x = x + self.position(x)
        if not self.config.pre_norm:
            x = self.norm(x)
        x, hidden = run(
            self.layers,
            self.config.layers,
            x,
            all_hidden=all_hidden,
            scan=scan,
            remat=remat,
            lengths=frame_lengths,
            implementation=implementation,
        )
        if self.config.pre_norm:
            x = self.norm(x)
        return Wav2Vec2Output(x, frame_lengths, hidden)

    def logits(self, last: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """CTC scores of every symbol; raises UserError where the checkpoint has no such head."""
        if self.ctc is None:
            raise UserError("this encoder was converted without a CTC head")
        return self.ctc(last)
