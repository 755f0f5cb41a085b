"""The shared layers compute what PyTorch's do, and padding changes nothing at valid positions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from empatheia_jax.styletts2.convolutions import Conv1d, ConvTranspose1d, DepthwiseUpsample
from empatheia_jax.styletts2.decoder_istft import ShortTimeFourier
from empatheia_jax.styletts2.masks import length_mask
from empatheia_jax.styletts2.norms import AdaptiveInstanceNorm
from empatheia_jax.styletts2.recurrent import BiLSTM
from empatheia_jax.styletts2.weight_norm import fold_weight_norm

KINDS = {"dtype": jnp.float64, "param_dtype": jnp.float64}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def close(ours, theirs) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), atol=1e-12, rtol=1e-10)


def randomise(module: nnx.Module, seed: int = 0) -> nnx.Module:
    """Every parameter normal, so that no bias or gain is at its neutral initial value."""
    rng = np.random.default_rng(seed)
    nnx.update(module, jax.tree.map(lambda p: jnp.asarray(rng.standard_normal(p.shape) * 0.4), nnx.state(module)))
    return module


def channels_first(x) -> torch.Tensor:
    return torch.from_numpy(np.asarray(x).copy()).transpose(1, 2)


def test_weight_norm_is_pytorchs_and_folding_changes_nothing():
    ours = randomise(Conv1d(6, 4, 5, dilation=2, weight_norm=True, rngs=nnx.Rngs(0), **KINDS))
    theirs = torch.nn.utils.weight_norm(torch.nn.Conv1d(6, 4, 5, dilation=2, padding=4, dtype=torch.float64))
    with torch.no_grad():
        theirs.weight_v.copy_(torch.from_numpy(np.asarray(ours.v[...]).transpose(2, 1, 0).copy()))
        theirs.weight_g.copy_(torch.from_numpy(np.asarray(ours.g[...])[:, None, None].copy()))
        theirs.bias.copy_(torch.from_numpy(np.asarray(ours.bias[...]).copy()))
    x = np.random.default_rng(1).standard_normal((2, 9, 6))
    y = ours(jnp.asarray(x))
    close(jnp.swapaxes(y, 1, 2), theirs(channels_first(x)))
    fold_weight_norm(ours)
    assert sorted(p[-1] for p, _ in nnx.to_flat_state(nnx.state(ours))) == ["bias", "kernel"]
    np.testing.assert_allclose(ours(jnp.asarray(x)), y, atol=1e-12)


@pytest.mark.parametrize(("stride", "width", "padding"), [(10, 20, 5), (5, 10, 3), (3, 6, 2), (2, 4, 1), (6, 12, 3)])
def test_transposed_convolution_is_pytorchs(stride, width, padding):
    ours = randomise(
        ConvTranspose1d(4, 3, width, stride=stride, padding=padding, weight_norm=True, rngs=nnx.Rngs(0), **KINDS)
    )
    theirs = torch.nn.utils.weight_norm(
        torch.nn.ConvTranspose1d(4, 3, width, stride, padding, output_padding=stride % 2, dtype=torch.float64)
    )
    with torch.no_grad():
        theirs.weight_v.copy_(torch.from_numpy(np.asarray(ours.v[...]).transpose(1, 2, 0).copy()))
        theirs.weight_g.copy_(torch.from_numpy(np.asarray(ours.g[...])[:, None, None].copy()))
        theirs.bias.copy_(torch.from_numpy(np.asarray(ours.bias[...]).copy()))
    x = np.random.default_rng(1).standard_normal((2, 7, 4))
    close(jnp.swapaxes(ours(jnp.asarray(x)), 1, 2), theirs(channels_first(x)))


def test_depthwise_upsampling_is_pytorchs():
    ours = randomise(DepthwiseUpsample(5, weight_norm=False, rngs=nnx.Rngs(0), **KINDS))
    theirs = torch.nn.ConvTranspose1d(5, 5, 3, 2, 1, output_padding=1, groups=5, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(np.asarray(ours.kernel[...]).T[:, None].copy()))
        theirs.bias.copy_(torch.from_numpy(np.asarray(ours.bias[...]).copy()))
    x = np.random.default_rng(1).standard_normal((2, 7, 5))
    close(jnp.swapaxes(ours(jnp.asarray(x)), 1, 2), theirs(channels_first(x)))


@pytest.mark.parametrize("packed", [False, True])
def test_bidirectional_lstm_is_pytorchs_also_when_packed(packed):
    ours = randomise(BiLSTM(5, 3, rngs=nnx.Rngs(0), **KINDS))
    theirs = torch.nn.LSTM(5, 3, batch_first=True, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for suffix, lstm in (("", ours.forward), ("_reverse", ours.backward)):
            for ih in ("ih", "hh"):
                kernel, bias = getattr(lstm, f"kernel_{ih}"), getattr(lstm, f"bias_{ih}")
                getattr(theirs, f"weight_{ih}_l0{suffix}").copy_(torch.from_numpy(np.asarray(kernel[...]).T.copy()))
                getattr(theirs, f"bias_{ih}_l0{suffix}").copy_(torch.from_numpy(np.asarray(bias[...]).copy()))
    x = np.random.default_rng(1).standard_normal((2, 11, 5))
    if not packed:
        return close(ours(jnp.asarray(x)), theirs(torch.from_numpy(x))[0])
    lengths = [11, 4]
    sequence = torch.nn.utils.rnn.pack_padded_sequence(torch.from_numpy(x), lengths, batch_first=True)
    expected = torch.nn.utils.rnn.pad_packed_sequence(theirs(sequence)[0], batch_first=True)[0]
    close(ours(jnp.asarray(x), jnp.asarray(lengths)), expected)


def test_instance_norm_statistics_ignore_padding():
    ours = randomise(AdaptiveInstanceNorm(4, 6, rngs=nnx.Rngs(0), **KINDS))
    x, style = np.random.default_rng(1).standard_normal((2, 9, 6)), np.random.default_rng(2).standard_normal((2, 4))
    x[1, 5:] = 1e6
    mask = length_mask(jnp.asarray([9, 5]), 9, jnp.float64)
    y = ours(jnp.asarray(x), jnp.asarray(style), mask)
    alone = ours(jnp.asarray(x[1:, :5]), jnp.asarray(style[1:]))
    np.testing.assert_allclose(y[1:, :5], alone, atol=1e-12)
    gamma, beta = np.split(np.asarray(ours.fc(jnp.asarray(style))), 2, -1)
    normed = torch.nn.functional.instance_norm(channels_first(x[:1])).numpy()
    expected = (1 + gamma[:1, :, None]) * normed + beta[:1, :, None]
    np.testing.assert_allclose(np.swapaxes(y[:1], 1, 2), expected, atol=1e-10)


def test_stft_and_inverse_are_pytorchs():
    fourier, wave = ShortTimeFourier(20, 5), np.random.default_rng(1).standard_normal((2, 600))
    window = torch.hann_window(20, dtype=torch.float64).float().double()  # as StyleTTS2 rounds it
    theirs = torch.stft(torch.from_numpy(wave), 20, 5, 20, window, return_complex=True)
    ours = np.asarray(fourier.polar(jnp.asarray(wave)))
    magnitude, phase = ours[..., :11], ours[..., 11:]
    np.testing.assert_allclose(magnitude * np.exp(1j * phase), theirs.numpy().swapaxes(1, 2), atol=1e-12)
    assert (phase[..., [0, 10]] >= 0).all(), "the phase of a real bin is 0 or +π"
    rng = np.random.default_rng(2)
    magnitude, phase = rng.random((2, 121, 11)), rng.standard_normal((2, 121, 11))
    spectrum = torch.from_numpy((magnitude * np.exp(1j * phase)).swapaxes(1, 2).copy())
    close(fourier.inverse(jnp.asarray(magnitude), jnp.asarray(phase)), torch.istft(spectrum, 20, 5, 20, window))


def test_spectrum_of_a_padded_wave_is_that_of_the_wave():
    fourier, wave = ShortTimeFourier(20, 5), np.random.default_rng(1).standard_normal((1, 100))
    padded = jnp.asarray(np.pad(wave, ((0, 0), (0, 50)), constant_values=7.0))
    ours = fourier.polar(padded, jnp.asarray([100]))[:, :21]
    np.testing.assert_allclose(ours, fourier.polar(jnp.asarray(wave)), atol=1e-12)
