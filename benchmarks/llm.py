"""SmolLM2-135M beside `transformers` + `peft` on the CPU: LoRA step, prefill, decode, with the roof of the same run.

    python -m benchmarks.llm [--threads=1,2] [--rows=lora_step,prefill,decode_1,decode_8] [--repeats=3]
                             [--weights=weights/smollm2-135m-instruct] [--json=FILE] [--tiny]

Each framework runs in a process of its own per thread count, one after the other, on the same random float32 tokens.
A row is the fastest of several repeats after a warm-up (compilation is not counted, and printed apart). The roof is
measured in the same run: the rate of a large matrix product and of reading memory. Decoding one token reads every
weight once, so its roof is memory rate / bytes of weights; a LoRA step costs 4 N, with N the weights in matrix
products, per token (no gradients of frozen weights), a prefill 2 N, where the head serves the last token only.
`--tiny` checks that the benchmark itself works.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import roof

ROWS = {"lora_step": "LoRA step", "prefill": "prefill", "decode_1": "decode, batch 1", "decode_8": "decode, batch 8"}
FULL = {"batch": 4, "tokens": 256, "prefill": 512, "decode": 63, "repeats": 3}
TINY = {"batch": 1, "tokens": 16, "prefill": 32, "decode": 3, "repeats": 1}
# `decode`: steps after the first token, which the prompt's own pass gives: 64 tokens in all.
LORA = {"rank": 8, "alpha": 16, "targets": ("q_proj", "k_proj", "v_proj", "o_proj")}


def best(function, repeats: int) -> tuple[float, float]:
    """(seconds of the fastest repeat, seconds of the first call, which compiles)."""
    start = time.perf_counter()
    function()
    first, times = time.perf_counter() - start, []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times), first


def run_roof(tiny: bool) -> dict:
    return {"flops": roof.matrix_rate(256 if tiny else 2048), "bytes": roof.read_rate(8 if tiny else 512)}


def run_jax(folder: Path, sizes: dict, rows: list[str]) -> dict:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from flax import nnx

    from empatheia_jax import weights
    from empatheia_jax.core.decoding import DecodingSettings, generate
    from empatheia_jax.core.llama import Llama, LlamaConfig
    from empatheia_jax.core.lora import LoRAConfig, add_lora

    model = weights.restore(folder, Llama, LlamaConfig, kind="llama", implementation="blocked")
    vocab = model.config.vocab_size
    leaves = jax.tree.leaves(nnx.state(model))
    head = model.embed_tokens.embedding.size
    result = {"weights": int(sum(leaf.size for leaf in leaves)), "head": int(head)}
    rng = np.random.default_rng(0)

    graph, state = nnx.split(model)

    @jax.jit
    def prefill(state, ids):
        network = nnx.merge(graph, state)
        return network.logits(network(network.embed(ids)).hidden[:, -1:])

    ids = jnp.asarray(rng.integers(0, vocab, (1, sizes["prefill"])))
    if "prefill" in rows:
        result["prefill"] = best(lambda: prefill(state, ids).block_until_ready(), sizes["repeats"])

    for batch in batches(rows):
        prompt = model.embed(jnp.asarray(rng.integers(0, vocab, (batch, 16))))

        def decode(steps: int, batch=batch, prompt=prompt):
            return generate(model, None, prompt, [16] * batch, DecodingSettings(steps))

        whole, first = best(lambda: decode(1 + sizes["decode"]), sizes["repeats"])
        alone, _ = best(lambda: decode(1), sizes["repeats"])  # the same program, stopped after the prompt and one token
        result[f"decode_{batch}"] = (whole - alone, first)

    result["versions"] = {name: importlib.metadata.version(name) for name in ("jax", "flax")}
    if "lora_step" not in rows:
        return result
    add_lora(model, LoRAConfig(**LORA), rngs=nnx.Rngs(0))
    graph, trainable, frozen = nnx.split(model, nnx.LoRAParam, ...)
    optimizer = optax.adamw(1e-4)
    ids = jnp.asarray(rng.integers(0, vocab, (sizes["batch"], sizes["tokens"])))

    @jax.jit
    def step(trainable, moments, frozen, ids):
        def loss(trainable):
            network = nnx.merge(graph, trainable, frozen)
            logits = network.logits(network(network.embed(ids)).hidden[:, :-1])
            return optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:]).mean()

        value, gradient = jax.value_and_grad(loss)(trainable)
        updates, moments = optimizer.update(gradient, moments, trainable)
        return optax.apply_updates(trainable, updates), moments, value

    moments = optimizer.init(trainable)
    result["lora_step"] = best(lambda: jax.block_until_ready(step(trainable, moments, frozen, ids)), sizes["repeats"])
    return result


def run_torch(sizes: dict, rows: list[str]) -> dict:
    import peft
    import torch
    import transformers

    from converters.tables.llama import smollm2_file

    gguf = smollm2_file()
    model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model.eval()
    vocab = model.config.vocab_size
    result = {"weights": sum(p.numel() for p in model.parameters())}
    torch.manual_seed(0)
    with torch.no_grad():
        ids = torch.randint(0, vocab, (1, sizes["prefill"]))
        if "prefill" in rows:
            result["prefill"] = best(lambda: model(ids, logits_to_keep=1), sizes["repeats"])
        for batch in batches(rows):
            prompt = torch.randint(0, vocab, (batch, 16))

            def decode(steps: int, prompt=prompt):
                mask = torch.ones_like(prompt)
                return model.generate(
                    prompt,
                    attention_mask=mask,
                    max_new_tokens=steps,
                    min_new_tokens=steps,
                    do_sample=False,
                    pad_token_id=0,
                )

            whole, first = best(lambda: decode(1 + sizes["decode"]), sizes["repeats"])
            alone, _ = best(lambda: decode(1), sizes["repeats"])
            result[f"decode_{batch}"] = (whole - alone, first)
    result["versions"] = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "peft")}
    if "lora_step" not in rows:
        return result
    settings = peft.LoraConfig(
        r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules=list(LORA["targets"]), task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(model, settings).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    ids = torch.randint(0, vocab, (sizes["batch"], sizes["tokens"]))

    def step():
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()

    result["lora_step"] = best(step, sizes["repeats"])
    return result


def batches(rows: list[str]) -> list[int]:
    """Batch sizes of the decoding rows."""
    return [int(row.removeprefix("decode_")) for row in rows if row.startswith("decode_")]


def work(row: str, sizes: dict) -> tuple[int, float]:
    """(tokens of one run, passes over the weights' arithmetic per token in units of 2 N FLOP)."""
    if row == "lora_step":
        return sizes["batch"] * sizes["tokens"], 2.0
    if row == "prefill":
        return sizes["prefill"], 1.0
    return int(row.removeprefix("decode_")) * sizes["decode"], 1.0


def roof_seconds(row: str, counts: dict, rates: dict, sizes: dict) -> float:
    """The time that this run's own rates allow: arithmetic or, in decoding, reading the weights once a step."""
    tokens, passes = work(row, sizes)
    weights = counts["weights"]
    arithmetic = tokens * passes * 2 * (weights - counts["head"] * (row == "prefill")) / rates["flops"]
    if not row.startswith("decode"):
        return arithmetic
    return max(arithmetic, sizes["decode"] * 4 * weights / rates["bytes"])


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.llm", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rows", default=",".join(ROWS), help="which of them, so that a long run can be cut")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--weights", type=Path, default=Path("weights/smollm2-135m-instruct"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", choices=("roof", "jax", "torch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = TINY if options.tiny else FULL | {"repeats": options.repeats}
    rows = options.rows.split(",")
    if unknown := set(rows) - set(ROWS):
        parser.error(f"--rows has {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if options.only:
        roof.use_cores(int(options.threads))
        runs = {
            "roof": lambda: run_roof(options.tiny),
            "torch": lambda: run_torch(sizes, rows),
            "jax": lambda: run_jax(options.weights, sizes, rows),
        }
        print(json.dumps(runs[options.only]()))
        return
    everything = []
    for threads in map(int, options.threads.split(",")):
        results = {}
        for framework in ("roof", "torch", "jax"):
            arguments = [sys.executable, "-m", "benchmarks.llm", f"--only={framework}", f"--threads={threads}"]
            arguments += [f"--weights={options.weights}", f"--rows={options.rows}", f"--repeats={options.repeats}"]
            arguments += ["--tiny"] if options.tiny else []
            done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
            results[framework] = json.loads(done.stdout.splitlines()[-1])
        report(threads, results, sizes, rows)
        everything.append({"threads": threads, "sizes": sizes, "results": results, "date": str(datetime.date.today())})
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")


def report(threads: int, results: dict, sizes: dict, rows: list[str]) -> None:
    """One table: tokens per second of both frameworks, their ratio, and how much of the roof each reaches."""
    rates, ours, theirs = (results[name] for name in ("roof", "jax", "torch"))
    versions = ", ".join(f"{n} {v}" for result in (ours, theirs) for n, v in result["versions"].items())
    machine = platform.processor() or platform.machine()
    print(f"\n{threads} thread(s) of {machine}, float32, {datetime.date.today()}; {versions}")
    print(f"roof: {rates['flops'] / 1e9:.0f} GFLOP/s, {rates['bytes'] / 1e9:.1f} GB/s")
    columns = ("jax tok/s", "torch tok/s", "jax/torch", "roof tok/s", "compile s")
    print(f"{'':18}" + "".join(f"{column:>13}" for column in columns))
    for row in rows:
        tokens, _ = work(row, sizes)
        seconds, first = ours[row]
        numbers = (tokens / seconds, tokens / theirs[row][0], theirs[row][0] / seconds)
        ceiling = tokens / roof_seconds(row, ours, rates, sizes)
        print(f"{ROWS[row]:18}" + "".join(f"{number:13.2f}" for number in (*numbers, ceiling, first - seconds)))


if __name__ == "__main__":
    main()
