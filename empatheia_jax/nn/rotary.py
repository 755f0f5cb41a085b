"""Rotary position embeddings (Su et al. 2021) with the scalings that released checkpoints use."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from empatheia_jax.errors import UserError

_FIELDS = {
    "linear": ({"factor"}, set()),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "yarn": ({"factor", "original_max_position_embeddings"}, {"beta_fast", "beta_slow", "attention_factor"}),
}


@dataclass(frozen=True)
class RopeScaling:
    """How a checkpoint stretches its rotary frequencies beyond the trained context.

    kind: `linear` (position interpolation), `llama3` (Llama 3.1's wavelength bands) or `yarn` (Peng et al. 2023).
    Fields that a kind does not use are None.
    """

    kind: str
    factor: float
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    attention_factor: float | None = None

    @classmethod
    def from_source(cls, source: dict | None, max_position_embeddings: int | None = None) -> RopeScaling | None:
        """Reads the `rope_scaling` (or `rope_parameters`) entry of a released `config.json`.

        Raises UserError for a kind that is not implemented, a missing field or one that we do not know.
        """
        if not source:
            return None
        fields = {key: value for key, value in source.items() if key not in ("rope_theta", "type", "rope_type")}
        kind = source.get("rope_type", source.get("type", "default"))
        if kind == "default" and not fields:
            return None
        if kind not in _FIELDS:
            raise UserError(
                f"rope scaling of type {kind!r} is not implemented; expected {', '.join(sorted(_FIELDS))} or none"
            )
        needed, optional = _FIELDS[kind]
        if kind == "yarn" and max_position_embeddings is not None:
            fields.setdefault("original_max_position_embeddings", max_position_embeddings)
        missing = sorted(needed - set(fields))
        unknown = sorted(set(fields) - needed - optional)
        if missing or unknown:
            raise UserError(
                f"rope scaling {kind!r}: missing fields {missing}, fields not implemented {unknown}; "
                f"expected {sorted(needed)} and optionally {sorted(optional)}"
            )
        if isinstance(fields["factor"], int | float) and not fields["factor"] > 0:
            raise UserError(f"rope scaling {kind!r}: factor={fields['factor']}; expected a number above 0")
        return cls(kind=kind, **fields)


def inverse_frequencies(
    width: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Float[np.ndarray, " half"], float]:
    """Angular frequencies per channel pair (width // 2) in float64, and the factor on cosine and sine (1 but for
    YaRN).
    """
    exponents = np.arange(0, width, 2, dtype=np.float64) / width
    frequencies = theta**-exponents
    if scaling is None:
        return frequencies, 1.0
    if scaling.kind == "linear":
        return frequencies / scaling.factor, 1.0
    if scaling.kind == "llama3":
        return _llama3(frequencies, scaling), 1.0
    return _yarn(frequencies, width, theta, scaling)


def _llama3(frequencies: np.ndarray, s: RopeScaling) -> np.ndarray:
    wavelengths = 2 * math.pi / frequencies
    context, low, high = s.original_max_position_embeddings, s.low_freq_factor, s.high_freq_factor
    if context is None or low is None or high is None:
        raise ValueError(f"rope scaling llama3 needs its three further fields; found {s}")
    smooth = (context / wavelengths - low) / (high - low)
    smooth = np.clip(smooth, 0.0, 1.0)  # 0 for long waves (interpolate), 1 for short ones (keep)
    return (1 - smooth) * frequencies / s.factor + smooth * frequencies


def _yarn(frequencies: np.ndarray, width: int, theta: float, s: RopeScaling) -> tuple[np.ndarray, float]:
    context = s.original_max_position_embeddings
    if context is None:
        raise ValueError(f"rope scaling yarn needs original_max_position_embeddings; found {s}")

    def dimension(rotations: float) -> float:
        """Channel pair that turns `rotations` times within the original context."""
        return width * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension(s.beta_fast or 32.0)), 0)
    high = min(math.ceil(dimension(s.beta_slow or 1.0)), width - 1)
    ramp = np.clip((np.arange(width // 2) - low) / max(high - low, 1e-3), 0.0, 1.0)
    attention = s.attention_factor or (0.1 * math.log(s.factor) + 1.0 if s.factor > 1 else 1.0)
    return frequencies * (1 - ramp) + frequencies / s.factor * ramp, attention


def rotary_tables(
    positions: Int[Array, "b t"], frequencies: Float[np.ndarray, " half"], factor: float, dtype
) -> tuple[Float[Array, "b t half"], Float[Array, "b t half"]]:
    """Cosines and sines of position × frequency, in float32 or better."""
    wide = jnp.promote_types(dtype, jnp.float32)
    angles = positions.astype(wide)[..., None] * jnp.asarray(frequencies, wide)
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rotate_halves(
    x: Float[Array, "b t n h"], cosine: Float[Array, "b t half"], sine: Float[Array, "b t half"]
) -> Float[Array, "b t n h"]:
    """Rotates channel i against channel i + h/2 (the LLaMA layout)."""
    first, second = jnp.split(x.astype(cosine.dtype), 2, axis=-1)
    cosine, sine = cosine[:, :, None, :], sine[:, :, None, :]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1).astype(x.dtype)


def rotate_pairs(
    x: Float[Array, "b t n h"], cosine: Float[Array, "b t half"], sine: Float[Array, "b t half"]
) -> Float[Array, "b t n h"]:
    """Rotates channel 2i against channel 2i + 1 (the GPT-J and ChatGLM layout)."""
    pairs = x.astype(cosine.dtype).reshape(*x.shape[:-1], -1, 2)
    cosine, sine = cosine[:, :, None, :], sine[:, :, None, :]
    even, odd = pairs[..., 0], pairs[..., 1]
    rotated = jnp.stack([even * cosine - odd * sine, odd * cosine + even * sine], axis=-1)
    return rotated.reshape(x.shape).astype(x.dtype)
