"""What the two measures of lips say of recordings, of systems, and of films whose fault is known.

    python -m benchmarks.lips --recordings=data/toy results/replies/ground-truth results/replies/empatheia

The first folder holds the recordings; none of them may be in the training split of `--recordings`. Films with known faults are
made of them: shuffled (the sound of a reply of another dialogue), late (the sound 3 frames late), still (the first picture).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from empatheia_jax.errors import UserError, leave, main_guard
from evaluation import cells, films, learned_lips, lip_loudness, systems
from evaluation.consistency import partner
from evaluation.speech_judges import Absent

Film = tuple[np.ndarray, np.ndarray]
"""Frames in the one form, and sound."""
LATE = 3


def films_of(folder: Path) -> dict[str, Film]:
    """The films of a folder of replies, by turn. Raises `UserError` where one has no film or no speech."""
    found = {}
    for name, reply in systems.read(folder).replies.items():
        if reply.film is None or reply.speech is None:
            raise UserError(f"{folder}: {name} has no film with speech")
        found[name] = films.standard(reply.film), films.sound(reply.film, reply.speech, learned_lips.RATE)
    return found


def faulty(truth: Mapping[str, Film]) -> dict[str, dict[str, Film]]:
    """Films whose fault is known, by fault."""
    other = partner(list(truth), {name: name.split("_")[0] for name in truth})
    late = np.zeros(LATE * learned_lips.RATE // films.RATE, np.float32)
    return {
        "shuffled": {name: (truth[name][0], truth[each][1]) for name, each in other.items()},
        f"sound {LATE} frames late": {
            name: (film, np.concatenate([late, sound])[: len(sound)]) for name, (film, sound) in truth.items()
        },
        "still": {name: (np.repeat(film[:1], len(film), axis=0), sound) for name, (film, sound) in truth.items()},
    }


def loudness(film: np.ndarray, sound: np.ndarray) -> float:
    """Confidence of `lip_loudness`, over as long as both last."""
    count = min(len(film), round(len(sound) / learned_lips.RATE * films.RATE))
    loud = lip_loudness.loudness(sound, learned_lips.RATE, count)
    return lip_loudness.score(lip_loudness.mouth(film[:count]), loud).confidence


def row(lips: learned_lips.Lips, name: str, shown: Mapping[str, Film]) -> str:
    """One line of the table: means with 95 % intervals over dialogues."""
    dialogues = {each: each.split("_")[0] for each in shown}
    matches = {each: lips(*film) for each, film in shown.items()}
    numbers = (
        {each: match.score for each, match in matches.items()},
        {e: loudness(*film) for e, film in shown.items()},
    )
    learned, loud = (
        f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}]" if cell.low is not None else f"{cell.value:.1f}"
        for cell in (cells.mean(each, dialogues) for each in numbers)
    )
    at = sum(match.offset == 0 for match in matches.values())
    return f"| {name} | {len(shown)} | {learned} | {at} of {len(shown)} | {loud} |"


@main_guard
def main(argv: list[str]) -> int:
    """Prints the table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.lips", description=__doc__)
    options.add_argument("--recordings", type=Path, required=True, help="data set whose training split is learned from")
    options.add_argument("folders", type=Path, nargs="+", help="folders of replies, the recordings first")
    given = options.parse_args(argv)
    try:
        lips = learned_lips.of_recordings(given.recordings)
    except Absent as error:
        raise UserError(str(error)) from None
    print(f"{lips.identity}; own score {lips.own_score:.1f}, correlations {np.round(lips.correlations, 2).tolist()}")
    print(
        "| | films | lips as recorded, % | best at offset 0 | lips with loudness |\n|---|---|---|---|---|", flush=True
    )
    truth = films_of(given.folders[0])
    print(row(lips, given.folders[0].name, truth), flush=True)
    for folder in given.folders[1:]:
        print(row(lips, folder.name, films_of(folder)), flush=True)
    for fault, shown in faulty(truth).items():
        print(row(lips, fault, shown), flush=True)
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
