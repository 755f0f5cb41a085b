"""Rating pages out of folders of replies: static files that work from a disk, a USB stick or any web space.

    STUDY/index.html          the page; STUDY/index.html?rater=7 is the seventh rater's
    STUDY/study.js            the tasks of every rater, without the names of the systems
    STUDY/media/<code>.mp4    copies under meaningless names
    STUDY/key.json            which code is which reply of which system: KEEP IT, do not publish it

Blind: a rater sees codes only. Balanced: raters get the systems of a turn in the orders of a Williams Latin square, so every
system stands at every place and behind every other equally often. Turns come in an order of the rater's own. Attention checks
ask for a stated value. The page keeps its answers in the browser and goes on after a reload; at the end it gives a file to send
back.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json, write_text
from evaluation.paper import SCALES
from evaluation.systems import Matched

FORMAT, VERSION = "empatheia-study", 1
TEXT = ("Emp", "Coh", "Inf", "Flu")
SPEECH = ("MOS", "SMOS", "SCA", "SSA")
EVERY = 12
"""Tasks between two attention checks."""


def latin_orders(count: int) -> list[list[int]]:
    """Orders of `count` conditions in which each stands at each place equally often, and behind each other one equally often.

    Williams (1949): `count` orders where it is even, twice as many where it is odd.
    """
    first, low, high = [0], 1, count - 1
    while len(first) < count:
        first.append(low)
        low += 1
        if len(first) < count:
            first.append(high)
            high -= 1
    orders = [[(each + shift) % count for each in first] for shift in range(count)]
    return orders if count % 2 == 0 else orders + [list(reversed(each)) for each in orders]


def code_of(secret: str, system: str, item: str) -> str:
    """A meaningless name of a reply."""
    return hashlib.sha256(f"{secret}/{system}/{item}".encode()).hexdigest()[:16]


def write(
    matched: Matched,
    output: Path,
    *,
    scales: Sequence[str],
    raters: int,
    items: int | None = None,
    per_rater: int | None = None,
    seed: int = 0,
    title: str = "Rating replies",
) -> int:
    """Writes the study; returns the number of tasks of one rater.

    Args:
      matched: systems on the same turns.
      output: folder of the study.
      scales: names of `paper.SCALES`.
      raters: how many raters get tasks of their own.
      items: turns to rate, drawn by the seed; by default all.
      per_rater: turns of one rater; by default all. They are dealt so that each turn gets equally many raters.
      seed: of every draw.
      title: of the page.

    Raises:
      UserError: an unknown scale, a system without what a scale needs, no recordings for SMOS, or a folder that is not empty.
    """
    _check(matched, scales, raters)
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; choose another folder for the study")
    rated = [
        each
        for each in matched.systems
        if each.row != "ground-truth" or "SMOS" not in scales or len(matched.systems) == 1
    ]
    truth = next((each for each in matched.systems if each.row == "ground-truth"), None)
    draw = random.Random(seed)
    chosen = sorted(matched.questions)
    draw.shuffle(chosen)
    chosen = chosen[: items or len(chosen)]
    share = min(per_rater or len(chosen), len(chosen))
    secret = f"{draw.random()}"
    codes = {
        code_of(secret, s.row, name): (s.row, name) for s in [*rated, *([truth] if truth else [])] for name in chosen
    }
    (output / "media").mkdir(parents=True)
    needs_media = any(scale not in TEXT for scale in scales)
    needs_film = any(scale not in TEXT and scale not in SPEECH for scale in scales)
    stimuli: dict[str, dict[str, Any]] = {}
    for code, (row, name) in codes.items():
        system = next(each for each in matched.systems if each.row == row)
        reply, found = system.replies[name], {"text": system.replies[name].response}
        source = reply.film if needs_film else reply.speech
        if needs_media and source is not None:
            found["media"] = f"media/{code}{source.suffix}"
            shutil.copyfile(source, output / str(found["media"]))
        stimuli[code] = found
    orders = latin_orders(len(rated))
    plans = []
    for rater in range(raters):
        first = rater * share % len(chosen)
        own = [chosen[(first + k) % len(chosen)] for k in range(share)]
        own_draw = random.Random(f"{seed}/{rater}")
        own_draw.shuffle(own)
        tasks: list[dict[str, Any]] = []
        for place, name in enumerate(own):
            for position in orders[(rater + place) % len(orders)]:
                task: dict[str, Any] = {"item": name, "code": code_of(secret, rated[position].row, name)}
                if "SMOS" in scales and truth is not None:
                    task["reference"] = code_of(secret, "ground-truth", name)
                tasks.append(task)
                if len(tasks) % EVERY == EVERY - 1:
                    tasks.append({"check": own_draw.randint(1, 5)})
        plans.append(tasks)
    dialogues = {
        name: [{"role": each.role, "text": each.text} for each in matched.questions[name].turn.history]
        for name in chosen
    }
    study = {
        "format": FORMAT,
        "version": VERSION,
        "study": hashlib.sha256(json.dumps([secret, plans]).encode()).hexdigest()[:12],
        "title": title,
        "scales": {scale: SCALES[scale] for scale in scales},
        "dialogues": dialogues,
        "stimuli": stimuli,
        "plans": plans,
    }
    write_text(
        output / "study.js", "const STUDY = " + json.dumps(study, ensure_ascii=False).replace("</", "<\\/") + ";\n"
    )
    page = resources.files("evaluation.study").joinpath("page.html").read_text(encoding="utf-8")
    write_text(output / "index.html", page)
    write_json(
        output / "key.json",
        {
            "format": FORMAT,
            "version": VERSION,
            "study": study["study"],
            "raters": raters,
            "scales": list(scales),
            "codes": {code: {"system": row, "item": name} for code, (row, name) in codes.items()},
        },
    )
    return len(plans[0])


def _check(matched: Matched, scales: Sequence[str], raters: int) -> None:
    if unknown := [each for each in scales if each not in SCALES]:
        raise UserError(f"the scale {unknown[0]} is unknown; expected some of {', '.join(SCALES)}")
    if not scales or raters < 1:
        raise UserError(f"{len(scales)} scales and {raters} raters; expected at least one of each")
    for scale in scales:
        needed = () if scale in TEXT else ("speech",) if scale in SPEECH else ("video",)
        for system in matched.systems:
            if lacking := [each for each in needed if not system.has(each)]:
                raise UserError(
                    f"{system.name} has no {lacking[0]}, which {scale} rates; leave the system or the scale out"
                )
    if "SMOS" in scales and not any(each.row == "ground-truth" for each in matched.systems):
        raise UserError("SMOS compares with the recording; give the ground truth as a folder of replies, too")
