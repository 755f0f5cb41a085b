"""Layers that StyleTTS 2's networks share: convolutions with weight norm, adaptive norms, recurrent layers, masks.

Axes: B batch, T time (tokens, frames or samples), C or I/O channels, S style. Sequences are channels-last, (B, T, C).

Padding. The original runs one utterance at a time, unpadded. Here sequences are padded to a bucket's length and every
layer whose output at a valid position would see the padding takes a mask, so that a padded run equals the unpadded one:
convolutions receive zeros beyond the end (what the original's zero padding gives), instance norm computes its statistics
over valid positions, and the backward direction of a recurrent layer starts at the last valid position. `mask=None`
means that everything is valid, and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from empatheia_jax.nn import sine, toom_cook

Dtype = jax.typing.DTypeLike
Mask = Float[Array, "B T 1"] | None

_kernel_init = nnx.initializers.lecun_normal()
_zeros = nnx.initializers.zeros_init()
_ones = nnx.initializers.ones_init()


def length_mask(lengths: Int[Array, " B"], size: int, dtype: Dtype) -> Float[Array, "B T 1"]:
    """1 at positions below a row's length, else 0."""
    return (jnp.arange(size)[None, :] < lengths[:, None]).astype(dtype)[..., None]


def masked(x: Float[Array, "B T C"], mask: Mask) -> Float[Array, "B T C"]:
    """`x` with zeros at padding, whatever stood there."""
    return x if mask is None else jnp.where(mask > 0, x, 0)


def leaky_relu(x: Array, slope: float) -> Array:
    """max(x, slope · x)."""
    return jnp.maximum(x, slope * x)


def snake(x: Float[Array, "B T C"], alpha: Float[Array, " C"]) -> Float[Array, "B T C"]:
    """x + sin²(αx) / α, a periodic activation (Ziyin et al. 2020, "Neural Networks Fail to Learn Periodic Functions")."""
    return x + sine.sin_squared(alpha * x) / alpha


class WeightNormed(nnx.Module):
    """A layer whose kernel is either one parameter, or g · v / ‖v‖ (Salimans and Kingma 2016), kept as its two parts.

    Attributes:
      weight_norm: whether the two parts `g` and `v` exist instead of `kernel`.
    """

    def _init_kernel(self, shape: tuple[int, ...], norm_axis: int, weight_norm: bool, rngs: nnx.Rngs, param_dtype):
        self.weight_norm = weight_norm
        self.norm_axis = norm_axis % len(shape)
        kernel = _kernel_init(rngs.params(), shape, param_dtype)
        if weight_norm:
            self.v = nnx.Param(kernel)
            self.g = nnx.Param(self._norm(kernel))
        else:
            self.kernel = nnx.Param(kernel)

    def _norm(self, v: Array) -> Array:
        axes = tuple(axis for axis in range(v.ndim) if axis != self.norm_axis)
        return jnp.sqrt(jnp.sum(jnp.square(v), axes))

    def effective_kernel(self, dtype: Dtype) -> Array:
        """The kernel that the layer applies."""
        if not self.weight_norm:
            return self.kernel[...].astype(dtype)
        v, g = self.v[...], self.g[...]
        shape = [1] * v.ndim
        shape[self.norm_axis] = -1
        return (v * (g / self._norm(v)).reshape(shape)).astype(dtype)

    def fold(self) -> None:
        """Replaces `g` and `v` by the kernel that they make: the same function, with nothing left to compute."""
        if self.weight_norm:
            kernel = self.effective_kernel(self.v[...].dtype)
            del self.g, self.v
            self.kernel = nnx.Param(kernel)
            self.weight_norm = False


def fold_weight_norm(model: nnx.Module) -> nnx.Module:
    """Folds every weight-normed layer of `model`, in place, for inference. Returns `model`."""
    layers = [module for _, module in nnx.iter_modules(model) if isinstance(module, WeightNormed)]
    for layer in layers:
        layer.fold()
    return model


def prepare_for_cpu(model: nnx.Module) -> nnx.Module:
    """Lets long float32 convolutions multiply less (`nn.toom_cook`), in place, for inference on a CPU. Returns `model`."""
    for _, module in nnx.iter_modules(model):
        if isinstance(module, Conv1d):
            module.minimal = True
    return model


