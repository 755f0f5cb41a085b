"""Peak memory and time of exporting a run whose base is as large as Vicuna 7B, and what interruptions leave.

    python -m benchmarks.export_memory [--size=small|medium|7b] [--sparse] [--folder=FOLDER] [--parts=merged]

Writes a seeded LLaMA weights folder in float16 (7b: the shapes of vicuna-7b-v1.5, 13.5 GB) and a run on it with an adapter drawn
at random. `launch.py --mode=export` then exports it in a process of its own, which gets SIGINT when a third of the bytes are
there. The same command is given again and killed with SIGKILL at two thirds, and then goes on to the end. Prints the largest
peak of resident memory of each; the bar is 8 GiB. After each interruption: whether a release, or a `config.json` of one, was
there; whether `converters.inspect` took the unfinished folder for one; and whether shards that were complete were written again.
At the end all checksums are compared, and every matrix of one layer of `merged/` with the sum of the base and LoRA, computed
here. Everything is written below a temporary folder and removed at the end.

`--sparse` draws the first slice of every parameter of the base and leaves the others 0: the folder is compressed, so it takes
little disk, and what is read, merged and written is as large as ever. Free disk that is needed: the base's bytes for each part
(7b: 13.5 GB), and once more without `--sparse`.
"""

from __future__ import annotations

import argparse
import contextlib
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

INTERRUPTIONS = ((1 / 3, signal.SIGINT), (2 / 3, signal.SIGKILL))
"""At which share of the bytes an export is interrupted, and how."""
LARGE = ("merged", "base_with_tokens", "gguf")


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


@dataclasses.dataclass
class Watched:
    """One export. peak: bytes; seconds: wall time; code: exit code (negative: the signal); said: what it wrote on stderr."""

    peak: int
    seconds: float
    code: int
    said: str


def watch(folder: Path, output: Path, parts: str, share: float, how: signal.Signals | None, total: int) -> Watched:
    """Exports in a process of its own, which gets the signal `how` when the hidden folder holds this share of `total` bytes."""
    began, peak, sent = time.monotonic(), 0, False
    command = [sys.executable, "launch.py", "--config=configs/debug.py", f"--workdir={folder / 'run'}", "--mode=export"]
    command += [f"--output={output}", f"--parts={parts}"]
    partial = hidden(output) / "release"
    with open(folder / "said", "w+") as said:
        child = subprocess.Popen(command, stderr=said, stdout=subprocess.DEVNULL)
        while child.poll() is None:
            with contextlib.suppress(OSError):
                peak = max(peak, resident(child.pid))
            if how is not None and not sent and written(partial) > share * total:
                child.send_signal(how)
                sent = True
            time.sleep(0.1)
        said.seek(0)
        return Watched(peak, time.monotonic() - began, child.wait(), said.read())


def hidden(output: Path) -> Path:
    """Where an export of `output` is made."""
    return output.parent / f".{output.name}.partial"


def written(folder: Path) -> int:
    """Bytes on the disk of the large files below `folder`."""
    size = 0
    for place, _, names in os.walk(folder):  # what goes away meanwhile is passed over
        for name in names:
            with contextlib.suppress(OSError):
                size += os.stat(f"{place}/{name}").st_blocks * 512 if name.endswith((".safetensors", ".gguf")) else 0
    return size


def is_taken_for_a_release(output: Path) -> bool:
    """Whether an export that was interrupted left a release, or something that our reader takes for one."""
    inside = hidden(output) / "release"
    command = [sys.executable, "-m", "converters.inspect", str(inside)]
    code = subprocess.run(command, capture_output=True, check=False).returncode
    return output.exists() or (inside / "config.json").exists() or code != 2


def shards(folder: Path) -> dict[str, int]:
    """{complete shard below `folder`: when it was written}."""
    found = folder.rglob("model*.safetensors")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in found}


def is_merged(folder: Path, release: Path, layer: int = 1) -> bool:
    """Whether every tensor of one layer of `merged/` is base + LoRA, rounded once to bfloat16."""
    import ml_dtypes
    import numpy as np

    from converters.release import import_run
    from converters.sources import open_source
    from empatheia_jax import weights

    config, found, theirs = configuration(folder), import_run.read(release), open_source(release / "merged")
    scale = config.lora.alpha / config.lora.rank
    right = []
    for path, leaf in weights.lazy_params(folder / "weights" / "base").items():
        if not path.startswith("layers.") or not path.endswith(".kernel"):
            continue
        stem = path.removesuffix(".kernel")
        kernel = np.asarray(leaf.read()[layer], np.float32)
        if f"core.{stem}.lora.default.a" in found:
            low, high = (found[f"core.{stem}.lora.default.{name}"][layer] for name in "ab")
            kernel = kernel + np.float32(scale) * (np.asarray(low, np.float32) @ np.asarray(high, np.float32))
        name = stem.removeprefix("layers.").replace("attention.", "self_attn.")
        (key,) = [key for key in theirs if f".{layer}." in key and key.endswith(f"{name.split('.')[-1]}.weight")]
        right.append(np.array_equal(theirs.read(key), kernel.T.astype(ml_dtypes.bfloat16)))
    return len(right) == 7 and all(right)


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.export_memory")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--sparse", action="store_true", help="a base that takes little disk")
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--parts", default="merged")
    options = parser.parse_args()
    # A shell that starts this behind "&" has SIGINT ignored, and the export would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, output = Path(name), Path(name) / "release"
        # In a process of its own, whose memory is then free.
        program = f"from benchmarks.export_memory import *; write_run(Path({name!r}), SIZES[{options.size!r}], {options.sparse})"
        subprocess.run([sys.executable, "-c", program], check=True)
        base = base_bytes(folder / "weights" / "base")
        total = base * sum(part in LARGE for part in options.parts.split(","))
        attempts, mistaken, kept, again = [], False, {}, []
        for share, how in (*INTERRUPTIONS, (1.0, None)):
            attempts.append(watch(folder, output, options.parts, share, how, total))
            print(attempts[-1], file=sys.stderr, flush=True)
            now = shards(output if how is None else hidden(output) / "release")
            again += [shard for shard, when in kept.items() if now.get(shard) != when]
            kept = now
            mistaken = mistaken or (how is not None and is_taken_for_a_release(output))
        done = subprocess.run([sys.executable, "-m", "converters.inspect", str(output), "--verify"], check=False)
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        merged = is_merged(folder, output) if "merged" in options.parts.split(",") else None
    peak = max(each.peak for each in attempts)
    found = {
        "size": options.size,
        "base_GB": round(base / 1e9, 2),
        "release_GB": round(size / 1e9, 2),
        "peak_GiB": [round(each.peak / 2**30, 2) for each in attempts],
        "seconds": [round(each.seconds) for each in attempts],
        "exit_codes": [each.code for each in attempts],
        "taken_for_complete": mistaken,
        "shards_written_again": again,
        "checksums_right": done.returncode == 0,
        "one_layer_is_base_and_lora": merged,
    }
    print(json.dumps(found))
    stopped = found["exit_codes"] == [130, -signal.SIGKILL, 0] and not mistaken and not again
    return 0 if peak < 8 * 2**30 and stopped and done.returncode == 0 and merged is not False else 1


if __name__ == "__main__":
    sys.exit(main())
