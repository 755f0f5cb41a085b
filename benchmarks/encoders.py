"""Our encoders against Hugging Face's, same weights, same inputs, float32, on this machine's processor.

    python -m benchmarks.encoders [--threads=1,2] [--repeats=10] [--size=full|tiny] [--json=FILE]

HuBERT-base on 5 s of sound, one wave; the vision tower of CLIP ViT-B/16 on four images. Each measurement is a process
of its own, confined to as many cores as it has threads. Beside every row stands the roof: the time that its matrix
products would take at the rate of a large float32 product, or its weights at the rate of reading memory, whichever is
longer, both measured in the same run. `--size=tiny` only shows that the script runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.roof import best_time, matrix_rate, read_rate, use_cores

SPEECH = {
    "model_type": "hubert",
    "architectures": ["HubertModel"],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "hidden_act": "gelu",
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "layer_norm_eps": 1e-5,
    "vocab_size": 32,
}
VISION = {
    "model_type": "clip_vision_model",
    "num_channels": 3,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 512,
}
SIZES = {
    "full": {
        "hubert-base": SPEECH
        | {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "conv_dim": [512] * 7,
            "num_conv_pos_embedding_groups": 16,
        },
        "clip-b16": VISION
        | {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "image_size": 224,
            "patch_size": 16,
        },
    },
    "tiny": {
        "hubert-base": SPEECH
        | {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "conv_dim": [32] * 7,
            "num_conv_pos_embedding_groups": 4,
        },
        "clip-b16": VISION
        | {
            "hidden_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "image_size": 64,
            "patch_size": 16,
        },
    },
}
SAMPLES, IMAGES = 80_000, 4


def inputs(name: str, size: str) -> np.ndarray:
    """A normalised wave (1, samples), or normalised pixels (images, side, side, 3)."""
    rng = np.random.default_rng(0)
    if name == "hubert-base":
        return rng.standard_normal((1, SAMPLES if size == "full" else 8000), dtype=np.float32)
    side = SIZES[size][name]["image_size"]
    return rng.standard_normal((IMAGES, side, side, 3), dtype=np.float32)


def run_torch(name: str, size: str, repeats: int, folder: Path) -> dict[str, float]:
    """Times the `transformers` model, seeded, and keeps its output and key list for the other side."""
    import torch
    import transformers

    from converters.parity.seeded import seeded_state_dict

    torch.set_grad_enabled(False)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    kinds = {
        "hubert-base": (transformers.HubertConfig, transformers.HubertModel),
        "clip-b16": (transformers.CLIPVisionConfig, transformers.CLIPVisionModel),
    }
    config_class, model_class = kinds[name]
    fields = {k: v for k, v in SIZES[size][name].items() if k not in ("model_type", "architectures")}
    model = model_class(config_class(**fields, attn_implementation="sdpa")).eval()
    shapes = {k: {"shape": list(v.shape), "dtype": str(v.dtype)[6:]} for k, v in model.state_dict().items()}
    manifest = {k: v for k, v in shapes.items() if "position_ids" not in k}
    model.load_state_dict({k: torch.from_numpy(v) for k, v in seeded_state_dict(manifest).items()}, strict=False)
    (folder / f"{name}.json").write_text(json.dumps(manifest))
    value = torch.from_numpy(inputs(name, size))
    value = value if name == "hubert-base" else value.permute(0, 3, 1, 2).contiguous()
    fastest, median = best_time(lambda: model(value).last_hidden_state, repeats)
    np.save(folder / f"{name}.npy", model(value).last_hidden_state.numpy())
    return {"fastest": fastest, "median": median}


def run_jax(name: str, size: str, repeats: int, folder: Path) -> dict[str, float]:
    """Times our model with the same weights; also its largest difference, FLOPs of matrix products, bytes of weights."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from converters.parity.seeded_network import seeded_network
    from converters.tables import clip, hubert
    from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig
    from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config

    parts = {
        "hubert-base": (Wav2Vec2, Wav2Vec2Config, hubert.table),
        "clip-b16": (ClipVision, ClipVisionConfig, clip.table),
    }
    model_class, config_class, table = parts[name]
    config = config_class.from_source(SIZES[size][name])
    manifest = json.loads((folder / f"{name}.json").read_text())
    model = seeded_network(model_class, config, table(config), manifest, 0, float64=False)
    graph, state = nnx.split(model)
    value = jnp.asarray(inputs(name, size))
    step = jax.jit(lambda state, x: nnx.merge(graph, state)(x).last)
    fastest, median = best_time(lambda: step(state, value).block_until_ready(), repeats)
    difference = float(np.abs(np.asarray(step(state, value)) - np.load(folder / f"{name}.npy")).max())
    flops = speech_flops(config) if name == "hubert-base" else vision_flops(config)
    size_of_weights = 4 * sum(leaf.size for leaf in jax.tree.leaves(state))
    return {"fastest": fastest, "median": median, "difference": difference, "flops": flops, "bytes": size_of_weights}


