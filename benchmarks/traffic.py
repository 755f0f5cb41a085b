"""Bytes that compiled programs of the language model move through a GPU that is not here, against the least possible.

    python -m benchmarks.traffic [--target=h100-80gb:1] [--layers=4]
                                 [--rows=decode_1,decode_1_int8,decode_8,lora_blocked,lora_cudnn]

The widths are Vicuna-7B's, with fewer layers, since all are alike. Needs the extra `preflight`. Decoding: one token of all rows,
where the least is every weight and the cache once. LoRA step: 8 × 1,024 tokens, where the least is the operands and results of
its products, forward, recomputed and backward; the rest is elementwise work, softmax and copies. `parallel.hlo` says what counts.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.language_step import Tokens, language_loss
from empatheia_jax.core import decoding, lora
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.nn import int8
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel import hlo, targets
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, partition, step

VICUNA = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


def bytes_held(tree: Any) -> int:
    """Of arrays, abstract or real."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def decoding_step(
    config: LlamaConfig, device: Any, rows: int, dtype: Any, *, packed: bool = False, prompt: int = 64, new: int = 64
) -> tuple[hlo.Traffic, int, int]:
    """What one token of all rows moves on a device; bytes of the weights it has to read, and of the cache."""

    def construct():
        model = Llama(config, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype)
        if packed:
            int8.quantise_model(model)
        return model

    abstract = nnx.eval_shape(construct)
    networks = decoding._Networks.of(abstract, None)
    shape = decoding._Shape(new, 0, 0, decoding.Kind.of(decoding.DecodingSettings(new)))
    here, of = jax.sharding.SingleDeviceSharding(device), jax.ShapeDtypeStruct
    number = of((), jnp.float32)
    rules = decoding._Rules(
        jax.eval_shape(lambda: jax.random.key(0)), number, number, number, of((0,), jnp.int32), None, None, None
    )
    begin = of((rows, prompt, config.hidden_size), dtype), of((rows,), jnp.int32), None
    weights, loop = jax.eval_shape(lambda *a: decoding._begin(a[0], shape, *a[1:]), networks, rules, *begin)
    arguments = networks, rules, weights, loop, of((rows,), bool), of((), jnp.int32)
    networks, *rest = jax.tree.map(lambda x: of(x.shape, x.dtype, sharding=here), arguments)
    program = hlo.Program(decoding._go_on.lower(networks, shape, *rest).compile().as_text())
    (body,) = program.open_loops()
    table = 0 if config.tie_word_embeddings else bytes_held(nnx.state(abstract.embed_tokens))
    return hlo.traffic(program, body), bytes_held(nnx.state(abstract)) - table, bytes_held((loop.cache.k, loop.cache.v))


def lora_step(config: LlamaConfig, device: Any, rows: int, length: int, attention: str, chunk: int) -> str:
    """The compiled text of a bfloat16 LoRA step whose layers are recomputed."""

    def construct():
        kinds: dict[str, Any] = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16, "remat": "full"}
        model = Llama(config, rngs=nnx.Rngs(0), implementation=attention, **kinds)
        lora.add_lora(model, lora.LoRAConfig(8, 32.0, ("q_proj", "k_proj", "v_proj", "o_proj")), rngs=nnx.Rngs(0))
        return model

    cut = partition.split(nnx.eval_shape(construct), nnx.LoRAParam)
    optimizer = optimizers.build(optimizers.OptimizerConfig(1e-3, 10))
    built = step.build(cut, language_loss(chunk), optimizer, make_mesh(devices=[device]))
    text = built.trace(Tokens(np.zeros((rows, length), np.int32))).lower().compile().as_text()
    if text is None:
        raise RuntimeError("the compiler gives no text of its program")
    return text


def least_of_lora_step(config: LlamaConfig, rows: int, length: int) -> int:
    """Bytes that the products move: each reads two operands and writes a result, forward, recomputed and backward."""
    c, tokens = config, rows * length
    d, f, n, k = c.hidden_size, c.intermediate_size, c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    shapes = ((d, n), (d, k), (d, k), (n, d), (d, f), (d, f), (f, d))
    layer = sum(i * o + tokens * (i + o) for i, o in shapes)
    head = d * c.vocab_size + tokens * (d + c.vocab_size)
    return 2 * 3 * (c.num_layers * layer + head)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="h100-80gb:1")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rows", default="decode_1,decode_1_int8,decode_8,lora_blocked,lora_cudnn")
    options = parser.parse_args()
    config = LlamaConfig.from_source(VICUNA | {"num_hidden_layers": options.layers})
    (device,) = targets.devices(targets.parse(options.target))
    print(f"{options.target}, {options.layers} layers of Vicuna-7B's widths")
    print(f"{'program':16} {'GB moved':>9} {'of which copied':>16} {'least':>7} {'times the least':>16}")
    for row in options.rows.split(","):
        with target_platform("gpu"):
            if row.startswith("decode_"):
                rows = int(row.split("_")[1])
                found, weights, cache = decoding_step(config, device, rows, jnp.bfloat16, packed=row.endswith("int8"))
                least = weights + cache
            else:
                found = hlo.traffic(hlo.Program(lora_step(config, device, 8, 1024, row.removeprefix("lora_"), 128)))
                least = least_of_lora_step(config, 8, 1024)
        print(
            f"{row:16} {found.moved / 1e9:9.3f} {found.copied / 1e9:16.3f} {least / 1e9:7.3f} {found.moved / least:16.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
