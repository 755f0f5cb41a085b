"""Peak memory and time of exporting a run whose base is as large as Vicuna 7B, and what an interruption leaves.

    python -m benchmarks.export_memory [--size=small|medium|7b] [--sparse] [--folder=FOLDER] [--parts=merged]

Writes a seeded LLaMA weights folder in float16 (7b: the shapes of vicuna-7b-v1.5, 13.5 GB), a run on it with an adapter drawn at
random, and exports that in a process of its own, which is killed half way and started again. Prints the larger peak of resident
memory of the two; the bar is 8 GiB. Everything is written below a temporary folder and removed at the end.

`--sparse` draws the first slice of every parameter of the base and leaves the others 0: the folder is compressed, so it takes
little disk, and what is read, merged and written is as large as ever.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = {  # hidden, feed-forward, layers, heads, vocabulary
    "small": (256, 688, 6, 4, 4000),
    "medium": (1024, 2752, 24, 16, 16000),
    "7b": (4096, 11008, 32, 32, 32000),
}

_CHILD = """
import os, sys
from pathlib import Path
from benchmarks.export_memory import configuration
from converters.release import export

folder, output, parts = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
export.run(configuration(folder), folder / "run", output, parts)
"""


def configuration(folder: Path):
    """The configuration of the run: the language model below `folder`, tiny encoders and generators beside it."""
    from configs import debug
    from empatheia_jax.settings import resolve

    config = debug.get_config()
    config.schedule = "coe,content,style"
    config.networks.update({"llm": "base", "weights_dir": str(folder / "weights"), "dtype": "bfloat16"})
    config.networks.update({"speech_encoder": "speech", "video_encoder": "video", "tts": "tts", "talking_head": "head"})
    return resolve(config)


def write_base(
    folder: Path, hidden: int, mlp: int, layers: int, heads: int, vocabulary: int, *, sparse: bool = False
) -> None:
    """A weights folder of a LLaMA, every parameter seeded, in float16; one parameter in memory at a time."""
    import numpy as np

    from converters.registry import find_conversion
    from empatheia_jax import tiny, weights

    config = dataclasses.replace(
        tiny.LLM,
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=hidden // heads,
        tie_word_embeddings=False,
    )

    def draw(number: int, shape: tuple[int, ...]) -> np.ndarray:
        random = np.random.default_rng(number)
        out = np.zeros(shape, np.float16)
        for part in out.reshape(shape[0], -1)[: 1 if sparse else None]:  # float32 numbers of one slice at a time
            part[:] = random.standard_normal(part.shape, np.float32) * 0.02
        return out

    flat = {
        path: weights.Lazy(tuple(leaf.shape), np.dtype(np.float16), lambda n=n, s=tuple(leaf.shape): draw(n, s))
        for n, (path, leaf) in enumerate(find_conversion("llama").abstract(config).items())
    }
    tokenizer = json.loads(tiny.tokenizer()._backend.to_str())
    tokenizer["added_tokens"] = []
    files = {"tokenizer.json": json.dumps(tokenizer).encode()}
    weights.save(folder, flat, config, "llama", {"source": "llama", "licence": "seeded"}, files)


def write_run(folder: Path, size: tuple[int, ...], sparse: bool = False) -> None:
    """Weights and a run below `folder`."""
    import fnmatch

    import numpy as np
    from flax import nnx

    from converters.registry import find_conversion
    from converters.release import import_run, trained
    from empatheia_jax import tiny, weights
    from empatheia_jax.dreamtalk.model import KIND as HEAD
    from empatheia_jax.dreamtalk.model import DreamTalk
    from empatheia_jax.encoders.clip_vision import ClipVision
    from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
    from empatheia_jax.runs import fit
    from empatheia_jax.runs.run import Run
    from empatheia_jax.settings import plain
    from empatheia_jax.styletts2.model import KIND as VOICE
    from empatheia_jax.training.stages import TRAINABLE

    place = folder / "weights"
    write_base(place / "base", *size, sparse=sparse)
    made_up = {
        "speech": (tiny.made_up(lambda: Wav2Vec2(tiny.HUBERT, rngs=nnx.Rngs(0))), tiny.HUBERT, "hubert"),
        "video": (tiny.made_up(lambda: ClipVision(tiny.CLIP, rngs=nnx.Rngs(0))), tiny.CLIP, "clip-vision"),
        "tts": (tiny.speaker().model, tiny.STYLE_TTS2, VOICE),
        "head": (tiny.made_up(lambda: DreamTalk(tiny.DREAMTALK, rngs=nnx.Rngs(0))), tiny.DREAMTALK, HEAD),
    }
    for name, (network, config, kind) in made_up.items():
        weights.save(place / name, network, config, kind, {"source": "seeded"})
    config, run = configuration(folder), Run(folder / "run")
    base = trained.base_of(config)
    values = trained.trained_config(config, base)
    random = np.random.default_rng(1)
    flat = {
        path: (0.02 * random.standard_normal(leaf.shape)).astype(np.float32)
        for path, leaf in find_conversion("empatheia").abstract(values).items()
    }
    hashes = {"llm": weights.describe(place / "base")["sha256"]}
    for stage in config.schedule:
        chosen = {p: v for p, v in flat.items() if any(fnmatch.fnmatchcase(p, glob) for glob in TRAINABLE[stage])}
        found = fit.fingerprint(config, stage, weights=hashes, features={}, after={})
        done = {"step": 1, "first_loss": 1.0, "last_loss": 1.0, "seconds": 0.0}
        import_run.write_stage(
            run, stage, chosen, {"fingerprint": found, "metadata": {"weights": hashes}, "complete": done}
        )
    run.write_config(plain(config))


def base_bytes(folder: Path) -> int:
    """Bytes of all parameters of a weights folder, as they are in memory."""
    import numpy as np

    from empatheia_jax import weights

    entries = weights.describe(folder)["params"].values()
    return sum(math.prod(entry["shape"]) * np.dtype(entry["dtype"]).itemsize for entry in entries)


def resident(pid: int) -> int:
    """Peak resident bytes of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def watch(folder: Path, output: Path, parts: str, kill_at: float | None, total: int) -> tuple[int, float, bool]:
    """(peak, seconds, whether it came to its end) of an export; killed when the hidden folder holds this share of `total`."""
    began, peak = time.monotonic(), 0
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(folder), str(output), parts])
    partial = output.parent / f".{output.name}.partial"
    while child.poll() is None:
        try:
            peak = max(peak, resident(child.pid))
        except OSError:
            break
        if kill_at is not None and partial.exists():
            size = sum(path.stat().st_blocks * 512 for path in partial.rglob("*.safetensors") if path.is_file())
            if size > kill_at * total:
                os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.2)
    return peak, time.monotonic() - began, child.wait() == 0


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.export_memory")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--sparse", action="store_true", help="a base that takes little disk")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--parts", default="merged")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        # In a process of its own, whose memory is then free.
        program = f"from benchmarks.export_memory import *; write_run(Path({name!r}), SIZES[{options.size!r}], {options.sparse})"
        subprocess.run([sys.executable, "-c", program], check=True)
        total = base_bytes(folder / "weights" / "base")
        first = watch(folder, folder / "release", options.parts, 0.5, total)
        mistaken = (folder / "release").exists()
        second = watch(folder, folder / "release", options.parts, None, total)
        done = (folder / "release" / "config.json").is_file()
        size = sum(path.stat().st_size for path in (folder / "release").rglob("*") if path.is_file())
    peak = max(first[0], second[0])
    found = {
        "size": options.size,
        "base_GB": round(total / 1e9, 2),
        "release_GB": round(size / 1e9, 2),
        "peak_GiB": round(peak / 2**30, 2),
        "seconds": [round(first[1]), round(second[1])],
        "killed_half_way": not first[2],
        "mistaken_for_complete": mistaken,
        "complete_after_the_second": second[2] and done,
    }
    print(json.dumps(found))
    return 0 if peak < 8 * 2**30 and found["complete_after_the_second"] and not mistaken else 1


if __name__ == "__main__":
    sys.exit(main())