class Conv1d(WeightNormed):
    """1-D convolution over time; kernel (width, in, out), the norm of weight norm taken per output channel.

    Attributes:
      minimal: whether to take the algorithm of `nn.toom_cook` where it is faster.
    """

    minimal = False

    def __init__(
        self,
        features_in: int,
        features_out: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        use_bias: bool = True,
        weight_norm: bool = False,
        rngs: nnx.Rngs,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
    ):
        """`padding` counts zeros on both sides; None keeps the length (odd widths)."""
        self._init_kernel((width, features_in, features_out), -1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(_zeros(rngs.params(), (features_out,), param_dtype)) if use_bias else None
        self.stride, self.dilation, self.dtype = stride, dilation, dtype
        self.padding = dilation * (width - 1) // 2 if padding is None else padding

    def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B U O"]:
        kernel = self.effective_kernel(self.dtype)
        x = x.astype(self.dtype)
        if kernel.shape[0] == 1 and self.stride == 1 and not self.padding:
            y = x @ kernel[0]
        elif self.minimal and self._gains_from_fewer_products(x, kernel):
            y = toom_cook.correlate(x, kernel, self.dilation)
        else:
            y = lax.conv_general_dilated(
                x,
                kernel,
                (self.stride,),
                [(self.padding, self.padding)],
                rhs_dilation=(self.dilation,),
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)

    def _gains_from_fewer_products(self, x: Array, kernel: Array) -> bool:
        width, *channels = kernel.shape
        same = width % 2 == 1 and self.padding == self.dilation * (width - 1) // 2 and self.stride == 1
        # Transforming the kernel must be little beside the products, and transforming `x` too: three taps gain nothing.
        large = width > 4 and min(channels) >= 64 and x.shape[1] >= 8 * max(channels)
        return same and large and x.dtype == jnp.float32


class ConvTranspose1d(WeightNormed):
    """1-D transposed convolution that multiplies the length by `stride`; kernel (width, in, out).

    Every input frame adds its `width` output samples at `stride · t − padding`. It is computed as one matrix product
    followed by an overlap-add, since a convolution with a dilated input is slow on CPU. The norm of weight norm is taken
    per *input* channel, as PyTorch's `weight_norm` does on a transposed convolution.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        width: int,
        *,
        stride: int,
        padding: int,
        weight_norm: bool = False,
        rngs: nnx.Rngs,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
    ):
        self._init_kernel((width, features_in, features_out), 1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(_zeros(rngs.params(), (features_out,), param_dtype))
        self.stride, self.padding, self.width, self.dtype = stride, padding, width, dtype

    def __call__(self, x: Float[Array, "B T I"]) -> Float[Array, "B T*stride O"]:
        kernel = self.effective_kernel(self.dtype)
        batch, time, _ = x.shape
        hops = -(-self.width // self.stride)
        kernel = jnp.pad(kernel, ((0, hops * self.stride - self.width), (0, 0), (0, 0)))
        parts = jnp.einsum("bti,kio->btko", x.astype(self.dtype), kernel)  # (B, T, hops·stride, O)
        parts = parts.reshape(batch, time, hops, self.stride, -1)
        size = time * self.stride
        total = overlap_add(parts).reshape(batch, (time + hops - 1) * self.stride, -1)
        total = jnp.pad(total, ((0, 0), (0, max(0, self.padding + size - total.shape[1])), (0, 0)))
        return total[:, self.padding : self.padding + size] + self.bias[...].astype(self.dtype)


def overlap_add(parts: Float[Array, "B T hops *rest"]) -> Float[Array, "B T+hops-1 *rest"]:
    """Sum of every frame's hop-sized pieces, piece k of frame t at position t + k."""
    hops = parts.shape[2]
    rest = [(0, 0)] * (parts.ndim - 3)
    return sum(jnp.pad(parts[:, :, k], [(0, 0), (k, hops - 1 - k), *rest]) for k in range(hops))


class DepthwiseUpsample(WeightNormed):
    """Depthwise transposed convolution of width 3 that doubles the length: PyTorch's stride 2, padding 1, output padding 1.

    Kernel (3, channels); the norm of weight norm is per channel.
    """

    def __init__(self, features: int, *, weight_norm: bool, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype):
        self._init_kernel((3, features), 1, weight_norm, rngs, param_dtype)
        self.bias = nnx.Param(_zeros(rngs.params(), (features,), param_dtype))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "B T C"]) -> Float[Array, "B 2*T C"]:
        kernel = self.effective_kernel(self.dtype)
        x = x.astype(self.dtype)
        after = jnp.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))
        pairs = jnp.stack([x * kernel[1], x * kernel[2] + after * kernel[0]], axis=2)
        return pairs.reshape(x.shape[0], 2 * x.shape[1], x.shape[2]) + self.bias[...].astype(self.dtype)


