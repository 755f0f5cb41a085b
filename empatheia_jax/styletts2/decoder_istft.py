"""StyleTTS 2's iSTFTNet decoder: a small generator predicts a spectrogram, an inverse STFT makes the wave.

Kaneko et al. 2022, "iSTFTNet", with the harmonic source; after yl4579/StyleTTS2, `Modules/istftnet.py`.
Per frame of 600 samples the generator makes 120 spectra of 20 samples at hop 5, one more at the very end.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from empatheia_jax.nn import sine
from empatheia_jax.styletts2.activations import leaky_relu
from empatheia_jax.styletts2.config import DecoderConfig
from empatheia_jax.styletts2.convolutions import overlap_add
from empatheia_jax.styletts2.decoder import SpeechDecoder, UpsamplingGenerator
from empatheia_jax.styletts2.masks import length_mask, masked


@dataclasses.dataclass(frozen=True)
class ShortTimeFourier:
    """Centred STFT and its inverse with a periodic Hann window as long as the transform, as matrix products.

    Attributes:
      size: window and transform length, a multiple of `hop`.
      hop: samples from one window to the next.
    """

    size: int
    hop: int

    @property
    def bins(self) -> int:
        return self.size // 2 + 1

    def _window(self) -> np.ndarray:
        # Rounded as the original's, whatever the type of the rest: phases of faint bins show the difference.
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.size) / self.size)
        return window.astype(np.float32).astype(np.float64)

    def _angles(self) -> np.ndarray:
        return 2 * np.pi * np.outer(np.arange(self.size), np.arange(self.bins)) / self.size

    def polar(
        self, wave: Float[Array, "B N"], lengths: Int[Array, " B"] | None = None
    ) -> Float[Array, "B N/hop+1 2*bins"]:
        """Magnitudes, then phases in radians. The wave is reflected at both ends, at its valid end where given.

        The spectrum's imaginary part at 0 Hz and at the highest frequency is 0 by definition, so that these phases are 0
        or +π; a rounding error there would make −π of it, which is a different input to the network.
        """
        half = self.size // 2
        end = jnp.asarray(wave.shape[1]) if lengths is None else lengths[:, None]
        index = jnp.abs(jnp.arange(-half, wave.shape[1] + half))[None]
        index = jnp.where(index >= end, 2 * (end - 1) - index, index)
        index = jnp.broadcast_to(jnp.clip(index, 0, wave.shape[1] - 1), (wave.shape[0], index.shape[-1]))
        wave = jnp.take_along_axis(wave, index, 1)
        pieces = wave.reshape(wave.shape[0], -1, self.hop)
        count = pieces.shape[1] - self.size // self.hop + 1
        frames = jnp.concatenate([pieces[:, k : k + count] for k in range(self.size // self.hop)], -1)
        # Sample n and its mirror image size − n share the window's value: their sum and difference, taken before any
        # product, hold the real and the imaginary part. That spares digits where the parts are small, and makes the
        # spectrum of a symmetric frame (the first one, by the reflection) exactly real.
        angles, window = self._angles()[1:half], self._window()[1:half, None]
        first, second = frames[..., 1:half], frames[..., :half:-1]
        sines = -np.sin(angles) * window
        sines[:, [0, -1]] = 0
        real = (first + second) @ jnp.asarray(np.cos(angles) * window, wave.dtype)
        real = real + frames[..., half : half + 1] * jnp.asarray((-1.0) ** np.arange(self.bins), wave.dtype)
        imaginary = (first - second) @ jnp.asarray(sines, wave.dtype) + 0.0  # −0 would turn +π into −π
        return jnp.concatenate([jnp.hypot(real, imaginary), jnp.arctan2(imaginary, real)], -1)

    def inverse(
        self,
        magnitude: Float[Array, "B M bins"],
        phase: Float[Array, "B M bins"],
        valid: Float[Array, "B M 1"] | None = None,
    ) -> Float[Array, "B samples"]:
        """Overlap-added inverse transforms over the overlap-added squared window, without the half window at each end."""
        weight = np.full(self.bins, 2.0)
        weight[[0, -1]] = 1
        angles, window = self._angles().T, self._window()
        cosines = np.cos(angles) * weight[:, None] * window / self.size
        sines = np.sin(angles) * weight[:, None] * window / self.size
        frames = (magnitude * sine.cos(phase)) @ jnp.asarray(cosines, magnitude.dtype)
        frames = frames - (magnitude * sine.sin(phase)) @ jnp.asarray(sines, magnitude.dtype)
        squared = jnp.broadcast_to(jnp.asarray(np.square(window), magnitude.dtype), frames[:1].shape)
        if valid is not None:
            frames, squared = masked(frames, valid), masked(jnp.broadcast_to(squared, frames.shape), valid)

        def add(x):
            pieces = x.reshape(*x.shape[:2], -1, self.hop)
            return overlap_add(pieces).reshape(x.shape[0], -1)

        half = self.size // 2
        total, envelope = add(frames)[:, half:-half], add(squared)[:, half:-half]
        if valid is None:
            return total / envelope
        # The last valid window reaches half its length beyond the end, and beyond that no window lies at all.
        count = (jnp.sum(valid, (1, 2)).astype(jnp.int32) - 1) * self.hop
        inside = jnp.arange(total.shape[1]) < count[:, None]
        return jnp.where(inside, total / jnp.where(inside, envelope, 1), 0)


class ISTFTGenerator(UpsamplingGenerator):
    """The stages down to magnitude and phase, with the source's spectrum added at each."""

    def __init__(self, config: DecoderConfig, style_dim: int, **kinds: Any):
        if config.n_fft is None or config.hop is None:
            raise ValueError("a decoder with an inverse STFT needs n_fft and hop")
        stages = zip(config.upsample_rates, config.upsample_kernel_sizes)
        channels = config.n_fft + 2
        shape: dict[str, Any] = {"source_channels": channels, "outputs": channels}
        super().__init__(config, style_dim, **shape, paddings=[(width - rate) // 2 for rate, width in stages], **kinds)
        self.fourier = ShortTimeFourier(config.n_fft, config.hop)

    def spectrum(
        self, source: Float[Array, "B N 1"], lengths: Int[Array, " B"] | None = None
    ) -> Float[Array, "B N/hop+1 n_fft+2"]:
        """Excitation → its magnitudes and phases, which are network inputs. `lengths` counts valid samples."""
        return self.fourier.polar(source[..., 0], lengths)

    def spectrogram(
        self,
        x: Float[Array, "B n C"],
        style: Float[Array, "B S"],
        har: Float[Array, "B 60*n+1 n_fft+2"],
        lengths: Int[Array, " B"] | None = None,
    ) -> tuple[Float[Array, "B 60*n+1 n_fft+2"], Float[Array, "B 60*n+1 1"] | None]:
        """Raw output of the last convolution, and the mask of its frames. `lengths` counts valid positions of `x`."""
        size, last = x.shape[1], len(self.rates) - 1
        mask = None if lengths is None else length_mask(lengths, size, self.dtype)
        total = int(np.prod(self.rates))
        har = har.astype(self.dtype)
        if lengths is not None:
            har = masked(har, length_mask(lengths * total + 1, size * total + 1, self.dtype))
        for i, rate in enumerate(self.rates):
            x = self.ups[i](masked(leaky_relu(x, 0.1), mask))
            size = size * rate
            lengths = None if lengths is None else lengths * rate
            if i == last:
                # One more frame at the left, a reflection, makes the count that of the centred STFT.
                x = jnp.concatenate([x[:, 1:2], x], 1)
                size, lengths = size + 1, None if lengths is None else lengths + 1
            mask = None if lengths is None else length_mask(lengths, size, self.dtype)
            x = self.mixed(i, x, har, style, mask)
        return self.conv_post(masked(leaky_relu(x, 0.01), mask)), mask

    def __call__(
        self,
        x: Float[Array, "B n C"],
        style: Float[Array, "B S"],
        har: Float[Array, "B 60*n+1 n_fft+2"],
        lengths: Int[Array, " B"] | None = None,
    ) -> Float[Array, "B 300*n"]:
        """Body output, style and the source's spectrum → wave."""
        y, mask = self.spectrogram(x, style, har, lengths)
        bins = self.fourier.bins
        return self.fourier.inverse(jnp.exp(y[..., :bins]), sine.sin(y[..., bins:]), mask)


class ISTFTDecoder(SpeechDecoder):
    """The decoder of Kokoro and of the release for one speaker: iSTFTNet behind the body."""

    generator_class = ISTFTGenerator

    def excitation(
        self, source: Float[Array, "B 600*F 1"], lengths: Int[Array, " B"] | None
    ) -> Float[Array, "B 120*F+1 n_fft+2"]:
        """The source's spectrum."""
        return self.generator.spectrum(source, None if lengths is None else 600 * lengths)
