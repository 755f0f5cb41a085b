"""The LoRA step as an A100 would run it: cuDNN's attention where it is asked for, few bytes moved besides the products."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.traffic import least_of_lora_step, lora_step
from empatheia_jax.core.llama import LlamaConfig
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel import hlo, targets
from tests.core.test_llama import SOURCE

SIZES = LlamaConfig.from_source(
    SOURCE
    | {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 512}
    | {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 512}
)
ROWS, LENGTH, CHUNK = 2, 512, 256


@pytest.mark.skipif(not find_spec("jax_cuda12_plugin"), reason="needs jax_cuda12_plugin, part of the extra `preflight`")
def test_cudnns_attention_is_in_the_program_of_an_a100_where_it_is_asked_for_and_moves_less():
    (device,) = targets.devices(targets.parse("a100-80gb:1"))
    with target_platform("gpu"):
        fused, plain = (lora_step(SIZES, device, ROWS, LENGTH, name, CHUNK) for name in ("cudnn", "blocked"))
    assert (
        fused.count('custom_call_target="__cudnn$fmha') == 3
    )  # forward, recomputed, backward: one body for all layers
    assert "__cudnn$fmha" not in plain
    moved = hlo.traffic(hlo.Program(fused))
    assert moved.moved < 0.6 * hlo.traffic(hlo.Program(plain)).moved
    assert moved.moved < 6 * least_of_lora_step(SIZES, ROWS, LENGTH)
    assert moved.copied < 0.12 * moved.moved
