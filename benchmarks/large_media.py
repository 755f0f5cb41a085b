"""Peak memory of a reply to a 4K film with a huge portrait, and of an extraction of such films, beside small ones.

    python -m benchmarks.large_media [--folder=FOLDER]

Draws a film of 3840 × 2160 pixels and 10 seconds, one of 320 × 240, and portraits of 16384² and 512² pixels (a face of the drawn
set). With the debug networks it then trains one stage, replies to each film with each portrait, and extracts the features of a
small set whose films are the large or the small one. Every command is a process of its own. Prints its peak of resident memory;
the difference of two rows is what the size of the source costs. The networks are tiny, so that a whole peak is nearly all
libraries, programs and media. The bar is 1.5 GB above the networks. Last, the time of building the prompt of a long dialogue.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FILMS = {"small": (240, 320), "large": (2160, 3840)}
PORTRAITS = {"small": 512, "large": 16384}
SECONDS = 10
RATE = 25


def write_film(path: Path, height: int, width: int) -> None:
    """A moving pattern with a tone, as cameras pack them: H.264 and AAC."""
    import av

    down, across = np.mgrid[0:height, 0:width]
    base = np.stack(
        [across * 127 // width, down * 127 // height, (across + down) * 127 // (width + height)], -1
    ).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 40, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    tone = (0.2 * np.sin(np.arange(SECONDS * 16_000) / 20)).astype(np.float32)
    with av.open(str(path), "w") as container:
        film = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "refs": "3"})
        film.width, film.height, film.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for k in range(SECONDS * RATE):
            container.mux(film.encode(av.VideoFrame.from_ndarray(base + np.roll(noise, 16 * k, 1), format="rgb24")))
        container.mux(film.encode(None))
        for start in range(0, len(tone) - 1023, 1024):
            piece = av.AudioFrame.from_ndarray(tone[None, start : start + 1024].copy(), format="fltp", layout="mono")
            piece.rate, piece.pts = 16_000, start
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def write_portrait(path: Path, size: int) -> None:
    """A drawn face as a PNG of `size` × `size` pixels."""
    from PIL import Image

    from empatheia_jax.conversation import labels
    from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile

    face = Image.fromarray(portrait_for_profile(labels.AGES[1], labels.GENDERS[0], labels.TONES[0]))
    face.resize((size, size), Image.Resampling.BILINEAR).save(path, compress_level=1)


def peak_of(*arguments: str | Path) -> int:
    """Runs `launch.py` and gives the peak of its resident memory in bytes."""
    process = subprocess.Popen([sys.executable, "launch.py", "--config=configs/debug.py", *map(str, arguments)])
    _, status, used = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise SystemExit(f"launch.py {' '.join(map(str, arguments))} ended with {code}")
    return used.ru_maxrss * 1024


def prompt_seconds(utterances: int) -> float:
    """Time to build the prompt of a dialogue of so many different utterances."""
    from empatheia_jax import tiny
    from empatheia_jax.conversation import prompt, schema

    said = [
        schema.Utterance(
            k, schema.ROLES[k % 2], f"I feel sad about it {k}, and I do not know what to do with {k % 1013} of them."
        )
        for k in range(utterances)
    ]
    tokenizer = tiny.tokenizer()
    start = time.perf_counter()
    prompt.encode(tokenizer, said, max_length=1024, instruction="short", speech=(), video=())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder)")
    parser.add_argument("--draw", action="store_true", help="only write the films and portraits into --folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.draw:
            draw(folder)
        else:
            measure(folder)


def draw(folder: Path) -> None:
    """Writes the films and portraits."""
    for name, sides in FILMS.items():
        write_film(folder / f"{name}.mp4", *sides)
    for name, size in PORTRAITS.items():
        write_portrait(folder / f"{name}.png", size)


def measure(folder: Path) -> None:
    """Makes the media, runs the commands and prints a row for each."""
    # In a process of its own: Linux counts the memory of the parent into the peak of a child that it starts.
    subprocess.run([sys.executable, "-m", "benchmarks.large_media", "--draw", f"--folder={folder}"], check=True)
    from tests.data_pipeline.trees import small_tree

    peak_of(f"--workdir={folder / 'run'}", "--config.schedule=coe")
    for name in ("small", "large"):
        peak = peak_of(
            f"--workdir={folder / 'run'}",
            "--config.schedule=coe",
            "--mode=reply",
            "--text=I failed my exam.",
            f"--video={folder / name}.mp4",
            f"--portrait={folder / name}.png",
            f"--output={folder / name}-reply",
        )
        print(f"reply, {name} film and portrait: {peak / 1e6:.0f} MB", flush=True)
    for name in ("small", "large"):
        tree = small_tree(folder / f"{name}-set", train=2)
        for film in list(tree.rglob("*.mp4"))[:3]:
            film.unlink()
            film.symlink_to((folder / f"{name}.mp4").resolve())
        peak = peak_of("--mode=extract", f"--config.data.path={tree}", "--config.schedule=coe,content")
        print(f"extract, 3 {name} films of {len(list(tree.rglob('*.mp4')))}: {peak / 1e6:.0f} MB", flush=True)
    print(f"the prompt of 10,001 utterances: {prompt_seconds(10_001):.2f} s")


if __name__ == "__main__":
    main()
