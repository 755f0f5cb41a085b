"""Is the expression that the table names the one that is seen? All 32 emotions, on the shipped face, read by the judge.

    python -m benchmarks.listener_expression --folder=runs/judge [--people=3] [--steps=5000] [--sheet=sheet.png]

For every label the listener's expression (`conversation.expression`, reading "empathic") is given to the shipped DreamTalk as the
style clip that a reply gives it, together with unheard speech, on the portraits of profiles. The judge, a network that has seen
true drawings only and is trained into `--folder` first, reads the emotion of the rendered frames. Printed: per label what was
asked for and what was read, and the share that agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from empatheia_jax import weights
from empatheia_jax.conversation import expression, labels
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.faces import DrawnFaces
from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.media.image import contact_sheet, write_image
from empatheia_jax.training.drawn_face import judge as judges
from empatheia_jax.training.drawn_face.babble import babble
from empatheia_jax.training.drawn_face.performances import HELD_OUT

SECONDS = 2.0


def profiles(count: int) -> list[Profile]:
    """`count` profiles, spread over the 24."""
    return [Profile.of(number) for number in np.linspace(0, labels.PROFILES - 1, count).astype(int).tolist()]


def measure(animator: Animator, reader: judges.Reader, people: int) -> tuple[list[dict], list[list[np.ndarray]]]:
    """Per label what was asked for and read, and a row of frames to look at."""
    faces, rows, pictures = DrawnFaces(), [], []
    for number, label in enumerate(labels.EMOTIONS_32):
        asked, intensity = expression.listener_emotion(label)
        style = animator.style_of(faces.style_clip(asked, intensity))
        read, frames_of = [], []
        for person, profile in enumerate(profiles(people)):
            seed = HELD_OUT + 1000 + number * people + person
            content = animator.content(babble(np.random.default_rng([seed, 1]), SECONDS))
            motion = animator.motion(content, style, seed=seed)
            frames = np.concatenate(list(animator.render(faces.portrait(profile), motion)))
            read.append(reader.read(frames))
            frames_of.append(frames)
        rows.append({"label": label, "asked": asked, "intensity": intensity, "read": read})
        first = frames_of[number % people]
        pictures.append(
            [faces.portrait(profiles(people)[number % people]), *first[np.linspace(4, len(first) - 1, 4).astype(int)]]
        )
        print(f"{label:14} {asked:10} {intensity:.1f}  {' '.join(read)}", flush=True)
    return rows, pictures


def main() -> int:
    parser = argparse.ArgumentParser(
        "benchmarks.listener_expression", description="Expressions shown, read by the judge."
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"), help="where the judge is, or will be kept")
    parser.add_argument("--steps", type=int, default=5000, help="training steps of the judge")
    parser.add_argument("--judged-people", type=int, default=400, help="people whose drawings the judge learns from")
    parser.add_argument("--people", type=int, default=3, help="profiles per label")
    parser.add_argument("--sheet", type=Path, help="a contact sheet of one clip per label")
    options = parser.parse_args()
    reader = judges.Reader(judges.train(options.folder, options.steps, options.judged_people))
    rows, pictures = measure(Animator.load(weights.SHIPPED / "drawn-face"), reader, options.people)
    right = [asked["asked"] == read for asked in rows for read in asked["read"]]
    if options.sheet:
        names = [f"{row['label']}: {row['asked']} {row['intensity']:.1f}" for row in rows]
        write_image(options.sheet, contact_sheet(pictures, row_labels=names, title="Met with this expression"))
    wrong = [
        f"{row['label']} ({row['asked']}) read as {read}"
        for row in rows
        for read in row["read"]
        if read != row["asked"]
    ]
    share = round(float(np.mean(right)), 4)
    print(json.dumps({"labels": len(rows), "clips": len(right), "as_the_table": share, "wrong": sorted(set(wrong))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
