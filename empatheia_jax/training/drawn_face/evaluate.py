"""Measures a small DreamTalk on people and sounds that it never saw.

    python -m empatheia_jax.training.drawn_face.evaluate --weights=weights/drawn-face --folder=runs/drawn_face

* opening: the mouth's opening measured on rendered frames (speech → motion → frames) against the ground truth that the same
  speech gives a drawn mouth; Pearson's r per clip, then the mean.
* emotion: the share of clips in which a judge that was trained on true drawings reads the emotion that was asked for.
* SSIM (11 × 11 Gaussian, 0..255) of frames rendered from true coefficients, head motion included, against the drawing; beside it
  that of the portrait itself, unmoved.

Speech is babble of unseen seeds, or the recordings of `--speech`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.dreamtalk.drawn_face.drawing import draw, portrait
from empatheia_jax.dreamtalk.drawn_face.expressions import EMOTIONS, perform
from empatheia_jax.dreamtalk.drawn_face.identity import sample_identity
from empatheia_jax.dreamtalk.drawn_face.layout import EXPRESSION
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.image import contact_sheet, write_image
from empatheia_jax.training.drawn_face import judge as judges
from empatheia_jax.training.drawn_face import measure
from empatheia_jax.training.drawn_face.babble import babble
from empatheia_jax.training.drawn_face.performances import HELD_OUT, performance
from empatheia_jax.training.drawn_face.quality import ssim

_WEIGHTS = flags.DEFINE_string("weights", "weights/drawn-face", "The weights folder to measure.")
_FOLDER = flags.DEFINE_string("folder", "runs/drawn_face", "Where the judge is, or will be kept.")
_SPEECH = flags.DEFINE_string("speech", "", "A folder of wav files to speak instead of babble.")
_CLIPS = flags.DEFINE_integer("clips", 96, "Clips, each of another person; emotions take turns.")
_SECONDS = flags.DEFINE_float("seconds", 2.0, "Length of a clip.")
_JUDGE_STEPS = flags.DEFINE_integer("judge_steps", 9000, "Training steps of the judge.")
_SHEET = flags.DEFINE_string("sheet", "", "Where to write a contact sheet of the first eight clips.")
_GUIDANCE = flags.DEFINE_float("guidance", 1.0, "Strength of the style: scale of classifier-free guidance.")
_STYLE_FRAMES = 100


def _sounds(count: int, seconds: float, folder: str) -> list[np.ndarray]:
    if not folder:
        return [babble(np.random.default_rng([HELD_OUT + i, 1]), seconds) for i in range(count)]
    paths = sorted(Path(folder).glob("*.wav"))
    if not paths:
        raise UserError(f"{folder} holds no wav files; expected recordings of speech")
    length = int(seconds * 16_000)
    out = []
    for i in range(count):
        wave = read_audio(paths[i % len(paths)], 16_000)
        start = 8_000 + (i // len(paths)) * length
        out.append(wave[start : start + length])
    return out


def evaluate(
    animator: Animator, reader: judges.Reader, sounds: list[np.ndarray], sheet: str = "", guidance: float = 1.0
) -> dict[str, Any]:
    """The figures above. Person i, sound i and emotion i % 8 make clip i."""
    openings, read, read_true, scores, still = [], [], [], [], []
    rows = []
    for i, wave in enumerate(sounds):
        emotion = EMOTIONS[i % len(EMOTIONS)]
        person = sample_identity(HELD_OUT + i)
        face = portrait(person)
        _, truth, _ = performance(HELD_OUT + i, 0.0, wave, emotion, 1.0, idle=False)
        style = perform(emotion, _STYLE_FRAMES, seed=HELD_OUT + i)[:, :EXPRESSION]
        motion = animator.motion(wave, style, seed=i, guidance=guidance, pose=truth[:1, EXPRESSION:])
        frames = np.concatenate(list(animator.render(face, motion)))
        true_opening = measure.mouth_opening(person, truth)[: len(frames)]
        seen = measure.measure_opening(frames, person)[: len(true_opening)]
        openings.append(float(np.corrcoef(true_opening, seen)[0, 1]) if seen.std() > 0 else 0.0)
        read.append(reader.read(frames) == emotion)

        _, moving, _ = performance(HELD_OUT + i, 0.0, wave, emotion, 1.0)
        chosen = np.arange(4, len(moving), 5)[:8]
        drawn = draw(person, moving[chosen])
        rendered = np.concatenate(list(animator.render(face, moving)))[chosen]
        scores.append(float(np.asarray(ssim(rendered, drawn)).mean()))
        still.append(float(np.asarray(ssim(np.stack([face] * len(drawn)), drawn)).mean()))
        read_true.append(reader.read(drawn) == emotion)
        if i < 8:
            at = np.linspace(2, len(frames) - 1, 6).astype(int)
            rows += [[face, *frames[at]], [None, *draw(person, truth[at])]]
    if sheet:
        labels = [label for e in EMOTIONS for label in (e, "drawn")]
        write_image(
            sheet, contact_sheet(rows, row_labels=labels[: len(rows)], title="Speech + style, rendered; below, drawn")
        )
    return {
        "clips": len(sounds),
        "opening_r": float(np.mean(openings)),
        "opening_r_lowest": float(np.min(openings)),
        "emotion_read": float(np.mean(read)),
        "emotion_read_on_true_drawings": float(np.mean(read_true)),
        "ssim": float(np.mean(scores)),
        "ssim_lowest": float(np.min(scores)),
        "ssim_of_the_unmoved_portrait": float(np.mean(still)),
        "wrong": sorted({EMOTIONS[i % 8] for i, ok in enumerate(read) if not ok}),
    }


@main_guard
def main(_) -> None:
    """Does what the command line asks for."""
    reader = judges.Reader(judges.train(Path(_FOLDER.value) / "judge", _JUDGE_STEPS.value))
    sounds = _sounds(_CLIPS.value, _SECONDS.value, _SPEECH.value)
    figures = evaluate(Animator.load(_WEIGHTS.value), reader, sounds, _SHEET.value, _GUIDANCE.value)
    print(json.dumps({"speech": _SPEECH.value or "babble", "guidance": _GUIDANCE.value, **figures}))


if __name__ == "__main__":
    app.run(main)
