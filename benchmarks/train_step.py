"""One optimizer step of stage 1 (LoRA on every projection that the config names) beside `transformers` + `peft`.

    python -m benchmarks.train_step [--weights=smollm2-135m-instruct] [--batch=4] [--length=256] [--accumulation=1]
                                    [--repeats=5] [--json=FILE] [--sides=jax,torch]

Both sides: the same sizes (random weights of the released configuration), float32, the
same tokens, AdamW on the LoRA parameters only, global-norm clipping. Each side runs in a process of its own, so that peak
memory is its own; a step is timed from host batch to updated parameters, the first (compilation) apart. A number counts only
from an otherwise idle machine: the load average is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks import roof

SIZES = {
    # The released config.json of SmolLM2-135M-Instruct.
    "smollm2-135m-instruct": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
    "tiny": {
        "model_type": "llama",
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    },
}
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
RANK, ALPHA, RATE, CLIP = 8, 32.0, 5e-4, 1.0


def tokens(options) -> np.ndarray:
    vocabulary = SIZES[options.weights]["vocab_size"]
    return np.random.default_rng(0).integers(0, vocabulary, (options.batch, options.length)).astype(np.int32)


def timed(step, repeats: int) -> dict[str, float]:
    start = time.perf_counter()
    first_loss = step()
    first = time.perf_counter() - start
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "first_step_seconds": first,
        "step_seconds": float(np.median(seconds)),
        "fastest_seconds": min(seconds),
        "first_loss": first_loss,
        "last_loss": loss,
        "peak_memory_gib": peak,
    }


def run_jax(options) -> dict[str, float]:
    import jax
    from flax import nnx

    from benchmarks.language_step import Tokens, language_loss
    from empatheia_jax.core import lora
    from empatheia_jax.core.llama import Llama, LlamaConfig
    from empatheia_jax.parallel.mesh import make_mesh
    from empatheia_jax.training import optimizers, partition, step

    rngs = nnx.Rngs(0)
    model = Llama(
        LlamaConfig.from_source(SIZES[options.weights]),
        rngs=rngs,
        remat=options.remat,
        scan=not options.unrolled,
        implementation=options.attention,
    )
    lora.add_lora(model, lora.LoRAConfig(RANK, ALPHA, TARGETS), rngs=rngs)
    cut = partition.split(model, nnx.LoRAParam)
    settings = optimizers.OptimizerConfig(RATE, 1000, decay="constant", eps=1e-8, b2=0.95)
    how = {"accumulation": options.accumulation, "clip": CLIP}
    built = step.build(cut, language_loss(options.chunk), optimizers.build(settings), make_mesh(), **how)
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    batch = Tokens(tokens(options))
    holder = [state]

    def once() -> float:
        holder[0], metrics = built(holder[0], frozen, built.place_batch(batch))
        jax.block_until_ready(holder[0].trainable)
        return float(metrics["loss"])

    return timed(once, options.repeats)


def run_torch(options) -> dict[str, float]:
    import peft
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    config = transformers.LlamaConfig(**SIZES[options.weights])
    model = transformers.LlamaForCausalLM(config)
    model = peft.get_peft_model(model, peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS)))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    rows = torch.tensor(tokens(options)).long()

    def once() -> float:
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in rows.chunk(options.accumulation):
            loss = model(input_ids=part, labels=part, use_cache=False).loss / options.accumulation
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return total

    return timed(once, options.repeats)


def run_roof(options) -> dict[str, float]:
    """What the products alone take at the machine's best rate: 4 FLOPs per weight and token, embedding rows excepted."""
    sizes = SIZES[options.weights]
    width, queries = sizes["hidden_size"], sizes["num_attention_heads"]
    keys = width * sizes["num_key_value_heads"] // queries
    layer = 2 * width * (width + keys) + 3 * width * sizes["intermediate_size"]
    weights = sizes["num_hidden_layers"] * layer + sizes["vocab_size"] * width
    rate = roof.matrix_rate()
    return {"gflops": rate / 1e9, "step_seconds": 4 * weights * options.batch * options.length / rate}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="smollm2-135m-instruct", choices=sorted(SIZES))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--remat", default="full", help="what the backward pass recomputes")
    parser.add_argument("--unrolled", action="store_true", help="layers one by one instead of scanned")
    parser.add_argument("--attention", default="blocked")
    parser.add_argument("--chunk", type=int, default=64, help="positions whose logits exist at once; 0 = all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0 = as many as there are cores")
    parser.add_argument("--sides", default="torch,jax")
    parser.add_argument("--json")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.threads = options.threads or len(os.sched_getaffinity(0))
    if options.side:
        roof.use_cores(options.threads)
        print(json.dumps({"jax": run_jax, "torch": run_torch, "roof": run_roof}[options.side](options)))
        return 0
    result = {"settings": vars(options), "machine": platform.processor() or platform.machine(), "sides": {}}
    for side in [*options.sides.split(","), "roof"]:
        command = [sys.executable, "-m", "benchmarks.train_step", *sys.argv[1:], f"--side={side}"]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        result["sides"][side] = found = json.loads(out.strip().splitlines()[-1])
        if side == "roof":
            continue
        print(
            f"{side:6} step {found['step_seconds']:.3f} s (first {found['first_step_seconds']:.1f} s), "
            f"peak {found['peak_memory_gib']:.2f} GiB, loss {found['first_loss']:.4f} → {found['last_loss']:.4f}",
            flush=True,
        )
    result["load_average"] = os.getloadavg()
    print(
        f"roof   step {result['sides']['roof']['step_seconds']:.3f} s at {result['sides']['roof']['gflops']:.0f} GFLOP/s"
    )
    print(f"{options.threads} threads, load average {os.getloadavg()[0]:.1f}")
    if {"jax", "torch"} <= result["sides"].keys():
        speed = result["sides"]["torch"]["step_seconds"] / result["sides"]["jax"]["step_seconds"]
        print(f"JAX takes 1 / {speed:.2f} of PyTorch's time")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
