"""A decoding step reads every weight once and copies none, on this machine and on GPUs that are not here."""

from __future__ import annotations

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

from benchmarks.traffic import VICUNA, decoding_step
from empatheia_jax.core.llama import LlamaConfig
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel import targets
from tests.core.test_llama import SOURCE

WIDE = LlamaConfig.from_source(
    SOURCE
    | {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 512}
    | {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 128}
)

SEVEN_BILLION = LlamaConfig.from_source(VICUNA | {"num_hidden_layers": 2})
"""Compiled, never made: its widths cost nothing here."""


@pytest.mark.parametrize("rows", [1, 8])
def test_here_a_step_reads_every_weight_and_the_cache_once_and_copies_neither(rows):
    moved, weights, cache = decoding_step(WIDE, jax.devices()[0], rows, jnp.float32, prompt=512)
    assert moved.moved < 1.02 * weights + 1.5 * cache
    assert moved.copied < 0.01 * cache


@pytest.mark.skipif(not find_spec("jax_cuda12_plugin"), reason="needs jax_cuda12_plugin, part of the extra `preflight`")
@pytest.mark.parametrize("packed", [False, True], ids=["bfloat16", "int8"])
@pytest.mark.parametrize("rows", [1, 8])
def test_on_a_gpu_a_step_reads_every_weight_once_in_the_form_it_is_stored(rows, packed):
    (device,) = targets.devices(targets.parse("h100-80gb:1"))
    with target_platform("gpu"):
        moved, weights, cache = decoding_step(SEVEN_BILLION, device, rows, jnp.bfloat16, packed=packed)
    assert moved.moved < 1.1 * weights + 4 * cache
    assert moved.copied < 0.01 * weights
