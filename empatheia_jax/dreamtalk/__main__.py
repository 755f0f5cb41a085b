"""Makes a talking head.

python -m empatheia_jax.dreamtalk speech.wav --portrait=face.png --style=clip.mat --output=x.mp4
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from empatheia_jax import weights
from empatheia_jax.dreamtalk import features, motion, portrait
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import replacing
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.image import read_portrait, stored_size

MAX_SECONDS = 3600.0
RELEASED, SHIPPED = "dreamtalk", "drawn-face"


def _default_weights() -> str:
    """The released weights where a user has them, else the small face that ships, with a note on what that means."""
    try:
        weights.find(RELEASED)
    except UserError:
        print(
            f"note: no weights folder {RELEASED!r} (DreamTalk's authors give them out on request), so this is {SHIPPED!r}, "
            "a small network that has seen drawn faces only, with coefficients of its own; expect no photograph to come alive",
            file=sys.stderr,
        )
        return SHIPPED
    return RELEASED


def _rectangle(text: str) -> portrait.Box:
    try:
        left, top, right, bottom = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected left,top,right,bottom in pixels") from None
    return left, top, right, bottom


def _as_read(face: portrait.Box, stored: tuple[int, int], read: tuple[int, ...]) -> portrait.Box:
    """A rectangle in a file's pixels, in those of the picture as it was read, which is smaller where the file is huge."""
    down, across = (after / before for before, after in zip(stored, read))
    left, top, right, bottom = face
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m empatheia_jax.dreamtalk", description="Speech and a portrait → a film.")
    parser.add_argument("speech", type=Path, help="sound file (wav, m4a, mp4 …; any rate, any channels)")
    parser.add_argument("--portrait", type=Path, help="picture of a face; default: one that came with the weights")
    parser.add_argument("--style", type=Path, help="expression clip (.mat, .npy, .txt); default: no particular style")
    parser.add_argument(
        "--pose", type=Path, help="head movements (.mat, .npy, .txt); default: the weights' own, or still"
    )
    parser.add_argument("--output", type=Path, required=True, help="the mp4 to write")
    parser.add_argument(
        "--weights", help=f"weights folder (default: {RELEASED}; where there is none, the {SHIPPED} that comes with us)"
    )
    parser.add_argument("--guidance", type=float, default=1.0, help="strength of the style; 1 = as trained (default)")
    parser.add_argument("--steps", type=int, default=10, help="steps of DDIM (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the motion's noise (default 0)")
    parser.add_argument("--face", type=_rectangle, metavar="L,T,R,B", help="the face's rectangle in the portrait")
    parser.add_argument("--no-crop", action="store_true", help="the portrait is cut out already")
    parser.add_argument("--motion", type=Path, help="also write the motion (.npy, frames x 73)")
    return parser.parse_args(argv)


@main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status."""
    options = _arguments(argv)
    if options.output.suffix != ".mp4":
        raise UserError(f"--output={options.output}: expected a name that ends in .mp4")
    if not np.isfinite(options.guidance):
        raise UserError(f"--guidance={options.guidance}: expected a finite number")
    # everything that may be refused is read before the networks are loaded
    wave = features.check_wave(read_audio(options.speech, features.SAMPLE_RATE, max_seconds=MAX_SECONDS))
    picture = None if options.portrait is None else read_portrait(options.portrait)
    if picture is not None and options.face is not None:
        options.face = _as_read(options.face, stored_size(options.portrait), picture.shape[:2])
    clip = None if options.style is None else motion.read_expression(options.style)
    pose = None if options.pose is None else motion.read_pose(options.pose)
    if clip is not None:
        motion.style_clip(clip, len(clip) + 1)  # refuses an empty one
    if picture is not None:
        portrait.prepare(picture, portrait.MIN_SIDE, face=options.face, crop=not options.no_crop)  # refuses a bad one

    from empatheia_jax.dreamtalk.animator import Animator

    animator = Animator.load(options.weights or _default_weights())
    if picture is None:
        face = animator.portrait_for(age=1, gender=1, tone=1)
    else:
        face = portrait.prepare(picture, animator.image_size, face=options.face, crop=not options.no_crop)
    moves = animator.motion(wave, clip, seed=options.seed, guidance=options.guidance, steps=options.steps, pose=pose)
    if options.motion is not None:
        with replacing(options.motion) as temporary, open(temporary, "wb") as file:
            np.save(file, moves)
    frames = animator.film(options.output, wave, face, moves)
    print(f"{options.output}: {frames} frames, {frames / motion.FRAMES_PER_SECOND:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
