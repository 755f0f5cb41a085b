"""Peak memory of converting a sharded checkpoint, against its largest shard.

    python -m benchmarks.convert_memory [--size=small|medium|7b] [--folder=FOLDER]

Writes a seeded LLaMA checkpoint in float16 shards (7b: the shapes of vicuna-7b-v1.5, 13.5 GB, in shards of at most 10 GB),
converts it in a process of its own, and prints that process's peak resident memory above what it held once its libraries
were loaded. The bar is 1.5 times the largest shard.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from converters import interpreter
from converters.formats.safetensors_writer import write_safetensors
from converters.parity.seeded import seeded_tensor
from converters.registry import find_conversion

SIZES = {  # hidden, feed-forward, layers, heads, vocabulary, largest shard in bytes
    "small": (512, 1376, 12, 8, 4000, 60_000_000),
    "medium": (1024, 2752, 24, 16, 16000, 500_000_000),
    "7b": (4096, 11008, 32, 32, 32000, 10_000_000_000),
}

_CHILD = """
import json, sys, threading
from pathlib import Path

def status(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024

from converters.convert import to_weights
from converters.registry import find_conversion

conversion = find_conversion("llama")
warm, path, output = map(Path, sys.argv[1:])
to_weights(conversion, warm, output.with_name("warm-output"))  # loads every library that the conversion uses
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
to_weights(conversion, path, output)
print(json.dumps({"before": before, "peak": status("VmHWM")}))
"""


def write_checkpoint(folder: Path, hidden: int, mlp: int, layers: int, heads: int, vocabulary: int, shard: int) -> None:
    """A LLaMA release in `folder`: every tensor seeded, float16."""
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    }
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    conversion = find_conversion("llama")
    ours = conversion.config(folder, None)
    manifest = interpreter.export_manifest(conversion.abstract(ours), conversion.table(ours))
    # in the order of a release: layer by layer
    order = sorted(manifest, key=lambda key: [int(p) if p.isdecimal() else -1 for p in key.split(".")])
    manifest = {key: {"shape": manifest[key]["shape"], "dtype": "float16"} for key in order}
    tensors = ((key, seeded_tensor(key, entry["shape"], "float16")) for key, entry in manifest.items())
    write_safetensors(folder, tensors, manifest, shard_bytes=shard)


def measure(size: tuple[int, ...], folder: Path) -> dict[str, float]:
    """Writes and converts a checkpoint below `folder`; bytes of its largest shard and of the conversion's peak."""
    write_checkpoint(folder / "warm", 32, 64, 1, 2, 50, 10**9)
    write_checkpoint(folder / "release", *size)
    shards = [path.stat().st_size for path in (folder / "release").glob("*.safetensors")]
    start = time.monotonic()
    arguments = [str(folder / name) for name in ("warm", "release", "output")]
    output = subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments], check=True, capture_output=True, text=True
    ).stdout
    found = json.loads(output.splitlines()[-1])
    return {
        "seconds": time.monotonic() - start,
        "checkpoint": sum(shards),
        "largest_shard": max(shards),
        "above_idle": found["peak"] - found["before"],
        "idle": found["before"],
    }


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.convert_memory")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(SIZES[options.size], Path(folder))
    ratio = found["above_idle"] / found["largest_shard"]
    whole = (found["above_idle"] + found["idle"]) / found["largest_shard"]
    print(
        f"{options.size}: checkpoint {found['checkpoint'] / 1e9:.3f} GB, largest shard {found['largest_shard'] / 1e9:.3f} GB, "
        f"peak {found['above_idle'] / 1e9:.3f} GB above {found['idle'] / 1e9:.3f} GB of libraries, "
        f"{ratio:.2f} times the largest shard ({whole:.2f} with the libraries; bar 1.5), {found['seconds']:.0f} s, "
        f"NumPy {np.__version__}"
    )


if __name__ == "__main__":
    main()
