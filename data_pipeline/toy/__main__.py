"""`python -m data_pipeline.toy --output=data/toy [--dialogues=corpus --count=N --test=N]`: dialogues with speech and faces."""

from __future__ import annotations

import argparse
import sys
import typing
from pathlib import Path

from tqdm import tqdm

from data_pipeline.toy import media
from empatheia_jax import weights
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.settings.choices import Expression


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.toy", description=__doc__)
    options.add_argument("--output", required=True, type=Path, help="folder to make the set in")
    options.add_argument("--dialogues", default="toy", choices=media.DIALOGUES, help="the small toy set or the corpus")
    options.add_argument(
        "--expression",
        default="empathic",
        choices=typing.get_args(Expression),
        help="what listeners show: the answer to an emotion, or the speaker's own, weaker",
    )
    options.add_argument("--count", type=int, help="number of dialogues; all of them by default")
    options.add_argument("--test", type=int, help="dialogues in the test split; as --count says by default")
    options.add_argument("--voice", type=Path, default=Path("weights/kokoro"), help="weights folder of the voice")
    options.add_argument("--size", type=int, default=128, help="height and width of the videos in pixels")
    return options


@main_guard
def main(argv: list[str]) -> int:
    """Makes the set and says what is in it."""
    options = parser().parse_args(argv)
    if options.size < 16 or options.size % 2:
        raise UserError(f"--size={options.size}; expected an even number of at least 16")
    from empatheia_jax.styletts2.speaker import Speaker

    if not (options.voice / weights.CONFIG_FILE).is_file():
        command = "python -m converters.convert --source=kokoro --output=weights/kokoro"
        raise UserError(f"the voice is missing (no {options.voice}); get it with `{command}`")
    mark = weights.describe(options.voice)["sha256"]
    voice = media.SpeakerVoice(Speaker.load(options.voice), f"{options.voice.name}-{mark[:16]}")
    with tqdm(unit="utterance", desc="speaking and drawing") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        counts = media.build(
            options.output,
            voice,
            media.DrawnFace(options.size),
            options.count,
            progress,
            options.dialogues,
            options.expression,
            options.test,
        )
    said = ", ".join(f"{split} {count}" for split, count in counts.items())
    print(
        f"{options.output}: utterances with speech and face: {said}; a dialogue to reply to: {options.output}/demo.json"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