class Linear(nnx.Module):
    """x @ kernel + bias, kernel (in, out)."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        use_bias: bool = True,
        rngs: nnx.Rngs,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
    ):
        self.kernel = nnx.Param(_kernel_init(rngs.params(), (features_in, features_out), param_dtype))
        self.bias = nnx.Param(_zeros(rngs.params(), (features_out,), param_dtype)) if use_bias else None
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*B I"]) -> Float[Array, "*B O"]:
        y = x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class Embedding(nnx.Module):
    """Rows of a table."""

    def __init__(self, count: int, features: int, *, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype):
        self.embedding = nnx.Param(nnx.initializers.normal(1.0)(rngs.params(), (count, features), param_dtype))
        self.dtype = dtype

    def __call__(self, ids: Int[Array, " *B"]) -> Float[Array, "*B C"]:
        return self.embedding[...].astype(self.dtype)[ids]


class LayerNorm(nnx.Module):
    """Layer norm over channels with scale and bias."""

    def __init__(self, features: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype):
        self.scale = nnx.Param(_ones(rngs.params(), (features,), param_dtype))
        self.bias = nnx.Param(_zeros(rngs.params(), (features,), param_dtype))
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        y = standardise(x.astype(self.dtype), epsilon=self.epsilon)
        return y * self.scale[...].astype(self.dtype) + self.bias[...].astype(self.dtype)


def standardise(x: Float[Array, "*B C"], *, epsilon: float = 1e-5) -> Float[Array, "*B C"]:
    """(x − mean) / √(biased variance + ε) over the last axis."""
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + epsilon)


class AdaptiveLayerNorm(nnx.Module):
    """Layer norm whose scale 1 + γ and bias β are linear in a style vector."""

    def __init__(self, style_dim: int, features: int, *, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype):
        self.fc = Linear(style_dim, 2 * features, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.dtype = dtype

    def __call__(self, x: Float[Array, "B T C"], style: Float[Array, "B S"]) -> Float[Array, "B T C"]:
        gamma, beta = jnp.split(self.fc(style)[:, None], 2, -1)
        return (1 + gamma) * standardise(x.astype(self.dtype)) + beta


class AdaptiveInstanceNorm(nnx.Module):
    """Instance norm over time (no affine of its own, biased variance), then (1 + γ) x + β from a style vector.

    Statistics are over valid positions only. Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time".
    """

    def __init__(
        self, style_dim: int, features: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype
    ):
        self.fc = Linear(style_dim, 2 * features, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(
        self, x: Float[Array, "B T C"], style: Float[Array, "B S"], mask: Mask = None
    ) -> Float[Array, "B T C"]:
        gamma, beta = jnp.split(self.fc(style)[:, None], 2, -1)  # (B, 1, C)
        x = x.astype(self.dtype)
        mean, variance = time_moments(x, mask)
        # Centred first: folding the mean into the offset would cancel digits where it is large against the deviation.
        return (x - mean) * ((1 + gamma) * lax.rsqrt(variance + self.epsilon)) + beta


def time_moments(x: Float[Array, "B T C"], mask: Mask) -> tuple[Float[Array, "B 1 C"], Float[Array, "B 1 C"]]:
    """Mean and biased variance over valid positions; two passes, since E[x²] − E[x]² loses half the digits."""
    if mask is None:
        mean = jnp.mean(x, 1, keepdims=True)
        return mean, jnp.mean(jnp.square(x - mean), 1, keepdims=True)
    count = jnp.maximum(jnp.sum(mask, 1, keepdims=True), 1)
    mean = jnp.sum(masked(x, mask), 1, keepdims=True) / count
    return mean, jnp.sum(masked(jnp.square(x - mean), mask), 1, keepdims=True) / count


class LSTM(nnx.Module):
    """One direction of one recurrent layer, gate order input, forget, cell, output, with PyTorch's two biases.

    Hochreiter and Schmidhuber 1997. Parameters: `kernel_ih` (in, 4·H), `kernel_hh` (H, 4·H), `bias_ih`, `bias_hh`.
    """

    def __init__(self, features_in: int, hidden: int, *, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype):
        init = nnx.initializers.uniform(2 / math.sqrt(hidden))
        for name, shape in (
            ("kernel_ih", (features_in, 4 * hidden)),
            ("kernel_hh", (hidden, 4 * hidden)),
            ("bias_ih", (4 * hidden,)),
            ("bias_hh", (4 * hidden,)),
        ):
            value = init(rngs.params(), shape, param_dtype)
            setattr(self, name, nnx.Param(value - 1 / math.sqrt(hidden)))
        self.hidden, self.dtype = hidden, dtype

    def project(self, x: Float[Array, "B T I"]) -> Float[Array, "B T 4H"]:
        """The part of the gates that does not depend on the state, for all times in one product."""
        bias = (self.bias_ih[...] + self.bias_hh[...]).astype(self.dtype)
        return x.astype(self.dtype) @ self.kernel_ih[...].astype(self.dtype) + bias

    def step(self, gates: Float[Array, "B 4H"], h: Float[Array, "B H"], c: Float[Array, "B H"]):
        """One time step from the projected input: (h, c) → new (h, c)."""
        gates = gates + h @ self.kernel_hh[...].astype(self.dtype)
        return lstm_cell(gates, c)


def lstm_cell(gates: Float[Array, "B 4H"], c: Float[Array, "B H"]) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
    """c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c')."""
    i, f, g, o = jnp.split(gates, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


class BiLSTM(nnx.Module):
    """A bidirectional layer; output (B, T, 2·H), forward then backward.

    With `lengths` the backward direction starts at each row's last valid position (PyTorch's packed sequences); outputs
    at padding are zero. Without, all positions are valid.
    """

    UNROLL = 4  # steps in one loop body: a loop has a cost of its own per step. Not tuned; `benchmarks.styletts2` is the place

    def __init__(self, features_in: int, hidden: int, *, rngs: nnx.Rngs, dtype: Dtype, param_dtype: Dtype):
        self.forward = LSTM(features_in, hidden, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.backward = LSTM(features_in, hidden, rngs=rngs, dtype=dtype, param_dtype=param_dtype)
        self.hidden, self.dtype = hidden, dtype

    def __call__(self, x: Float[Array, "B T I"], lengths: Int[Array, " B"] | None = None) -> Float[Array, "B T 2H"]:
        batch, time, _ = x.shape
        forward = jnp.moveaxis(self.forward.project(x), 1, 0)
        backward = jnp.moveaxis(reverse(self.backward.project(x), lengths), 1, 0)
        zero = jnp.zeros((batch, self.hidden), self.dtype)

        def step(state, gates):
            (hf, cf), (hb, cb) = state
            hf, cf = self.forward.step(gates[0], hf, cf)
            hb, cb = self.backward.step(gates[1], hb, cb)
            return ((hf, cf), (hb, cb)), (hf, hb)

        start = ((zero, zero), (zero, zero))
        _, (hf, hb) = lax.scan(step, start, (forward, backward), unroll=min(self.UNROLL, time))
        y = jnp.concatenate([jnp.moveaxis(hf, 0, 1), reverse(jnp.moveaxis(hb, 0, 1), lengths)], -1)
        return y if lengths is None else masked(y, length_mask(lengths, time, self.dtype))


def reverse(x: Float[Array, "B T C"], lengths: Int[Array, " B"] | None) -> Float[Array, "B T C"]:
    """Each row's valid part in reverse order; padding stays where it is."""
    if lengths is None:
        return jnp.flip(x, 1)
    time = jnp.arange(x.shape[1])[None]
    index = jnp.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return jnp.take_along_axis(x, index[..., None], 1)


class AdaptiveResidualBlock(nnx.Module):
    """AdaIN → LeakyReLU(0.2) → [double the length] → conv → AdaIN → LeakyReLU → conv, plus a shortcut, over √2.

    The shortcut repeats frames when upsampling and is projected where widths differ (repeating after the projection gives
    the same values for half the work).
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        style_dim: int,
        *,
        upsample: bool = False,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: Dtype = jnp.float32,
        param_dtype: Dtype = jnp.float32,
    ):
        kinds = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.norm1 = AdaptiveInstanceNorm(style_dim, features_in, **kinds)
        self.norm2 = AdaptiveInstanceNorm(style_dim, features_out, **kinds)
        self.conv1 = Conv1d(features_in, features_out, 3, weight_norm=weight_norm, **kinds)
        self.conv2 = Conv1d(features_out, features_out, 3, weight_norm=weight_norm, **kinds)
        self.shortcut = (
            Conv1d(features_in, features_out, 1, use_bias=False, weight_norm=weight_norm, **kinds)
            if features_in != features_out
            else None
        )
        self.pool = DepthwiseUpsample(features_in, weight_norm=weight_norm, **kinds) if upsample else None

    def __call__(
        self, x: Float[Array, "B T I"], style: Float[Array, "B S"], mask: Mask = None
    ) -> Float[Array, "B T|2*T O"]:
        """`mask` is at the input's rate."""
        rest = x if self.shortcut is None else self.shortcut(x)
        y = masked(leaky_relu(self.norm1(x, style, mask), 0.2), mask)
        if self.pool is not None:
            mask = double(mask)
            rest = jnp.repeat(rest, 2, axis=1)
            y = masked(self.pool(y), mask)
        y = self.conv1(y)
        y = self.conv2(masked(leaky_relu(self.norm2(y, style, mask), 0.2), mask))
        return (y + rest) / math.sqrt(2)


def double(mask: Mask) -> Mask:
    """The mask at twice the rate."""
    return None if mask is None else jnp.repeat(mask, 2, axis=1)


def parameters(module: nnx.Module) -> Iterator[tuple[str, Array]]:
    """(path, array) of every variable, for printing and counting."""
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        yield ".".join(map(str, path)), variable[...]
