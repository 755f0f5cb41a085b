"""How fast is the data pipeline? Each pipeline against the plain decoding of the same files.

    python benchmarks/data.py [--set=ROOT] [--tokenizer=weights/NAME] [--seconds=10] [--batches=10000] [--json=FILE]

Without `--set` a set is made: the toy dialogues with noise for speech (5.67 s at 24 kHz, the paper's mean) and drawn stripes
for faces (25 fps, 128x128). Measured:

  decode     each file by itself in one thread: wav to 16 kHz, 24 frames by time, features of nothing
  extract    the same files through `data_pipeline.extract` with an extractor that only decodes
  stages     batches per second of each stage from a feature cache of the real sizes (24 x 1024 features, 512-wide phonemes,
             11 x 256 video windows), with threads and with 2 worker processes, packed and unpacked
  busy       share of the time that a step of `--step-ms` milliseconds computes instead of waiting for its batch, and the
             shortest step that would be busy for 95 % of the time
  memory     resident size of the loading process along `--batches` batches

The projection to the real set (152,021 clips, 239.4 h) scales the decoding of one second of speech and of video; networks
come on top and are not in it. Numbers hold for the machine that is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

import grain
import numpy as np

from configs import common
from data_pipeline import extract, loader, toy
from data_pipeline.batches import BatchMaker
from data_pipeline.features import ENCODED, TARGETS, CachedFeatures
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from data_pipeline.stream import Stream
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.settings import Experiment, resolve
from empatheia_jax.tokens import SLOTS

CLIPS, HOURS = 152_021, 239.4
SHAPES = {"speech": (SLOTS, 1024), "video": (SLOTS, 1024), "speech_style": (256,), "video_style": (256,)}


def make_set(root: Path, dialogues: int) -> Path:
    """Toy dialogues with made-up recordings of the paper's mean length."""
    rng = np.random.default_rng(0)
    for split, count in (("train", dialogues), ("valid", 1), ("test", 1)):
        conversations = toy.conversations(split, count)
        root.mkdir(parents=True, exist_ok=True)
        schema.write(root / f"{split}.json", conversations)
        for conversation in conversations:
            for said in conversation.utterances():
                person = conversation.profile(said.role).media_id
                names = [media_name(conversation.conversation_id, said.index, person, k) for k in ("audio", "video")]
                for folder in ("audio_v5_0", "video_v5_0"):
                    (root / folder).mkdir(exist_ok=True)
                write_wav(root / "audio_v5_0" / names[0], 0.1 * rng.standard_normal(136_080).astype(np.float32), 24_000)
                with VideoWriter(root / "video_v5_0" / names[1], 25, (128, 128)) as video:
                    stripes = (np.arange(128) * 2 + 3 * np.arange(142)[:, None]) % 256
                    video.write(np.broadcast_to(stripes[:, None, :, None], (142, 128, 128, 3)).astype(np.uint8))
    return root


def made_up(what: str):
    """A function of a clip with an array of the real size."""

    def function(clip) -> np.ndarray:
        words = len(clip.text.split())
        shape = {"speech_content": (6 * words, 512), "video_content": (min(500, 10 * words), 11, 256)}.get(what)
        return np.full(shape or SHAPES[what], len(clip.text), np.float32)

    return function


def fill_cache(config: Experiment) -> dict[str, str]:
    """Features of the real sizes for every clip; returns the fingerprints."""
    made = [
        extract.PerClip(what, f"benchmark-{what}", ("speaker",) if what in ENCODED else ("listener",), made_up(what))
        for what in (*ENCODED, *TARGETS["ccl"], *TARGETS["sac"])
    ]
    extract.run_extractors(config, made, show=False)
    return {each.feature: each.fingerprint for each in made}


class Bytes:
    """A tokenizer without a checkpoint: three letters a token."""

    frame = ((1,), ())

    def encode(self, text: str) -> list[int]:
        from empatheia_jax.tokens import ADDED_TOKENS

        ids: list[int] = []
        for part in text.replace("<", "\0<").replace("[", "\0[").replace(">", ">\0").replace("]", "]\0").split("\0"):
            if part in ADDED_TOKENS:
                ids.append(self.token_id(part))
            else:
                ids += [2 + sum(map(ord, part[i : i + 3])) % 1000 for i in range(0, len(part), 3)]
        return ids

    def token_id(self, token: str) -> int:
        from empatheia_jax.tokens import ADDED_TOKENS

        return 2000 + ADDED_TOKENS.index(token)


def decode_plainly(tree: Tree, seconds: float) -> dict[str, float]:
    """Clips per second of reading files one after another, and seconds of work per second of recording."""
    clips = [clip for conversation in schema.read(tree.split_file("train")) for clip in tree.clips(conversation)]
    spent, lengths, done, began = {"audio": 0.0, "video": 0.0}, 0.0, 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        clip = clips[done % len(clips)]
        start = time.perf_counter()
        lengths += len(clip.samples()) / 16_000
        middle = time.perf_counter()
        clip.frames(count=SLOTS)
        spent["audio"] += middle - start
        spent["video"] += time.perf_counter() - middle
        done += 1
    total = time.perf_counter() - began
    return {
        "clips_per_second": done / total,
        "audio_work": spent["audio"] / lengths,
        "video_work": spent["video"] / lengths,
        "clips": done,
    }


