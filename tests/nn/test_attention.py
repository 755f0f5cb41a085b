"""Attention: every implementation that can run here says what the definition says; the others say why they cannot."""

from __future__ import annotations

import functools
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from empatheia_jax.nn import attention as module
from empatheia_jax.nn import platform
from empatheia_jax.nn.attention import IMPLEMENTATIONS, attention, select
from empatheia_jax.parallel import targets

B, T, N, K, H = 2, 128, 4, 2, 128
SEGMENTS = np.repeat([[1, 2], [1, 1]], 64, axis=1)
CASES = {
    "all": {},
    "causal": {"causal": True},
    "lengths": {"lengths": np.asarray([128, 70])},
    "causal lengths": {"causal": True, "lengths": np.asarray([128, 70])},
    "segments": {"causal": True, "segment_ids": SEGMENTS},
    "window": {"causal": True, "window": 9},
    "bias": {"bias": np.random.default_rng(1).normal(size=(1, N, T, T))},
    "mask": {"mask": np.random.default_rng(2).random((B, T, T)) < 0.5},
    "scale": {"scale": 0.3},
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "QUERY_BLOCK", 48)


@pytest.fixture(scope="module")
def qkv():
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(B, T, heads, H)).astype(np.float32) for heads in (N, K, K))


def definition(q, k, v, causal=False, lengths=None, mask=None, segment_ids=None, window=None, bias=None, scale=None):
    """Written out in NumPy, in float64."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, N // K, axis=2) for x in (k, v))
    scores = np.einsum("btnh,bsnh->bnts", q, k) * (H**-0.5 if scale is None else scale)
    scores += 0 if bias is None else bias
    seen = np.ones((B, 1, T, T), bool)
    row, column = np.arange(T)[:, None], np.arange(T)[None]
    seen &= (column <= row) | (not causal)
    if window is not None:
        seen &= row - column < window
    if lengths is not None:
        seen &= (column[None] < lengths[:, None, None])[:, None]
    if mask is not None:
        seen &= mask[:, None]
    if segment_ids is not None:
        seen &= (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None]
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("bnts,bsnh->btnh", weights / weights.sum(axis=-1, keepdims=True), v)


def runners():
    """The implementations that can run here; splash runs interpreted where there is no TPU."""
    yield "xla", functools.partial(attention, implementation="xla")
    yield "blocked", functools.partial(attention, implementation="blocked")
    yield "splash", functools.partial(attention, implementation="splash")
    if jax.default_backend() == "gpu":
        yield "cudnn", functools.partial(attention, implementation="cudnn")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name, _ in runners()])
def test_every_implementation_follows_the_definition(qkv, name, case, monkeypatch):
    restrictions = CASES[case]
    dtype = jnp.bfloat16 if name == "cudnn" else jnp.float32
    if name == "splash":
        served = select("splash", platform="tpu", dtype=dtype, head_dim=H, queries=T, keys=T, **flags(restrictions))
        if served.reason:
            pytest.skip(served.reason)
        if jax.default_backend() != "tpu":
            monkeypatch.setattr(module, "_splash", functools.partial(module._splash, interpret=True))
    given = {key: jnp.asarray(v) if isinstance(v, np.ndarray) else v for key, v in restrictions.items()}
    with platform.target_platform("tpu" if name == "splash" else jax.default_backend()):
        ours = attention(*(jnp.asarray(x, dtype) for x in qkv), implementation=name, **given)
    expected = definition(*qkv, **restrictions)
    valid = np.arange(T)[None] < restrictions.get("lengths", np.full(B, T))[:, None]  # padded queries mean nothing
    tolerance = 3e-2 if name == "cudnn" else 1e-4
    np.testing.assert_allclose(np.asarray(ours, np.float64)[valid], expected[valid], atol=tolerance)


def flags(restrictions):
    named = {"segment_ids": "segments"}
    return {named.get(key, key): True for key in restrictions if key != "scale"}


FORM = {"dtype": jnp.bfloat16, "head_dim": 128, "queries": 256, "keys": 256}


@pytest.mark.parametrize(
    ("requested", "platform", "change", "name", "says"),
    [
        (None, "gpu", {}, "xla", ""),
        ("auto", "gpu", {}, "cudnn", ""),
        ("auto", "tpu", {}, "blocked", ""),
        ("splash", "tpu", {}, "splash", ""),
        ("auto", "cpu", {}, "blocked", ""),
        ("cudnn", "cpu", {}, "blocked", "NVIDIA GPU"),
        ("cudnn", "gpu", {"dtype": jnp.float32}, "blocked", "float32"),
        ("cudnn", "gpu", {"head_dim": 160}, "blocked", "160"),
        ("cudnn", "gpu", {"mask": True}, "blocked", "segments instead"),
        ("cudnn", "gpu", {"segments": True}, "cudnn", ""),
        ("splash", "gpu", {}, "blocked", "TPU"),
        ("splash", "tpu", {"keys": 200}, "blocked", "200"),
        ("splash", "tpu", {"bias": True}, "blocked", "bias"),
    ],
)
def test_the_choice_is_explicit_and_a_fallback_has_its_reason(requested, platform, change, name, says):
    chosen = select(requested, platform=platform, **FORM | change)
    assert chosen.name == name and (says in chosen.reason if says else not chosen.reason)


@pytest.mark.skipif(not find_spec("jax_cuda12_plugin"), reason="needs jax_cuda12_plugin, part of the extra `preflight`")
def test_segments_become_a_bias_of_cudnns_attention_where_its_offsets_cannot_be_tried():
    (device,) = targets.devices(targets.parse("a100-80gb:1"))
    here = jax.sharding.SingleDeviceSharding(device)
    qkv = [jax.ShapeDtypeStruct((B, T, N, H), jnp.bfloat16, sharding=here)] * 3
    ids = jax.ShapeDtypeStruct((B, T), jnp.int32, sharding=here)
    with platform.target_platform("gpu"):
        fused = jax.jit(lambda q, k, v, ids: attention(q, k, v, causal=True, segment_ids=ids, implementation="cudnn"))
        text = fused.lower(*qkv, ids).compile().as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax" in text


def test_a_fallback_is_logged_with_its_reason(qkv, caplog):
    module._log_once.cache_clear()
    with caplog.at_level("INFO"), platform.target_platform("cpu"):
        attention(*map(jnp.asarray, qkv), implementation="splash")
    assert "splash needs a TPU" in caplog.text


def test_names_and_head_counts_that_do_not_exist_are_refused(qkv):
    q, k, v = map(jnp.asarray, qkv)
    with pytest.raises(ValueError, match="flash"):
        attention(q, k, v, implementation="flash")
    with pytest.raises(ValueError, match="3 query heads"):
        attention(q[:, :, :3], k, v)
    assert set(IMPLEMENTATIONS) == {"xla", "blocked", "cudnn", "splash", "auto"}
