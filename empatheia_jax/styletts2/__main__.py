"""Speaks a text into a wav file.

python -m empatheia_jax.styletts2 "I'm so glad you told me." --voice=jf_alpha --output=reply.wav
python -m empatheia_jax.styletts2 --voices
fortune | python -m empatheia_jax.styletts2 - --profile=elderly,female,gentle --output=reply.wav
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import WavWriter, read_audio
from empatheia_jax.styletts2.joins import SAMPLE_RATE
from empatheia_jax.styletts2.speaker import Speaker
from empatheia_jax.styletts2.voices import for_profile


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m empatheia_jax.styletts2",
        description="Speaks a text into a 24 kHz wav file.",
        allow_abbrev=False,
    )
    parser.add_argument("text", nargs="?", help="what to say; - reads it from standard input")
    parser.add_argument("--output", default="speech.wav", help="wav file to write (default: %(default)s)")
    parser.add_argument("--weights", default="kokoro", help="weights folder, or its name (default: %(default)s)")
    parser.add_argument("--voice", help="a voice, or a mixture a:0.7+b:0.3 (default: the first; see --voices)")
    parser.add_argument("--profile", help="age,gender,tone instead of a voice, for instance young,female,gentle")
    parser.add_argument("--reference", help="recording whose voice to take (needs weights with style encoders)")
    parser.add_argument("--speed", type=float, default=1.0, help="1.2 = faster by a fifth (default: %(default)s)")
    parser.add_argument("--pitch", type=float, default=1.0, help="factor on the pitch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the source noise (default: %(default)s)")
    parser.add_argument("--phonemizer", default="auto", help="gruut, espeak or auto (default: %(default)s)")
    parser.add_argument("--ipa", action="store_true", help="the text is phonemes already")
    parser.add_argument("--voices", action="store_true", help="list the voices of the weights and stop")
    return parser


def _manner(args: argparse.Namespace, speaker: Speaker) -> dict:
    """The arguments of `stream` that say whose voice it is."""
    given = [name for name in ("voice", "profile", "reference") if getattr(args, name) is not None]
    if len(given) > 1:
        raise UserError(f"--{given[0]} and --{given[1]} both choose the voice; give one of them")
    if args.profile is not None:
        words = [word.strip() for word in args.profile.split(",")]
        if len(words) != 3:
            raise UserError(f"--profile={args.profile}: expected age,gender,tone, for instance young,female,gentle")
        return {"voice": for_profile(*words)}
    if args.reference is not None:
        return {"style": speaker.style_of(read_audio(args.reference, SAMPLE_RATE))}
    return {"voice": args.voice}


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    if args.text is None and not args.voices:
        raise UserError('nothing to say; give a text, for instance: python -m empatheia_jax.styletts2 "Hello"')
    speaker = Speaker.load(weights.find(args.weights), phonemizer=args.phonemizer)
    if args.voices:
        print("\n".join(speaker.voices.names))
        return 0
    text = sys.stdin.read() if args.text == "-" else args.text
    started = time.perf_counter()
    pieces = speaker.stream(
        text, speed=args.speed, pitch=args.pitch, seed=args.seed, ipa=args.ipa, **_manner(args, speaker)
    )
    with WavWriter(args.output, SAMPLE_RATE) as wav:
        for piece in pieces:
            wav.write(piece.samples)
    seconds, took = wav.samples / SAMPLE_RATE, time.perf_counter() - started
    print(f"{args.output}: {seconds:.1f} s of speech in {took:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
