"""Rows of the language model: training steps, prefill, decoding, and the four stages at the size of the core."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.accelerator.sizes import Sizes, drawn, empatheia_config, llama_config
from benchmarks.accelerator.timing import Measurement, median_seconds
from empatheia_jax import weights
from empatheia_jax.batch import Batch
from empatheia_jax.core import decoding, lora
from empatheia_jax.core.llama import Llama
from empatheia_jax.empatheia import Empatheia
from empatheia_jax.nn import int8
from empatheia_jax.parallel import preflight, targets
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, partition, stages
from empatheia_jax.training import step as steps

LORA = lora.LoRAConfig(8, 32.0, ("q_proj", "k_proj", "v_proj", "o_proj"))
SEGMENTS = 8
"""Dialogues in a packed row."""


def core(sizes: Sizes, *, packed: bool = False, remat: str = "nothing") -> Llama:
    """The language model, drawn on the device; `packed`: its matrices in eight bits."""
    options: dict[str, Any] = {"dtype": sizes.dtype, "param_dtype": sizes.dtype}
    model = drawn(lambda: Llama(llama_config(sizes), rngs=nnx.Rngs(0), remat=remat, implementation="auto", **options))
    if packed:
        int8.quantise_model(model, lambda path, value: int8.is_matrix(path, value) or (sizes.tiny and _kernel(path)))
    return model


def _kernel(path: str) -> bool:
    return path.endswith(".kernel") and "lm_head" not in path


def matrices(sizes: Sizes) -> int:
    """Weights in matrix products: all but the embedding, of which a token reads one row."""
    c = llama_config(sizes)
    layer = 2 * c.hidden_size * (c.num_heads + c.num_kv_heads) * c.head_dim + 3 * c.hidden_size * c.intermediate_size
    return c.num_layers * layer + c.vocab_size * c.hidden_size


def batch_of(sizes: Sizes, rows: int, length: int, *, segments: int = 0) -> Batch:
    """Random tokens with signal tokens at the end of every row, random features and targets; `segments` a row: packed text."""
    rng, base = np.random.default_rng(0), sizes.llm["vocab_size"]
    tokens = rng.integers(3, base, (rows, length)).astype(np.int32)
    tokens[:, -32:] = np.arange(base + 2, base + 34)
    mask, reply = np.zeros((2, rows, length), bool)
    mask[:, length // 2 :], reply[:, length // 2 : -33] = True, True
    zeros, ones = np.zeros(rows, np.int32), np.ones(rows, np.int32)
    fields: dict[str, Any] = {}
    if segments:
        numbers = np.minimum(np.arange(length) * segments // length, segments - 1)
        places = np.concatenate([np.arange(count) for count in np.bincount(numbers)])
        fields = {
            "segments": np.tile(numbers + 1, (rows, 1)).astype(np.int32),
            "positions": np.tile(places, (rows, 1)).astype(np.int32),
        }
    else:
        tokens[:, 2:10], tokens[:, 12:20] = base, base + 1
        config = empatheia_config(sizes)
        wide = {
            "speech": (8, config.speech_features),
            "video": (8, config.video_features),
            "speech_content": (sizes.phonemes, config.synchronizer.speech_channels),
            "video_content": (sizes.video_frames, config.synchronizer.video_window, config.synchronizer.video_channels),
            "speech_style": (config.disentangler.speech_style,),
            "video_style": (config.disentangler.video_style,),
        }
        fields = {name: rng.standard_normal((rows, *shape), np.float32) for name, shape in wide.items()}
        fields["speech_content_lengths"] = sizes.phonemes * ones
        fields["video_content_lengths"] = sizes.video_frames * ones
    return Batch(
        tokens=tokens,
        loss_mask=mask,
        reply_mask=reply,
        lengths=length * ones,
        weight=np.ones(rows, np.float32),
        emotion32=zeros,
        emotion7=zeros,
        age=zeros,
        gender=zeros,
        tone=zeros,
        example_id=zeros,
        **fields,
    )


def whole(sizes: Sizes, packed: bool = False, remat: str = "full") -> Empatheia:
    """The model to train: a core with adapters, and the bridge."""
    network = core(sizes, packed=packed, remat=remat)
    graph, state = nnx.split(network)

    def construct():
        abstract = nnx.merge(graph, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), state))
        rngs = nnx.Rngs(1)
        lora.add_lora(abstract, LORA, rngs=rngs)
        return Empatheia(empatheia_config(sizes), abstract, rngs=rngs, dtype=abstract.dtype)

    return drawn(construct, known={f"core.{path}": value for path, value in weights.flatten(network).items()})


def train(
    sizes: Sizes, stage: str, rows: int, length: int, *, segments: int = 0, packed: bool = False, remat: str = "full"
) -> Measurement:
    """An optimizer step of a stage. The least arithmetic is 4 FLOPs per weight and token, 2 where the core only runs forward."""
    objective = stages.Objective(chunk=sizes.chunk)
    model = whole(sizes, packed, remat)
    cut = partition.split(model, stages.TRAINABLE[stage])
    del model
    mesh = make_mesh(devices=jax.devices()[:1])
    built = steps.build(
        cut,
        stages.loss_function(stage, objective),
        optimizers.build(optimizers.OptimizerConfig(5e-4, 1000, decay="constant")),
        mesh,
        coefficients=stages.coefficients(stage, objective),
    )
    batch = batch_of(sizes, rows, length, segments=segments)
    predicted = float(_planned(built, batch))
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    del cut
    placed = built.place_batch(batch)
    holder = [state]
    del state

    def once():
        holder[0], metrics = built(holder[0], frozen, placed)
        return float(metrics["loss"])

    seconds = median_seconds(once, sizes.repeats, warm=2)
    loss = once()
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}")
    tokens = rows * length
    passes = 4 if stage in ("coe", "joint") else 2
    return Measurement(
        seconds,
        tokens,
        "tokens/s",
        flops=passes * matrices(sizes) * tokens,
        bytes=_held(frozen),
        peak=_peak(),
        predicted=predicted,
        note=f"loss {loss:.3f}; arithmetic by {passes} N; remat={remat}",
    )


def _planned(built: steps.TrainStep, batch: Batch) -> int:
    """What `--mode=preflight` says of the step's peak, from its plan for the device at hand."""
    state = built.abstract_state()
    return preflight.analyse(
        "step",
        built.trace(batch),
        targets.parse("h100-80gb:1"),
        weights=(built.abstract_frozen(), state.trainable),
        optimizer=state.optimizer,
        batch=built.abstract_batch(batch),
        tokens=batch.tokens.size,
        devices=1,
    ).peak