def layer_flops(config, rows: int) -> float:
    """FLOPs of the matrix products of the Transformer over `rows` rows of one sequence."""
    width = config.width
    return config.layers * (rows * (8 * width**2 + 4 * width * config.mlp) + 4 * rows**2 * width)


def speech_flops(config, samples: int = SAMPLES) -> float:
    """Products of one wave: convolutions, projection, positional convolution, Transformer."""
    total, channels = 0.0, 1
    for outputs, width, stride in zip(config.conv_channels, config.conv_widths, config.conv_strides):
        samples = (samples - width) // stride + 1
        total += 2 * samples * width * channels * outputs
        channels = outputs
    position = 2 * samples * config.position_width * config.width**2 / config.position_groups
    return total + 2 * samples * channels * config.width + position + layer_flops(config, samples)


def vision_flops(config) -> float:
    """Products of all images: patches and Transformer."""
    patch = 2 * config.patches * config.patch**2 * config.channels * config.width
    return IMAGES * (patch + layer_flops(config, config.patches + 1))


def child(options) -> None:
    use_cores(options.cores)
    if options.child == "roof":
        found = {"flops": matrix_rate(), "bytes": read_rate()}
    else:
        run = {"torch": run_torch, "jax": run_jax}[options.child]
        found = run(options.network, options.size, options.repeats, options.folder)
    print(json.dumps(found))


def ask(what: str, cores: int, options, folder: Path, network: str = "") -> dict[str, float]:
    """Runs one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.encoders", f"--child={what}", f"--cores={cores}", f"--folder={folder}"]
    command += [f"--network={network}", f"--size={options.size}", f"--repeats={options.repeats}"]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.encoders")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    for hidden in ("--child", "--network"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    rows = []
    print(f"{platform.processor() or platform.machine()}, {options.size} size, fastest of {options.repeats}, float32")
    print("network      threads  PyTorch ms   ours ms  times PyTorch  roof ms  of the roof  difference")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for threads in map(int, options.threads.split(",")):
            roof = ask("roof", threads, options, folder)
            print(
                f"{threads} threads: {roof['flops'] / 1e9:.0f} GFLOP/s in products, {roof['bytes'] / 1e9:.1f} GB/s read"
            )
            for network in SIZES[options.size]:
                theirs = ask("torch", threads, options, folder, network)
                ours = ask("jax", threads, options, folder, network)
                bound = max(ours["flops"] / roof["flops"], ours["bytes"] / roof["bytes"])
                if options.size == "tiny":
                    bound = float("nan")  # the counts are of the full size
                rows.append({"network": network, "threads": threads, "torch": theirs, "jax": ours, "roof": roof})
                print(
                    f"{network:12} {threads:7d} {theirs['fastest'] * 1e3:11.1f} {ours['fastest'] * 1e3:9.1f} "
                    f"{theirs['fastest'] / ours['fastest']:14.2f} {bound * 1e3:8.1f} {bound / ours['fastest']:12.2f} "
                    f"{ours['difference']:11.1e}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