def decode_by_extraction(config: Experiment, limit: int) -> float:
    """Clips per second through the extraction pipeline, cache writing included."""

    def function(clip) -> np.ndarray:
        return np.float32([clip.samples().mean(), clip.frames(count=SLOTS).mean()])

    examples, tree = loader.load_examples(config, "train", Quarantine(1.0))
    clips = extract.clips_of(examples, tree, ("speaker",))[:limit]
    with tempfile.TemporaryDirectory() as folder:
        from data_pipeline.cache import ContentHashes, FeatureCache

        extractor = extract.PerClip("speech", "decode", ("speaker",), function)
        cache = FeatureCache(folder, "speech", "decode")
        began = time.perf_counter()
        added = extract.extract(clips, extractor, cache, ContentHashes(), Quarantine(1.0))
        return added / (time.perf_counter() - began)


def stream_of(
    config: Experiment, stage: str, tokenizer, marks: dict[str, str], workers: int, packing: bool | None = None
) -> Stream:
    """The stream of a stage as the loader makes it, with another tokenizer and the benchmark's cache; with `packing` said,
    of text alone.
    """
    import dataclasses

    settings = loader.settings_of(config, stage, True)
    if packing is not None:
        text = dataclasses.replace(settings.policy, modalities=())
        settings = dataclasses.replace(settings, policy=text, packing=packing)
    quarantine = Quarantine(0.0)
    examples, tree = loader.load_examples(config, "train", quarantine)
    wanted = (*settings.policy.modalities, *settings.targets)
    features = CachedFeatures(loader.cache_folder(config), {what: marks[what] for what in wanted}) if wanted else None
    maker = BatchMaker(examples, tree, features, tokenizer, settings, quarantine)
    return Stream(maker, workers)


def rate(stream: Stream, seconds: float) -> float:
    """Examples per second, read-ahead filled first."""
    for _ in range(3):
        next(stream)
    rows, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        rows += int(next(stream).weight.sum())
    return rows / (time.perf_counter() - began)


def busy(stream: Stream, step: float, seconds: float) -> float:
    """Share of the time spent in steps that take `step` seconds each."""
    for _ in range(3):
        next(stream)
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(stream)
        time.sleep(step)
        steps += 1
    return steps * step / (time.perf_counter() - began)


def resident() -> float:
    """Resident size of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(stream: Stream, batches: int) -> list[tuple[int, float]]:
    """(batches, MiB) at ten points."""
    points = []
    for number in range(1, batches + 1):
        next(stream)
        if number % max(1, batches // 10) == 0:
            points.append((number, round(resident(), 1)))
    return points


def machine() -> dict[str, str]:
    """What the numbers hold for."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "grain": grain.__version__ if hasattr(grain, "__version__") else version("grain"),
        "av": version("av"),
        "date": date.today().isoformat(),
    }


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--set", type=Path)
    options.add_argument("--tokenizer", type=Path, help="weights folder with a tokenizer; else three letters a token")
    options.add_argument("--dialogues", type=int, default=24, help="size of the set that is made")
    options.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options.add_argument(
        "--step-ms", type=float, default=2600.0, help="2600: 8 x 1024 tokens at 3,150 tokens/s (7B, one A100)"
    )
    options.add_argument("--batches", type=int, default=10_000, help="for the memory curve")
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--json", type=Path)
    given = options.parse_args(argv)
    if given.seconds <= 0 or given.batches < 10 or given.batch < 1:
        raise UserError("--seconds, --batches (at least 10) and --batch must be positive")
    found: dict = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        root = given.set or make_set(Path(folder) / "set", given.dialogues)
        config = common.base()
        config.data.path = str(root)
        config.data.cache = str(Path(folder) / "features")
        config.data.instruction = "short"
        for stage in ("coe", "content", "style", "joint"):
            config[stage].update({"batch": given.batch, "accumulation": 1})
        config = resolve(config)
        tokenizer = Bytes()
        if given.tokenizer:
            from empatheia_jax.core.tokenizer import Tokenizer

            tokenizer = Tokenizer.load(given.tokenizer)
        plain = decode_plainly(Tree(root), given.seconds)
        found["decode"] = plain
        found["extract_clips_per_second"] = decode_by_extraction(config, int(plain["clips"]))
        marks = fill_cache(config)
        stages: dict[str, float] = {}
        for workers in (0, 2):
            for stage in ("coe", "content", "style", "joint"):
                stages[f"{stage}, workers {workers}"] = rate(
                    stream_of(config, stage, tokenizer, marks, workers), given.seconds
                )
            for name, packing in (("text", False), ("text, packed", True)):
                stream = stream_of(config, "coe", tokenizer, marks, workers, packing)
                stages[f"{name}, workers {workers}"] = rate(stream, given.seconds)
        found["examples_per_second"] = stages
        step = given.step_ms / 1000
        found["busy"] = {
            f"{stage}, step {given.step_ms:.0f} ms, 2 workers": busy(
                stream_of(config, stage, tokenizer, marks, 2), step, given.seconds
            )
            for stage in ("coe", "joint")
        }
        found["shortest_step_ms_at_95_percent"] = {
            name: 0.95 * 1000 * given.batch / value for name, value in stages.items() if "workers 2" in name
        }
        found["memory_mib"] = memory(stream_of(config, "coe", tokenizer, marks, 0), given.batches)
    work = HOURS * 3600 * (plain["audio_work"] + plain["video_work"])
    cores = int(found["machine"]["cores"])
    found["projection"] = {
        "core_hours": work / 3600,
        "hours_on_one_machine": work / 3600 / cores,
        "hours_on_ten_machines": work / 3600 / cores / 10,
        "note": f"decoding of {CLIPS:,} clips, {HOURS} h, on machines of {cores} cores like this one; networks not included",
    }
    print(json.dumps(found, indent=1))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
