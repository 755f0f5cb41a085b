"""Losses are sums and weights, and the chunked cross-entropy is the cross-entropy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from empatheia_jax.training import losses


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(0)
    hidden, kernel = rng.normal(size=(3, 11, 8)), rng.normal(size=(8, 17))
    labels, mask = rng.integers(0, 17, (3, 11)), rng.random((3, 11)) > 0.4
    return [jnp.asarray(x, jnp.float32 if x.dtype == float else None) for x in (hidden, kernel, labels, mask)]


@pytest.mark.parametrize("chunk", [None, 1, 4, 11, 64])
def test_cross_entropy_and_its_gradient_equal_torch_for_any_chunk(tokens, chunk):
    hidden, kernel, labels, mask = tokens

    def loss(hidden, kernel):
        pair, correct = losses.chunked_cross_entropy(lambda h: h @ kernel, hidden, labels, mask, chunk=chunk)
        return losses.mean(pair), correct

    (value, correct), grads = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(hidden, kernel)
    h, k = (torch.tensor(np.asarray(x), requires_grad=True) for x in (hidden, kernel))
    target = torch.tensor(np.where(mask, labels, -100)).long().reshape(-1)
    logits = (h @ k).reshape(-1, 17)
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=-100)
    expected.backward()
    assert float(value) == pytest.approx(expected.item(), abs=2e-6)
    np.testing.assert_allclose(grads[0], h.grad.numpy(), atol=1e-6)
    np.testing.assert_allclose(grads[1], k.grad.numpy(), atol=1e-6)
    hits = (logits.argmax(-1) == target).sum().item()
    assert (int(correct[0]), int(correct[1])) == (hits, int(mask.sum()))


def test_chunks_in_which_no_position_counts_are_not_computed():
    counted = []

    def loss(hidden, mask):
        def logits(h):
            jax.debug.callback(lambda: counted.append(1), ordered=True)
            return h @ jnp.eye(8)

        return losses.chunked_cross_entropy(logits, hidden, jnp.zeros((2, 64), jnp.int32), mask, chunk=16)[0][0]

    hidden = jnp.ones((2, 64, 8))
    scattered = jnp.zeros((2, 64)).at[:, 5::13].set(1.0)  # five positions of each row: they fit into one chunk
    assert float(jax.jit(loss)(hidden, scattered)) == pytest.approx(10 * np.log(8), rel=1e-6)
    jax.effects_barrier()
    assert len(counted) == 1


def test_the_logits_of_the_whole_batch_never_exist():
    width, vocabulary, length = 8, 512, 256

    def loss(hidden, kernel):
        labels = jnp.zeros((4, length), jnp.int32)
        pair, _ = losses.chunked_cross_entropy(lambda h: h @ kernel, hidden, labels, jnp.ones((4, length)), chunk=16)
        return pair[0]

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, length, width), (width, vocabulary))]
    text = jax.jit(jax.grad(loss, (0, 1))).lower(*shapes).compile()
    assert text.memory_analysis().temp_size_in_bytes < 4 * length * vocabulary * 4 / 2


def test_regression_is_the_mean_over_dimensions_and_valid_positions():
    rng = np.random.default_rng(1)
    u, v = rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 5, 3, 4))
    u[0, 3:], lengths, weight = np.inf, jnp.array([3, 5]), jnp.array([1.0, 1.0])
    valid = np.concatenate([u[0, :3] - v[0, :3], u[1] - v[1]])
    pair = losses.regression(jnp.asarray(u), jnp.asarray(v), weight=weight, lengths=lengths)
    assert float(losses.mean(pair)) == pytest.approx((valid**2).mean(), rel=1e-6)
    assert float(pair[1]) == 8
    pair = losses.regression(jnp.asarray(u), jnp.asarray(v), weight=weight, lengths=lengths, kind="l2")
    assert float(losses.mean(pair)) == pytest.approx(np.sqrt((valid**2).sum(-1)).mean(), rel=1e-6)


def test_a_padding_example_counts_nothing_and_gives_no_gradient():
    u, v = jnp.ones((2, 4)), jnp.zeros((2, 4))
    pair = losses.regression(u, v, weight=jnp.array([1.0, 0.0]))
    assert (float(pair[0]), float(pair[1])) == (1.0, 1.0)
    grad = jax.grad(lambda u: losses.regression(u, u * 0 + 1, weight=jnp.array([1.0, 0.0]), kind="l2")[0])(u)
    assert np.isfinite(grad).all()


def test_unknown_labels_do_not_count():
    logits = jnp.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])
    (total, weight), (correct, _) = losses.classification(logits, jnp.array([0, 0, -1]), jnp.ones(3))
    expected = torch.nn.functional.cross_entropy(torch.tensor(np.asarray(logits[:2])), torch.tensor([0, 0])).item()
    assert float(total / weight) == pytest.approx(expected, rel=1e-6)
    assert (float(weight), float(correct)) == (2.0, 1.0)


def test_the_letter_of_the_regression_is_the_squared_norm_of_an_example():
    u, v = np.random.default_rng(0).normal(size=(2, 3, 4, 2, 5)).astype(np.float32)
    lengths, weight = np.array([4, 2, 3]), np.array([1.0, 1.0, 0.0], np.float32)
    total, count = losses.regression(
        jnp.asarray(u), jnp.asarray(v), weight=jnp.asarray(weight), lengths=jnp.asarray(lengths), kind="sum"
    )
    expected = sum(np.square(u[b, :n] - v[b, :n]).sum() for b, n in ((0, 4), (1, 2)))
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert count == 2
    one = jnp.ones(3)
    total, count = losses.regression(jnp.asarray(u[:, 0, 0]), jnp.asarray(v[:, 0, 0]), weight=one, kind="sum")
    np.testing.assert_allclose(total / count, np.square(u[:, 0, 0] - v[:, 0, 0]).sum(-1).mean(), rtol=1e-6)
    grad = jax.grad(lambda u: losses.regression(u, u * 0, weight=one, kind="sum")[0])(jnp.asarray(u[:, 0, 0]))
    np.testing.assert_allclose(grad, 2 * u[:, 0, 0], rtol=1e-6)
