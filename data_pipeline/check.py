"""Looks a data set over before anyone trains on it: schema, labels, duplicates, and every recording.

    python -m data_pipeline.check PATH [--stages=STAGE,…] [--limit=0.01] [--report=FILE.json]
                                       [--headers-only] [--workers=N]

Prints what is wrong by kind and writes the whole list; the exit code is 1 where a larger fraction of conversations and
recordings is bad than the limit allows. Where no face coefficients are there, a line says so; where `--stages` names a
stage that needs them, every reply without them counts.
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipeline.examples import examples_of, read_conversations
from data_pipeline.features import TARGETS
from data_pipeline.layout import Clip, Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.media.audio import audio_info
from empatheia_jax.media.video import video_info
from empatheia_jax.settings.experiment import PARTS

SECONDS = (0.1, 120.0)
"""Shortest and longest believable utterance."""
DRIFT = 0.5
"""Speech and face of an utterance may differ by this many seconds."""


@dataclass(frozen=True)
class Finding:
    """One trouble with one recording; `counts` as in `Quarantine.add`."""

    item: str
    kind: str
    reason: str
    counts: bool = True


def check_clip(clip: Clip, headers_only: bool = False) -> tuple[list[Finding], int | None]:
    """Troubles of one utterance's recordings, and the rate of its wav.

    Unless `headers_only`, both files are decoded to the end, which is what finds a truncated file.
    """
    findings, seconds, rate = [], {}, None
    for kind in ("audio", "video"):
        path = getattr(clip, kind)
        name = f"{clip.id} {kind}"
        if path is None:
            findings.append(Finding(name, "missing file", f"utterance {clip.id} has no {kind} file"))
            continue
        try:
            if kind == "audio":
                info = audio_info(path)
                rate, seconds[kind] = info.rate, info.seconds
                if not headers_only:
                    seconds[kind] = len(clip.samples()) / 16_000
            else:
                seconds[kind] = video_info(path).seconds
                if not headers_only:
                    clip.frames(count=24, reduce=_corner)
                    clip.frames(fps=1, reduce=_corner)
        except UserError as error:
            findings.append(Finding(name, _kind(str(error)), str(error)))
            continue
        lasts = seconds[kind]
        if lasts is not None and not SECONDS[0] <= lasts <= SECONDS[1]:
            reason = f"{path} lasts {lasts:.2f} s; expected {SECONDS[0]} to {SECONDS[1]:.0f} s"
            findings.append(Finding(name, "unlikely length", reason))
    speech, face = seconds.get("audio"), seconds.get("video")
    if speech is not None and face is not None and abs(speech - face) > DRIFT:
        reason = f"speech lasts {speech:.2f} s and the face {face:.2f} s"
        findings.append(Finding(clip.id, "lengths differ", reason, counts=False))
    try:
        clip.coefficients()
    except UserError as error:
        findings.append(Finding(f"{clip.id} motion", "corrupt file", str(error)))
    return findings, rate


def _corner(frame: np.ndarray) -> np.ndarray:
    """One pixel: the check decodes frames and keeps none of them."""
    return frame[:1, :1]


def _kind(reason: str) -> str:
    for pattern, kind in (
        (r"is empty", "empty file"),
        (r" is (a folder|a named pipe|a socket|a device|a link to)", "not a file"),
        (r"no sound track", "no audio track"),
        (r"no picture track", "no video track"),
        (r"truncated", "truncated file"),
    ):
        if re.search(pattern, reason):
            return kind
    return "corrupt file"


def check_tree(
    root: Path,
    quarantine: Quarantine,
    *,
    headers_only: bool = False,
    workers: int = 4,
    splits: Iterable[str] = (),
    stages: Iterable[str] = (),
) -> dict[str, dict[str, int]]:
    """Fills the quarantine; returns counts per split: conversations, turns, utterances.

    Args:
        root: the set.
        quarantine: where findings go.
        headers_only: do not decode the recordings.
        workers: threads.
        splits: which; none given = all.
        stages: what is to be trained on the set.

    Raises:
        UserError: `root` is no folder or has no split.
    """
    tree = Tree(root)
    names = list(splits) or tree.splits()
    if not names:
        raise UserError(f"{root} has no train.json, valid.json or test.json; expected the released layout")
    counts, rates, claimed = {}, [], set()
    first_split: dict[int, str] = {}
    for split in names:
        try:
            conversations = read_conversations(tree.split_file(split), quarantine)
        except UserError as error:
            quarantine.saw()
            quarantine.add(f"{split}.json", "unreadable file", error)
            continue
        clips = []
        for conversation in conversations:
            name = conversation.conversation_id
            if int(name) in first_split:
                reason = f"conversation {name} is in {first_split[int(name)]} as well as in {split}"
                quarantine.add(f"{name} ({split})", "duplicate id", reason)
            first_split.setdefault(int(name), split)
            _check_words(conversation, quarantine)
            clips += tree.clips(conversation)
        examples = examples_of(conversations, quarantine, replies=False)
        counts[split] = {"conversations": len(conversations), "turns": len(examples), "utterances": len(clips)}
        has_media = any(tree.files(kind) for kind in ("audio", "video"))
        if not has_media:
            continue
        quarantine.saw(2 * len(clips))
        with ThreadPoolExecutor(workers) as pool:
            for clip, (findings, rate) in zip(clips, pool.map(lambda c: check_clip(c, headers_only), clips)):
                claimed |= {clip.audio, clip.video, clip.motion}
                for each in findings:
                    quarantine.add(each.item, each.kind, each.reason, each.counts)
                if rate is not None:
                    rates.append((clip, rate))
        if set(stages) & set(MOTION_USERS):
            _check_motion(clips, quarantine)
    _check_rates(rates, quarantine)
    for path, used in tree.claimed_twice:
        quarantine.add(path.name, "claimed twice", f"{path} and {used} bear the same numbers; only the latter is used")
        claimed.add(path)
    for kind in ("audio", "video", "motion"):
        for path in tree.files(kind).values():
            if path not in claimed:
                quarantine.add(
                    path.name, "unclaimed file", f"{path} belongs to no utterance of {', '.join(names)}", False
                )
    return counts


def _check_words(conversation, quarantine: Quarantine) -> None:
    said: dict[int, str] = {}
    for turn in conversation.turns:
        name = f"{conversation.conversation_id} turn {turn.turn_id}"
        roles = [each.role for each in turn.history]
        if any(one == other for one, other in zip(roles, roles[1:])):
            quarantine.add(name, "wrong order", "speaker and listener do not take turns", counts=False)
        for each in turn.history:
            if said.setdefault(each.index, each.text) != each.text:
                reason = f"utterance {each.index} differs from what an earlier turn says it was"
                quarantine.add(name, "contradiction", reason)
        if turn.chain is not None and labels.emotion32(turn.chain.speaker_emotion) is None:
            reason = f"emotion {turn.chain.speaker_emotion!r} reaches none of the 32 labels"
            quarantine.add(name, "unknown label", reason)


MOTION_USERS = tuple(stage for stage, losses in PARTS.items() if any("video_style" in TARGETS[each] for each in losses))
"""Stages that need face coefficients."""
_MOTION_ADVICE = (
    f"(motion_v5_0/….npy or .mat), which the stages {' and '.join(MOTION_USERS)} need; "
    "fit them to the films (python -m data_pipeline.fit_motion), or train with objective.without=sac"
)


def _check_motion(clips: Iterable[Clip], quarantine: Quarantine) -> None:
    """Replies whose face nobody measured."""
    replies = [clip for clip in clips if clip.role == "listener"]
    quarantine.saw(len(replies))
    for clip in replies:
        if clip.motion is None:
            reason = f"reply {clip.id} has no face coefficients {_MOTION_ADVICE}"
            quarantine.add(f"{clip.id} motion", "no motion", reason)


def _check_rates(rates: list[tuple[Clip, int]], quarantine: Quarantine) -> None:
    """A set is recorded at one rate; files at another were probably made by another program."""
    if not rates:
        return
    usual, _ = collections.Counter(rate for _, rate in rates).most_common(1)[0]
    for clip, rate in rates:
        if rate != usual:
            quarantine.add(f"{clip.id} audio", "wrong rate", f"{clip.audio} has {rate} Hz; the set has {usual} Hz")


@main_guard
def main(argv: list[str]) -> int:
    """See the module. Returns 1 above the limit."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.check", description=__doc__.splitlines()[0])
    options.add_argument("path", type=Path)
    options.add_argument(
        "--stages",
        default="",
        help=f"what is to be trained on it, of {','.join(PARTS)}: what they need must be there",
    )
    options.add_argument("--limit", type=float, default=0.01, help="tolerated fraction of bad items")
    options.add_argument("--report", type=Path, help="where to write the whole list (JSON)")
    options.add_argument("--headers-only", action="store_true", help="do not decode: fast, blind to damage inside")
    options.add_argument("--workers", type=int, default=4)
    given = options.parse_args(argv)
    stages = [stage.strip() for stage in given.stages.split(",") if stage.strip()]
    if unknown := [stage for stage in stages if stage not in PARTS]:
        raise UserError(f"--stages: {unknown[0]!r} is unknown; expected some of {', '.join(PARTS)}")
    if given.workers < 1:
        raise UserError(f"--workers={given.workers}; expected at least 1")
    quarantine = Quarantine(given.limit)
    counts = check_tree(given.path, quarantine, headers_only=given.headers_only, workers=given.workers, stages=stages)
    for split, numbers in counts.items():
        print(f"{split}: " + ", ".join(f"{value} {name}" for name, value in numbers.items()))
    for kind, count in quarantine.counts.items():
        example = next(entry for entry in quarantine.entries if entry.kind == kind)
        print(f"  {count:6d} {kind:18s} for example {example.id}: {example.reason}")
    print(quarantine.summary())
    tree = Tree(given.path)
    if tree.files("video") and not tree.files("motion") and "no motion" not in quarantine.counts:
        print(f"no utterance has face coefficients {_MOTION_ADVICE}")
    if given.report:
        quarantine.write(given.report)
        print(f"report: {given.report}")
    return 1 if quarantine.fraction > quarantine.limit else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
