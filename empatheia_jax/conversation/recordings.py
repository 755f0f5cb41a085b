"""The names of recordings, in both forms that are in use.

dia07170utt0_9.wav    as released: conversation 07170, utterance 0, profile ID 9; the conversation may be unpadded
dia7170utt1.mp4       as the released baseline renames them: counted from 1, without a profile
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = {"audio": ".wav", "video": ".mp4", "motion": ".npy"}
"""Ending of a file by kind of recording, as it is written."""
ENDINGS = {"audio": (".wav",), "video": (".mp4",), "motion": (".npy", ".npz", ".mat", ".txt")}
"""Endings that are read; `.mat` is a track of Deep3DFaceRecon. Cameras and Windows write them in capitals."""
SPLITS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}
"""Names of a split's file, and of its folder where it has one."""
_NAME = re.compile(r"dia(\d+)utt(\d+)(?:_(\d+))?", re.IGNORECASE)


def is_kind(name: str, kind: str) -> bool:
    """Whether a file name has an ending of this kind of recording, in capitals or not."""
    return name.lower().endswith(ENDINGS[kind])


def media_name(conversation_id: str, index: int, avatar: int, kind: str) -> str:
    """The released name of a recording, for instance `dia07170utt0_9.wav`; `kind` is one of `SUFFIXES`."""
    return f"dia{int(conversation_id):05d}utt{index}_{avatar}{SUFFIXES[kind]}"


def parse_name(name: str) -> tuple[int, int, int | None] | None:
    """(conversation, utterance counted from 0, profile ID or None) of a file name, or None for any other file."""
    found = _NAME.fullmatch(Path(name).stem)
    if not found:
        return None
    conversation, utterance, avatar = found.groups()
    if avatar is None:  # the baseline's form counts from 1
        return (int(conversation), int(utterance) - 1, None) if int(utterance) else None
    return int(conversation), int(utterance), int(avatar)


def split_file(root: Path, split: str) -> Path | None:
    """The file of a split of a data set, by any of its names, in the root or in a folder of that name; None where it has none."""
    places = (path for name in SPLITS[split] for path in (root / f"{name}.json", root / name / f"{name}.json"))
    return next((path for path in places if path.is_file()), None)


def media_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """(kind, folder) of every folder with recordings below the root of a data set, or below the folder of one of its splits:
    its name begins with the kind.
    """
    names = {name for names in SPLITS.values() for name in names}
    below = [each for each in sorted(root.iterdir()) if each.is_dir()]
    nested = [each for parent in below if parent.name in names for each in sorted(parent.iterdir()) if each.is_dir()]
    for folder in (*below, *nested):
        for kind in ENDINGS:
            if folder.name.lower().startswith(kind):
                yield kind, folder


def roots_of(file: Path) -> tuple[Path, ...]:
    """Where the recordings of a file of dialogues may lie: beside it, and for a split with a folder of its own
    (`ROOT/test/test.json`) beside that folder, too.
    """
    own = any(file.stem in names for names in SPLITS.values()) and file.absolute().parent.name == file.stem
    return (file.parent, file.absolute().parent.parent) if own else (file.parent,)
