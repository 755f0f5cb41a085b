"""StyleTTS 2's prosody predictor: durations per phoneme, then pitch (F0) and energy (N) curves per half frame.

Architecture after yl4579/StyleTTS2, `models.py`, classes ProsodyPredictor and DurationEncoder (Li et al. 2023, section 3).
A frame is 600 samples at 24 kHz (25 ms); the curves hold two values per frame.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from empatheia_jax.styletts2.convolutions import Conv1d
from empatheia_jax.styletts2.linear import linear
from empatheia_jax.styletts2.masks import double, length_mask, masked
from empatheia_jax.styletts2.norms import AdaptiveLayerNorm
from empatheia_jax.styletts2.recurrent import BiLSTM
from empatheia_jax.styletts2.residual_block import AdaptiveResidualBlock


class DurationEncoder(nnx.Module):
    """`depth` times: bidirectional LSTM → adaptive layer norm → the style beside every position."""

    def __init__(self, features: int, style_dim: int, depth: int, *, rngs, dtype, param_dtype):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.lstms = nnx.List(BiLSTM(features + style_dim, features // 2, **kinds) for _ in range(depth))
        self.norms = nnx.List(AdaptiveLayerNorm(style_dim, features, **kinds) for _ in range(depth))
        self.dtype = dtype

    def __call__(
        self, x: Float[Array, "B T C"], style: Float[Array, "B S"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B T C+S"]:
        mask = length_mask(lengths, x.shape[1], self.dtype)
        beside = jnp.broadcast_to(style[:, None].astype(self.dtype), (*x.shape[:2], style.shape[-1]))
        x = masked(jnp.concatenate([x.astype(self.dtype), beside], -1), mask)
        for lstm, norm in zip(self.lstms, self.norms):
            x = norm(lstm(x, lengths), style)
            x = masked(jnp.concatenate([x, beside], -1), mask)
        return x


class ProsodyPredictor(nnx.Module):
    """The duration branch (`encode`, `duration_logits`) and the curve branch (`curves`)."""

    def __init__(
        self,
        features: int,
        style_dim: int,
        depth: int,
        max_duration: int,
        *,
        weight_norm: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
    ):
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        self.text_encoder = DurationEncoder(features, style_dim, depth, **kinds)
        self.lstm = BiLSTM(features + style_dim, features // 2, **kinds)
        self.duration_proj = linear(features, max_duration, **kinds)
        self.shared = BiLSTM(features + style_dim, features // 2, **kinds)

        def curve() -> nnx.List:
            block = {"weight_norm": weight_norm, **kinds}
            return nnx.List(
                [
                    AdaptiveResidualBlock(features, features, style_dim, **block),
                    AdaptiveResidualBlock(features, features // 2, style_dim, upsample=True, **block),
                    AdaptiveResidualBlock(features // 2, features // 2, style_dim, **block),
                ]
            )

        self.F0, self.N = curve(), curve()
        self.F0_proj = Conv1d(features // 2, 1, 1, **kinds)
        self.N_proj = Conv1d(features // 2, 1, 1, **kinds)
        self.dtype = dtype

    def encode(
        self, text: Float[Array, "B T C"], style: Float[Array, "B S"], lengths: Int[Array, " B"]
    ) -> Float[Array, "B T C+S"]:
        """Projected PL-BERT states of the phonemes and the prosodic style → d, what durations and curves are made from."""
        return self.text_encoder(text, style, lengths)

    def duration_logits(
        self, d: Float[Array, "B T C+S"], lengths: Int[Array, " B"] | None
    ) -> Float[Array, "B T max_duration"]:
        """Logit k says whether a phoneme lasts longer than k frames. `lengths=None` takes all positions as valid."""
        return self.duration_proj(self.lstm(d, lengths))

    def durations(self, d: Float[Array, "B T C+S"], lengths: Int[Array, " B"] | None) -> Float[Array, "B T"]:
        """Expected frames of every phoneme, before rounding: the sum of the logits' sigmoids."""
        return jnp.sum(jax.nn.sigmoid(self.duration_logits(d, lengths)), -1)

    def shared_states(
        self, en: Float[Array, "B F C+S"], lengths: Int[Array, " B"] | None = None
    ) -> Float[Array, "B F C"]:
        """The recurrent states that both curves start from."""
        return self.shared(en, lengths)

    def curves(
        self, en: Float[Array, "B F C+S"], style: Float[Array, "B S"], lengths: Int[Array, " B"] | None = None
    ) -> tuple[Float[Array, "B 2*F"], Float[Array, "B 2*F"]]:
        """Frames (d repeated by duration) → F0 in Hz and energy N, zero at padding. `lengths` counts valid frames."""
        x = self.shared_states(en, lengths)
        mask = None if lengths is None else length_mask(lengths, en.shape[1], self.dtype)

        def run(blocks, proj):
            y = x
            y = blocks[0](y, style, mask)
            y = blocks[1](y, style, mask)
            y = blocks[2](y, style, double(mask))
            return masked(proj(y), double(mask))[..., 0]

        return run(self.F0, self.F0_proj), run(self.N, self.N_proj)