def _held(tree: Any) -> float:
    return float(
        sum(x.nbytes for x in jax.tree.leaves(tree) if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key))
    )


def _peak() -> float | None:
    """Most bytes of the device that this process has held at a time, where the device keeps count."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def decode(sizes: Sizes, rows: int, *, packed: bool = False) -> Measurement:
    """Tokens after the first: the time of many less the time of one, so that the prompt's pass does not count."""
    model = core(sizes, packed=packed)
    c = model.config
    prompt = jnp.asarray(np.random.default_rng(0).integers(0, c.vocab_size, (rows, sizes.prompt)))
    embeds = model.embed(prompt)

    def run(count: int):
        return decoding.generate(model, None, embeds, [sizes.prompt] * rows, decoding.DecodingSettings(count))

    run(1 + sizes.new)
    many = median_seconds(lambda: run(1 + sizes.new), sizes.repeats, warm=0)
    one = median_seconds(lambda: run(1), sizes.repeats, warm=0)
    weights = _held(nnx.split(model)[1]) - model.embed_tokens.embedding[...].nbytes
    itemsize = jnp.dtype(sizes.dtype).itemsize
    cache = 2 * c.num_layers * c.num_kv_heads * c.head_dim * (sizes.prompt + sizes.new / 2) * rows * itemsize
    return Measurement(
        max(many - one, 1e-9),
        rows * sizes.new,
        "tokens/s",
        flops=2 * matrices(sizes) * rows * sizes.new,
        bytes=sizes.new * (weights + cache),
        peak=_peak(),
    )


def prefill(sizes: Sizes, *, packed: bool = False) -> Measurement:
    """One prompt, the head at its last token."""
    model = core(sizes, packed=packed)
    graph, state = nnx.split(model)
    length = sizes.length

    @jax.jit
    def run(state, ids):
        network = nnx.merge(graph, state)
        return network.logits(network(network.embed(ids)).hidden[:, -1:])

    ids = jnp.asarray(np.random.default_rng(0).integers(0, sizes.llm["vocab_size"], (1, length)))
    seconds = median_seconds(lambda: run(state, ids).block_until_ready(), sizes.repeats)
    body = matrices(sizes) - sizes.llm["vocab_size"] * sizes.llm["hidden_size"]
    return Measurement(seconds, length, "tokens/s", flops=2 * body * length, bytes=_held(state))
