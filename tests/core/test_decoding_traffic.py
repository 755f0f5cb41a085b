"""A decoding step reads every weight once and copies none, on this machine and on GPUs that are not here."""

from __future__ import annotations

from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from empatheia_jax.core import decoding
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.nn import int8
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel import hlo, targets
from tests.core.test_llama import SOURCE

WIDE = LlamaConfig.from_source(
    SOURCE
    | {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 512}
    | {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 128}
)
NEW = 64


def step_of(device, batch: int, dtype, packed: bool):
    """What one token of all rows moves, bytes of the weights, bytes of the cache."""

    def construct():
        model = Llama(WIDE, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype)
        if packed:
            int8.quantise_model(model)
        return model

    abstract = nnx.eval_shape(construct)
    networks = decoding._Networks.of(abstract, None)
    shape = decoding._Shape(NEW, 0, 0, decoding.Kind.of(decoding.DecodingSettings(NEW)))
    here, of = jax.sharding.SingleDeviceSharding(device), jax.ShapeDtypeStruct
    number = of((), jnp.float32)
    rules = decoding._Rules(
        jax.eval_shape(lambda: jax.random.key(0)), number, number, number, of((0,), jnp.int32), None, None, None
    )
    prompt = of((batch, 64, WIDE.hidden_size), dtype), of((batch,), jnp.int32), None
    weights, loop = jax.eval_shape(lambda *a: decoding._begin(a[0], shape, *a[1:]), networks, rules, *prompt)
    arguments = networks, rules, weights, loop, of((batch,), bool), of((), jnp.int32)
    networks, *rest = jax.tree.map(lambda x: of(x.shape, x.dtype, sharding=here), arguments)
    program = hlo.Program(decoding._go_on.lower(networks, shape, *rest).compile().as_text())
    (body,) = program.open_loops()
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))  # noqa: E731
    read = size(nnx.state(abstract)) - size(nnx.state(abstract.embed_tokens)) * (not WIDE.tie_word_embeddings)
    return hlo.traffic(program, body), read, size((loop.cache.k, loop.cache.v))


def test_here_a_step_reads_every_weight_once():
    moved, weights, cache = step_of(jax.devices()[0], 1, jnp.float32, False)
    assert moved.moved < 1.05 * weights + 6 * cache
    assert moved.copied < 6 * cache


@pytest.mark.parametrize("packed", [False, True], ids=["bfloat16", "int8"])
@pytest.mark.parametrize("batch", [1, 8])
def test_on_a_gpu_a_step_reads_every_weight_once_in_the_form_it_is_stored(batch, packed):
    if not find_spec("jax_cuda12_plugin"):
        pytest.skip("needs jax_cuda12_plugin, part of the extra `preflight`")
    (device,) = targets.devices(targets.parse("h100-80gb:1"))
    with target_platform("gpu"):
        moved, weights, cache = step_of(device, batch, jnp.bfloat16, packed)
    assert moved.moved < 1.1 * (weights + 2 * cache)
    assert moved.copied < 0.01 * weights
