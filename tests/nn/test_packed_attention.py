"""Offsets of packed rows say what their segment ids say, and the private call behind them is used only where it agrees."""

from __future__ import annotations

import enum
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from empatheia_jax.nn import packed_attention
from empatheia_jax.nn.attention import attention


class MaskType(enum.Enum):
    PADDING = 1
    PADDING_CAUSAL = 3


def by_offsets(q, k, v, *, q_seqlen, kv_seqlen, q_offsets, kv_offsets, scale, mask_type, wrong=False):
    """What cuDNN's call is told, followed literally: a token belongs to the run that holds its place, or to none."""
    place = jnp.arange(q.shape[1])

    def run(starts, lengths):
        inside = (place[:, None] >= starts[:, None, :-1]) & (place[:, None] < (starts[:, :-1] + lengths)[:, None])
        return jnp.where(inside.any(-1), jnp.argmax(inside, axis=-1), -1)

    ours, theirs = run(q_offsets, q_seqlen), run(kv_offsets, kv_seqlen)
    seen = (ours[:, :, None] == theirs[:, None]) & (ours >= 0)[:, :, None] | wrong
    causal = mask_type == MaskType.PADDING_CAUSAL
    out = jax.nn.dot_product_attention(q, k, v, mask=seen[:, None], is_causal=causal, scale=scale, implementation="xla")
    return jnp.where((ours >= 0)[..., None, None], out, jnp.nan)  # outside all runs nothing is written


OWN = types.SimpleNamespace(MaskType=MaskType, dot_product_attention=by_offsets)


@pytest.mark.parametrize("causal", [True, False])
def test_offsets_say_what_segments_say(causal):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.standard_normal((4, 40, 2, 8)), jnp.float32) for _ in range(3))
    ids = np.zeros((4, 40), np.int32)
    ids[0, :33], ids[1], ids[2, :32] = np.repeat([1, 2, 3], [20, 1, 12]), 1, np.arange(1, 33)  # the last: all padding
    found = packed_attention.attend(OWN, q, k, v, causal, jnp.asarray(ids), 0.3)
    expected = attention(q, k, v, causal=causal, segment_ids=jnp.asarray(ids), scale=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # padding is written, too, and finite


@pytest.mark.parametrize(
    "row", [[1, 2, 1, 0], [0, 1, 2, 3], [1, 0, 2, 0], range(1, packed_attention.MOST_SEGMENTS + 2)], ids=str
)
def test_a_row_of_another_form_is_not_a_number_and_its_neighbour_is_right(row):
    ids = np.ones((2, len(row)), np.int32)
    ids[0] = row
    x = jnp.ones((2, len(row), 1, 8))
    out = packed_attention.attend(OWN, x, x, x, True, jnp.asarray(ids), 1.0)
    assert np.isnan(out[0]).all() and np.isfinite(out[1]).all()


def test_as_many_segments_as_promised_are_taken():
    ids = np.arange(1, packed_attention.MOST_SEGMENTS + 1)[None]
    assert packed_attention.runs(jnp.asarray(ids))[2].all()
    assert packed_attention.runs(jnp.pad(jnp.asarray(ids), ((0, 0), (0, 3))))[2].all()


def test_the_call_is_trusted_after_it_agreed_even_while_a_program_is_traced():
    said = []

    @jax.jit
    def program(x):
        said.append(packed_attention.disagreement(OWN))
        return x + 1

    assert program(jnp.zeros(())) == 1 and said == [""]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (functools.partial(by_offsets, wrong=True), "differs"),
        (lambda q, k, v: q, "takes no offsets"),
        (lambda q, k, v, q_offsets, kv_offsets, **more: 1 / 0, "division by zero"),
    ],
)
def test_a_call_that_is_wrong_missing_or_fails_is_not_used(call, says):
    own = types.SimpleNamespace(MaskType=MaskType, dot_product_attention=call)
    assert says in packed_attention.disagreement(own)


def test_it_is_for_gpus_alone():
    if jax.default_backend() != "gpu":
        assert packed_attention.kernel() is None


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs an NVIDIA GPU of the Hopper generation or later")
def test_cudnns_call_agrees_on_this_device():
    assert packed_attention.kernel() is not None
