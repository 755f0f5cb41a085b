"""Styles from a recording and from the diffusion, with small networks of the real kind."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from toy_voice import Letters

from empatheia_jax import tiny
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.config import BertConfig, DecoderConfig, DiffusionConfig, StyleTTS2Config
from empatheia_jax.styletts2.mel import log_mel
from empatheia_jax.styletts2.model import StyleTTS2
from empatheia_jax.styletts2.reference import prepare_reference
from empatheia_jax.styletts2.speaker import Sampling, Speaker
from empatheia_jax.styletts2.symbols import STYLETTS2


def small(multispeaker: bool) -> Speaker:
    config = StyleTTS2Config(
        networks=("bert", "style_encoder", "predictor_encoder", "diffusion"),
        multispeaker=multispeaker,
        hidden_dim=16,
        style_dim=128,
        n_layer=1,
        text_kernel=5,
        n_token=178,
        max_dur=8,
        n_mels=80,
        dim_in=4,
        max_conv_dim=16,
        weight_norm=False,
        decoder=DecoderConfig("istftnet", (10, 6), (20, 12), (3,), ((1,),), 512, 20, 5),
        bert=BertConfig(
            vocab_size=178,
            embedding_size=8,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=512,
            num_hidden_layers=1,
            layer_norm_eps=1e-12,
            pooler=False,
        ),
        diffusion=DiffusionConfig(1, 2, 8, 1, 512, 0.2),
        slm=None,
    )
    return Speaker(tiny.made_up(lambda: StyleTTS2(config, rngs=nnx.Rngs(0))), STYLETTS2, None, Letters())


@pytest.fixture(scope="module")
def many() -> Speaker:
    return small(multispeaker=True)


@pytest.fixture(scope="module")
def alone() -> Speaker:
    return small(multispeaker=False)


def voice(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * 24_000)) / 24_000
    return (0.2 * sum(np.sin(2 * np.pi * 140 * k * time) / k for k in range(1, 8))).astype(np.float32)


def test_the_style_of_a_recording_is_both_encoders_outputs(many):
    wave = voice(1.6)
    style = many.style_of(wave)
    mel = log_mel(jnp.asarray(prepare_reference(wave))[None])
    expected = [np.asarray(net(mel))[0] for net in (many.model.style_encoder, many.model.predictor_encoder)]
    assert style.shape == (256,)
    expected = np.concatenate(expected)
    # Untrained spectral norms make huge numbers: the bound is on the scale of the vector.
    np.testing.assert_allclose(style, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_recordings_of_similar_length_share_a_program(many):
    many.style_of(voice(1.55))
    before = many.compilations
    many.style_of(voice(1.7))
    many.style_of(np.stack([voice(1.9)] * 2, 1))
    assert many.compilations == before


def chosen(speaker: Speaker, style, sampling: Sampling, seed: int = 0) -> np.ndarray:
    passages = list(speaker.passages("this is a sentence for one. " * 8))
    choose = speaker._style_chooser(None, style, sampling, seed)
    return np.concatenate([choose([passage], number) for number, passage in enumerate(passages)])


def test_drawn_styles_repeat_with_the_seed_and_differ_without(alone):
    styles = chosen(alone, None, Sampling(carry=0.0))
    assert len(styles) > 1 and styles.shape[1] == 256 and np.isfinite(styles).all()
    np.testing.assert_array_equal(chosen(alone, None, Sampling(carry=0.0)), styles)
    assert np.abs(chosen(alone, None, Sampling(carry=0.0), seed=1) - styles).max() > 1e-3
    assert np.abs(styles[0] - styles[1]).max() > 1e-3


def test_a_long_text_keeps_one_manner_by_carrying_the_style_over(alone):
    kept = chosen(alone, None, Sampling(carry=1.0))
    np.testing.assert_allclose(kept, np.broadcast_to(kept[0], kept.shape), atol=1e-6)
    free, half = (chosen(alone, None, Sampling(carry=share)) for share in (0.0, 0.5))
    np.testing.assert_allclose(half[1], 0.5 * half[0] + 0.5 * free[1], atol=1e-5)


def test_alpha_and_beta_mix_the_drawn_style_with_the_references(many):
    reference = np.linspace(-1, 1, 256, dtype=np.float32)
    none = chosen(many, reference, Sampling(alpha=0, beta=0))
    np.testing.assert_allclose(none, np.broadcast_to(reference, none.shape), atol=1e-6)
    both = chosen(many, reference, Sampling(alpha=1, beta=1, carry=0))
    acoustic = chosen(many, reference, Sampling(alpha=1, beta=0, carry=0))
    np.testing.assert_allclose(acoustic[:, :128], both[:, :128], atol=1e-6)
    np.testing.assert_allclose(acoustic[:, 128:], none[:, 128:], atol=1e-6)


def test_a_multi_speaker_release_wants_a_reference(many):
    with pytest.raises(UserError, match="recording"):
        many.stream("hello there")
