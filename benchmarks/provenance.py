"""What the marks of origin survive, how often they are found where there are none, and what they change that one can hear.

    pip install 'empatheia-jax[marks]'
    python -m converters.convert --source=perth --output=weights/perth
    python -m benchmarks.provenance --replies=100

Kokoro speaks lines of the dialogue corpus, each once (or `--sounds` names a folder of recordings, which are cut into pieces of
4 seconds); every sound is marked, and both the marked and the bare one go through what
happens to files. A film of the drawn face carries the sound through H.264. The signed statement is read in the same files, and
bytes of a signed wav and mp4 are flipped, spread evenly over the whole file. Audibility is the level of the difference below the
speech, whole and by segments of 20 ms; with the extra `eval` also what DNSMOS predicts for both.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr

from data_pipeline import corpus
from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media import lossy
from empatheia_jax.media.audio import read_audio, write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.provenance import manifest
from empatheia_jax.provenance.watermark import Watermark
from empatheia_jax.styletts2.joins import SAMPLE_RATE as RATE
from empatheia_jax.styletts2.speaker import Speaker

SEGMENT = RATE // 50
Sound = np.ndarray


def lines(count: int) -> list[str]:
    """Replies of the corpus, none twice."""
    found = dict.fromkeys(
        turn.response for each in corpus.conversations("test") for turn in each.turns if turn.response
    )
    return list(found)[:: max(1, len(found) // count)][:count]


def spoken(count: int) -> list[Sound]:
    """Lines of the corpus by Kokoro, in all its voices."""
    speaker = Speaker.load(weights.find("kokoro"))
    voices = speaker.voices.names
    return [speaker.say(text, voice=voices[n % len(voices)]).samples for n, text in enumerate(lines(count))]


def pieces(folder: Path, count: int, seconds: float = 4.0) -> list[Sound]:
    """Pieces of the recordings of a folder, as loud as replies are; what is shorter is left out."""
    size, found = int(seconds * RATE), []
    for path in sorted(folder.iterdir()):
        sound = read_audio(path, RATE)
        found += [sound[start : start + size] for start in range(0, len(sound) - size + 1, size)]
    if not found:
        raise UserError(f"{folder} has no recording of {seconds:.0f} s or more")
    kept = found[:: max(1, len(found) // count)][:count]
    return [(0.5 * piece / max(np.abs(piece).max(), 1e-3)).astype(np.float32) for piece in kept]


def coded(sound: Sound, codec: lossy.Codec, bits: int) -> Sound:
    """Through a codec and back."""
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        Path(file.name).write_bytes(lossy.encode(np.asarray(sound, np.float32), RATE, codec, bits))
        return read_audio(file.name, RATE)


def noisy(sound: Sound, decibels: float) -> Sound:
    """With white noise so many decibels below the speech."""
    noise = np.random.default_rng(0).standard_normal(len(sound))
    return (sound + noise * np.sqrt(np.mean(sound**2)) * 10 ** (-decibels / 20)).astype(np.float32)


def resampled(sound: Sound, rate: int) -> Sound:
    """At another rate and back."""
    return soxr.resample(soxr.resample(sound, RATE, rate), rate, RATE)


def middle(sound: Sound, seconds: float) -> Sound:
    """The middle of a sound."""
    size = min(len(sound), int(seconds * RATE))
    start = (len(sound) - size) // 2
    return sound[start : start + size]


CHANGES: dict[str, Callable[[Sound], Sound]] = {
    "nothing": lambda sound: sound,
    "AAC 128 kbit/s": lambda sound: coded(sound, lossy.AAC, 128_000),
    "AAC 64 kbit/s": lambda sound: coded(sound, lossy.AAC, 64_000),
    "AAC 32 kbit/s": lambda sound: coded(sound, lossy.AAC, 32_000),
    "MP3 128 kbit/s": lambda sound: coded(sound, lossy.MP3, 128_000),
    "MP3 64 kbit/s": lambda sound: coded(sound, lossy.MP3, 64_000),
    "MP3 32 kbit/s": lambda sound: coded(sound, lossy.MP3, 32_000),
    "Opus 24 kbit/s": lambda sound: coded(sound, lossy.OPUS, 24_000),
    "16 kHz": lambda sound: resampled(sound, 16_000),
    "8 kHz": lambda sound: resampled(sound, 8_000),
    "gain −10 dB": lambda sound: sound * 10 ** (-10 / 20),
    "noise at 30 dB": lambda sound: noisy(sound, 30),
    "noise at 20 dB": lambda sound: noisy(sound, 20),
    "noise at 10 dB": lambda sound: noisy(sound, 10),
    "the middle 2 s": lambda sound: middle(sound, 2.0),
    "the middle 1 s": lambda sound: middle(sound, 1.0),
    "5 % faster": lambda sound: soxr.resample(sound, RATE * 1.05, RATE),
    "AAC 32 kbit/s, 16 kHz and −10 dB": lambda sound: (
        10 ** (-10 / 20) * coded(resampled(sound, 16_000), lossy.AAC, 32_000)
    ),
}


def film_again(source: Path, target: Path, side: int) -> None:
    """Encodes a film anew: H.264 with pictures of another size, and AAC at 64 kbit/s."""
    sound = coded(read_audio(source, RATE), lossy.AAC, 64_000)
    with av.open(str(source)) as file:
        frames = [frame.reformat(side, side, "rgb24").to_ndarray() for frame in file.decode(video=0)]
    sound = sound[: len(frames) * RATE // 25]  # a codec leaves padding behind
    with VideoWriter(target, Fraction(25), (side, side), sound, RATE) as film:
        film.write(np.stack(frames))


def below(bare: Sound, marked: Sound) -> tuple[float, float]:
    """Decibels of the speech above the difference: of the whole, and the mean over segments of 20 ms that hold speech."""

    def ratio(signal: Sound, error: Sound) -> Sound:
        return 10 * np.log10(np.maximum((signal**2).sum(-1), 1e-12) / np.maximum((error**2).sum(-1), 1e-12))

    count = len(bare) // SEGMENT
    signal, error = (each[: count * SEGMENT].reshape(count, SEGMENT) for each in (bare, marked - bare))
    power = (signal**2).mean(1)
    loud = power > 1e-3 * power.max()
    return float(ratio(bare, marked - bare)), float(np.clip(ratio(signal[loud], error[loud]), -10, 60).mean())


def flips(path: Path, count: int) -> tuple[int, int]:
    """(flipped bytes that were found, all) of a signed file, places spread evenly."""
    content = path.read_bytes()
    places = np.unique(np.linspace(0, len(content) - 1, count).astype(int))
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / path.name
        for place in places:
            changed.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
            found += manifest.read(changed).state == "changed"
    return found, len(places)


def opinions(pairs: Sequence[tuple[Sound, Sound]]) -> str:
    """What DNSMOS predicts for the bare and the marked sounds."""
    try:
        from evaluation.speech_judges import Absent, Opinion

        judge = Opinion()
        bare, marked = (
            float(np.mean([judge(soxr.resample(pair[n], RATE, 16_000).astype(np.float32)) for pair in pairs]))
            for n in (0, 1)
        )
    except (ImportError, Absent) as error:
        return f"not measured ({error})"
    return f"{bare:.3f} bare, {marked:.3f} marked ({marked - bare:+.3f})"


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.provenance", description=__doc__)
    parser.add_argument("--replies", type=int, default=100, help="sounds that are marked")
    parser.add_argument("--sounds", type=Path, help="a folder of recordings to mark, instead of speaking lines")
    parser.add_argument(
        "--change", action="append", choices=CHANGES, help="one of the rows; may be repeated; all by default"
    )
    parser.add_argument("--films", type=int, default=5, help="films among them")
    parser.add_argument("--flips", type=int, default=300, help="bytes that are flipped in a file")
    options = parser.parse_args(argv)
    if not manifest.available():
        raise UserError("the package that signs files is not installed; run: pip install 'empatheia-jax[marks]'")
    watermark = Watermark.load()
    bare = spoken(options.replies) if options.sounds is None else pieces(options.sounds, options.replies)
    began = time.perf_counter()
    marked = [watermark.mark(sound, RATE) for sound in bare]
    seconds = sum(len(sound) for sound in bare) / RATE
    share = (time.perf_counter() - began) / seconds
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {date.today()}"
    )
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "av", "c2pa-python")))
    print(f"{len(bare)} replies of {seconds / len(bare):.1f} s; marking took {share:.3f} of that time\n")
    print("| what happens to the sound | found where marked | found where not | least score, marked | highest, not |")
    print("|---|---|---|---|---|")
    for name in options.change or CHANGES:
        change = CHANGES[name]
        scores = [[watermark.score(change(sound), RATE) for sound in each] for each in (marked, bare)]
        found = [sum(score > 0.5 for score in each) for each in scores]
        print(
            f"| {name} | {found[0]} of {len(marked)} | {found[1]} of {len(bare)} | {min(scores[0]):.2f} | {max(scores[1]):.2f} |",
            flush=True,
        )
    whole, parts = np.mean([below(*pair) for pair in zip(bare, marked)], axis=0)
    print(f"\nspeech above the mark: {whole:.1f} dB, mean of segments {parts:.1f} dB")
    print(f"DNSMOS: {opinions(list(zip(bare, marked)))}\n")
    with tempfile.TemporaryDirectory() as folder:
        counts = {"watermark": 0, "statement": 0}
        for number in range(options.films):
            film, again = Path(folder) / f"{number}.mp4", Path(folder) / f"{number}-again.mp4"
            with VideoWriter(film, Fraction(25), (64, 64), marked[number], RATE) as writer:
                shades = np.arange(int(25 * len(marked[number]) / RATE), dtype=np.uint8)
                writer.write(np.broadcast_to(shades[:, None, None, None], (len(shades), 64, 64, 3)))
            manifest.sign(film, {"watermark": True})
            film_again(film, again, 48)
            counts["watermark"] += watermark.found(read_audio(again, RATE), RATE)
            counts["statement"] += manifest.read(again).state == "intact"
        print(
            f"films encoded again, H.264 at 48 × 48 from 64 × 64 and AAC at 64 kbit/s: watermark in {counts['watermark']} of "
            f"{options.films}, signed statement in {counts['statement']}"
        )
        wav = Path(folder) / "reply.wav"
        write_wav(wav, marked[0][:RATE], RATE)
        manifest.sign(wav)
        for path in (wav, Path(folder) / "0.mp4"):
            found, every = flips(path, options.flips)
            print(
                f"flipped bytes of a signed {path.suffix[1:]} ({path.stat().st_size:,} bytes): {found} of {every} found"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
