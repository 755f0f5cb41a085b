"""The renderer's layers equal PyTorch's, and its savings change nothing."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dreamtalk_sizes import RENDERER as SMALL
from dreamtalk_sizes import build
from flax import nnx

from empatheia_jax.dreamtalk import renderer_layers as layers
from empatheia_jax.dreamtalk.editing_net import ResidualBlock
from empatheia_jax.dreamtalk.renderer import normalise_image, to_uint8
from empatheia_jax.errors import UserError

OPTIONS = dict(dtype=jnp.float32, param_dtype=jnp.float32)


def normal(*shape: int) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def to_torch(x) -> torch.Tensor:
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2))


def test_transposed_convolution_equals_pytorch():
    layer = layers.UpConv(5, 7, rngs=nnx.Rngs(0), **OPTIONS)
    layer.bias[...] = normal(7)
    x = normal(2, 4, 6, 5)
    want = torch.nn.functional.conv_transpose2d(
        to_torch(x),
        torch.tensor(np.asarray(layer.kernel[...]).transpose(2, 3, 0, 1)),
        torch.tensor(np.asarray(layer.bias[...])),
        stride=2,
        padding=1,
        output_padding=1,
    )
    np.testing.assert_allclose(layer(x), want.numpy().transpose(0, 2, 3, 1), atol=1e-5)


def test_convolution_of_an_enlarged_image_equals_the_cheap_form():
    layer = layers.conv(5, 6, 3, padding=1, rngs=nnx.Rngs(0), **OPTIONS)
    layer.bias[...] = normal(6)
    x = normal(2, 5, 4, 5)
    np.testing.assert_allclose(layers.upsampled_conv(x, layer), layer(x.repeat(2, axis=1).repeat(2, axis=2)), atol=1e-5)


@pytest.mark.parametrize("size", [(5, 7), (16, 12)])
def test_warping_equals_pytorch_interpolation_and_grid_sampling(size):
    image, flow = normal(2, 16, 12, 3), 3 * normal(2, *size, 2)
    deformation = layers.flow_to_deformation(flow)
    grid = torch.tensor(np.asarray(deformation).transpose(0, 3, 1, 2))
    if size != (16, 12):
        grid = torch.nn.functional.interpolate(grid, size=(16, 12), mode="bilinear", align_corners=False)
    want = torch.nn.functional.grid_sample(to_torch(image), grid.permute(0, 2, 3, 1), align_corners=False)
    got = layers.warp(image, deformation)
    np.testing.assert_allclose(got, want.numpy().transpose(0, 2, 3, 1), atol=2e-5)
    assert float((got == 0).mean()) > 0.05  # some of it really lies outside the picture


def test_one_portrait_for_many_frames_equals_a_copy_for_each():
    model = build(SMALL)
    portrait, windows = normal(1, 32, 32, 3), normal(3, 13, 12)
    graph, state = nnx.split(model)
    as_for_a_user = {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }  # rounds less often
    render = jax.jit(lambda state, portrait: nnx.merge(graph, state)(portrait, windows), compiler_options=as_for_a_user)
    shared = render(state, portrait)
    copies = render(state, jnp.broadcast_to(portrait, (3, 32, 32, 3)))
    for a, b in zip(shared, copies, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert shared.image.shape == (3, 32, 32, 3) and shared.flow.shape == (3, 16, 16, 2)
    assert float(jnp.abs(shared.image[0] - shared.image[1]).max()) > 1e-4


def test_unused_convolutions_are_carried_and_have_no_gradient():
    config = dataclasses.replace(SMALL, unused_residual_convs=True)
    block = ResidualBlock(config, 4, rngs=nnx.Rngs(0), **OPTIONS)
    graph, params = nnx.split(block)
    gradients = jax.grad(lambda p: jnp.square(nnx.merge(graph, p)(normal(1, 8, 8, 4), normal(1, 16))).sum())(params)
    sizes = {".".join(map(str, path)): float(jnp.abs(g[...]).max()) for path, g in nnx.to_flat_state(gradients)}
    unused = {path for path in sizes if path.startswith(("conv1.", "norm1."))}
    assert unused == {path for path, size in sizes.items() if size < 1e-6} - {"conv2.bias"}  # the norm takes its mean
    assert len(unused) == 8


def test_pixels_go_to_the_unit_range_and_come_back_truncated():
    ramp = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 256, 3)
    unit = normalise_image(jnp.asarray(ramp))
    assert float(unit.min()) == -1.0 and float(unit.max()) == 1.0
    assert np.abs(np.asarray(to_uint8(unit)).astype(int) - ramp).max() <= 1
    np.testing.assert_array_equal(to_uint8(jnp.asarray([-3.0, 0.0, 0.999, 3.0])), [0, 127, 254, 255])


def test_a_window_too_short_for_the_mapping_network_is_refused():
    with pytest.raises(UserError, match="window"):
        dataclasses.replace(SMALL, window_radius=5)
