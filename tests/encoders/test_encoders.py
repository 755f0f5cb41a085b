"""What the encoders promise beside their numbers."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from empatheia_jax import weights
from empatheia_jax.encoders.albert import Albert, AlbertConfig
from empatheia_jax.encoders.clip_image import ClipPreprocessor, resize_bicubic
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config, normalize
from empatheia_jax.errors import UserError

SPEECH = Wav2Vec2Config(
    model_type="hubert",
    width=24,
    layers=3,
    heads=2,
    mlp=40,
    conv_channels=(16, 16, 16),
    conv_widths=(10, 3, 2),
    conv_strides=(5, 2, 2),
    conv_bias=True,
    conv_norm="layer",
    conv_activation="gelu",
    activation="gelu",
    pre_norm=True,
    position_width=8,
    position_groups=4,
    eps=1e-5,
    vocabulary=None,
)
VISION = ClipVisionConfig(
    image=16, patch=4, channels=3, width=24, layers=3, heads=2, mlp=40, activation="quick_gelu", eps=1e-5
)
TEXT = AlbertConfig(
    vocabulary=20,
    token_types=2,
    positions=16,
    embedding=8,
    width=24,
    heads=2,
    mlp=40,
    passes=3,
    activation="gelu_new",
    eps=1e-12,
)


def random_model(cls, config, seed: int = 0) -> nnx.Module:
    """A model with random weights drawn by NumPy, which costs no compilation."""

    def construct():
        return cls(config, rngs=nnx.Rngs(0))

    rng = np.random.default_rng(seed)
    shapes = {path: leaf.shape for path, leaf in weights.flatten(weights.abstract(construct)).items()}
    flat = {
        path: rng.standard_normal(s, dtype=np.float32) * max(s[-2:-1], default=100) ** -0.5
        for path, s in shapes.items()
    }
    return weights.materialize(construct, {path: jnp.asarray(value) for path, value in flat.items()})


def compiled(model: nnx.Module, function, *arguments):
    """`function(model, *arguments)` as one compiled program."""
    graph, state = nnx.split(model)
    return jax.jit(lambda state, *a: function(nnx.merge(graph, state), *a))(state, *arguments)


@pytest.mark.parametrize("conv_norm", ["layer", "group"])
def test_padding_with_lengths_changes_nothing_where_the_model_masks(conv_norm):
    config = dataclasses.replace(SPEECH, conv_norm=conv_norm)
    model = random_model(Wav2Vec2, config)
    waves = jax.random.normal(jax.random.key(0), (2, 800))
    lengths = jnp.array([800, 500])
    together = compiled(model, lambda m, w, n: m(normalize(w, n), lengths=n), waves, lengths)
    alone = compiled(model, lambda m, w: m(normalize(w)), waves[1:, :500])
    count = int(together.lengths[1])
    assert alone.last.shape[1] == count == model.frames(500)
    difference = float(jnp.max(jnp.abs(together.last[1, :count] - alone.last[0])))
    assert (difference < 1e-5) == config.masks_padding


@pytest.mark.parametrize(
    "cls, config, value",
    [
        (Wav2Vec2, SPEECH, np.random.default_rng(1).standard_normal((1, 600), dtype=np.float32)),
        (ClipVision, VISION, np.random.default_rng(2).standard_normal((2, 16, 16, 3), dtype=np.float32)),
        (Albert, TEXT, np.array([[3, 4, 5]])),
    ],
)
def test_scanned_and_unrolled_layers_agree(cls, config, value):
    model = random_model(cls, config)
    scanned, unrolled = (compiled(model, lambda m, x, s=s: m(x, scan=s), value) for s in (True, False))
    for a, b in zip(jax.tree.leaves(scanned), jax.tree.leaves(unrolled)):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_recomputed_layers_give_the_same_gradients():
    graph, state = nnx.split(random_model(Wav2Vec2, SPEECH))
    wave = jnp.asarray(np.random.default_rng(1).standard_normal((1, 600), dtype=np.float32))

    def gradients(state, remat):
        return jax.grad(lambda s: jnp.sum(jnp.square(nnx.merge(graph, s)(wave, remat=remat).last)))(state)

    plain, again = (jax.jit(gradients, static_argnums=1)(state, remat) for remat in ("nothing", "full"))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(again)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_patch_features_stop_at_their_layer():
    layers = (-1, -2, 0, 1)
    pixels = np.random.default_rng(2).standard_normal((2, 16, 16, 3), dtype=np.float32)
    hidden, features = compiled(
        random_model(ClipVision, VISION),
        lambda m, p: (m(p, all_hidden=True).hidden, [m.patch_features(p, layer=layer) for layer in layers]),
        pixels,
    )
    for layer, ours in zip(layers, features):
        np.testing.assert_allclose(ours, hidden[layer][:, 1:], atol=1e-5)


@pytest.mark.parametrize("cls, config", [(Wav2Vec2, SPEECH), (ClipVision, VISION), (Albert, TEXT)])
def test_every_parameter_has_axis_names_and_stacked_ones_begin_with_layers(cls, config):
    state = nnx.state(weights.abstract(lambda: cls(config, rngs=nnx.Rngs(0))))
    for path, variable in nnx.to_flat_state(state):
        axes = variable.get_metadata()["out_sharding"]
        assert len(axes) == len(variable.shape)
        assert (path[0] == "layers") == (axes[0] == "layers")


@pytest.mark.parametrize("cls, config", [(Wav2Vec2, SPEECH), (ClipVision, VISION), (Albert, TEXT)])
def test_a_config_survives_a_weights_folder(tmp_path, cls, config):
    model = random_model(cls, config)
    weights.save(tmp_path / "w", model, config, "some", {})
    back = weights.restore(tmp_path / "w", cls, type(config), kind="some")
    assert back.config == config
    for path, value in weights.flatten(model).items():
        np.testing.assert_array_equal(value, weights.flatten(back)[path])


@pytest.mark.parametrize(
    "name, change, reason",
    [
        ("hubert_layer", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("hubert_layer", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm is True, only False"),
        ("hubert_layer", {"position_embeddings_type": "rotary"}, "position_embeddings_type = 'rotary' is not known"),
        ("hubert_layer", {"layer_norm_eps": None}, "layer_norm_eps is missing"),
        ("hubert_layer", {"model_type": "wavlm"}, "model_type is 'wavlm'"),
        ("clip_vision", {"patch_size": 13}, "patch_size does not divide"),
        ("clip_vision", {"rope_scaling": {"type": "odd"}}, "rope_scaling = .* is not known"),
        ("albert_plbert", {"num_hidden_groups": 2}, "num_hidden_groups is 2, only 1"),
        ("albert_plbert", {"hidden_act": "tanh"}, "hidden_act 'tanh'"),
    ],
)
def test_a_config_that_is_not_implemented_is_refused(shared, name, change, reason):
    source = json.loads((shared / "parity" / "backbones" / f"{name}.config.json").read_text()) | change
    source = {k: v for k, v in source.items() if v is not None}
    cls = {"h": Wav2Vec2Config, "c": ClipVisionConfig, "a": AlbertConfig}[name[0]]
    with pytest.raises(UserError, match=reason):
        cls.from_source(source)


@pytest.mark.parametrize("height, width", [(70, 93), (300, 40), (24, 31), (56, 56), (57, 200), (1, 9)])
def test_the_bicubic_resize_gives_pillows_bytes(height, width):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2] = (image[: height // 2] > 128) * 255  # sharp edges overshoot: clipping matters
    for target in ((56, 56), (56, 77), (20, 133)):
        across = Image.fromarray(image).resize((target[1], height), Image.Resampling.BICUBIC)
        expected = np.asarray(across.resize(target[::-1], Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(resize_bicubic(image, *target), expected)


def test_a_clip_of_frames_is_preprocessed_like_its_frames():
    frames = np.random.default_rng(0).integers(0, 256, (3, 30, 50, 3), dtype=np.uint8)
    preprocessor = ClipPreprocessor(16, 16, (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
    together = preprocessor(frames)
    assert together.shape == (3, 16, 16, 3) and together.dtype == np.float32
    np.testing.assert_array_equal(together, np.stack([preprocessor(f) for f in frames]))


def test_the_preprocessor_reads_old_and_new_configurations():
    stats = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "do_resize": True, "resample": 3}
    old = ClipPreprocessor.from_source({"size": 336, "crop_size": 336, **stats})
    new = ClipPreprocessor.from_source(
        {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}, "rescale_factor": 1 / 255, **stats}
    )
    assert old == new
    with pytest.raises(UserError, match="resample is 2, only 3"):
        ClipPreprocessor.from_source({"size": 336, "crop_size": 336, **stats, "resample": 2})


def test_inputs_that_cannot_be_encoded_are_refused():
    with pytest.raises(UserError, match="too short"):
        random_model(Wav2Vec2, SPEECH)(jnp.zeros((1, 20)))
    with pytest.raises(UserError, match="expected .B, 16, 16, 3"):
        random_model(ClipVision, VISION)(jnp.zeros((1, 3, 16, 16)))
    with pytest.raises(UserError, match="16 positions"):
        random_model(Albert, TEXT)(jnp.zeros((1, 17), int))
    with pytest.raises(UserError, match="expected uint8"):
        ClipPreprocessor(16, 16, (0, 0, 0), (1, 1, 1)).crop_images(np.zeros((20, 20, 3)))
