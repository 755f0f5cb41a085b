"""The released folders of AvaMERG: where the splits and the recordings are, under every name that is in use.

    ROOT/train.json  valid.json  test.json        (or ROOT/train/train.json …; val and dev are understood)
    ROOT/audio_v5_0/dia07170utt0_9.wav            conversation 07170, utterance 0, profile ID 9
    ROOT/video_v5_0/dia7170utt0_9.mp4             the number may be unpadded
    ROOT/…/dia7170utt1.mp4                        the released baseline renames to 1-based numbers without profile
    ROOT/motion_v5_0/dia07170utt0_9.npy           ours: face coefficients of the clip, where known: an array of 64, 73 or 257
                                                  columns (.npy, .npz, .txt), or Deep3DFaceRecon's track (.mat)

Endings may be in capitals.
Any folder below ROOT, or below a split's folder, whose name starts with `audio`, `video` or `motion` is searched.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from empatheia_jax.conversation import recordings
from empatheia_jax.conversation.recordings import ENDINGS, SUFFIXES, is_kind, parse_name
from empatheia_jax.conversation.schema import Conversation, Profile
from empatheia_jax.dreamtalk.motion import read_expression
from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames

SPLITS = tuple(recordings.SPLITS)


@dataclass(frozen=True)
class Clip:
    """One utterance with its recordings; what is absent is None. Decoding happens when asked for."""

    conversation_id: str
    index: int
    role: str
    text: str
    audio: Path | None
    video: Path | None
    motion: Path | None = None
    profile: Profile | None = None

    @property
    def id(self) -> str:
        """Name for reports: `01118/3`."""
        return f"{self.conversation_id}/{self.index}"

    def samples(self, rate: int = 16_000) -> np.ndarray:
        """The recording at `rate` Hz, mono float32 (samples,). Raises `UserError` where it is absent or broken."""
        return read_audio(self.path("audio"), rate)

    def frames(self, count: int | None = None, fps: float | None = None, **options: Any) -> np.ndarray:
        """RGB frames uint8 (frames, height, width, 3): `count` by time or at `fps`; options of `read_frames`.

        Raises `UserError` as `samples`.
        """
        return read_frames(self.path("video"), count=count, fps=fps, **options)

    def coefficients(self) -> np.ndarray | None:
        """Face coefficients (frames, 64) float32, or None where the set has none for this clip.

        Raises `UserError` where the file is broken or has no frames.
        """
        if self.motion is None:
            return None
        found = read_expression(self.motion)
        if not len(found):
            raise UserError(f"{self.motion} has no frames; expected an array (frames, 64) or a 3DMM track")
        return found

    def path(self, kind: str) -> Path:
        """The file of a kind. Raises `UserError` where there is none."""
        path = getattr(self, kind)
        if path is None:
            raise UserError(f"utterance {self.id} has no {SUFFIXES[kind]} file; expected one in a folder '{kind}…'")
        return path


class Tree:
    """A data set on disk in the released layout. Raises `UserError` where `root` is no folder."""

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f"{self.root} is no folder; expected a data set in the released AvaMERG layout")
        self._again: list[tuple[Path, Path]] = []

    def splits(self) -> list[str]:
        """The splits that are there."""
        return [split for split in SPLITS if recordings.split_file(self.root, split)]

    def split_file(self, split: str) -> Path:
        """The JSON file of a split. Raises `UserError` where it is not there."""
        if split not in SPLITS:
            raise UserError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
        path = recordings.split_file(self.root, split)
        if path is None:
            raise UserError(f"{self.root} has no {split}.json; found the splits {self.splits() or 'none'}")
        return path

    @cached_property
    def _media(self) -> dict[str, dict[tuple[int, int, int | None], Path]]:
        found: dict[str, dict] = {kind: {} for kind in ENDINGS}
        for kind, folder in self.media_folders():
            for name in sorted(os.listdir(folder)):
                key = parse_name(name) if is_kind(name, kind) else None
                if key is not None and found[kind].setdefault(key, folder / name) != folder / name:
                    self._again.append((folder / name, found[kind][key]))
        return found

    @cached_property
    def _of_anyone(self) -> dict[str, dict[tuple[int, int], list[Path]]]:
        """Recordings by what their names say, those with a profile's number only."""
        found: dict[str, dict[tuple[int, int], list[Path]]] = {kind: {} for kind in ENDINGS}
        for kind, known in self._media.items():
            for (number, index, person), path in known.items():
                if person is not None:
                    found[kind].setdefault((number, index), []).append(path)
        return found

    @property
    def claimed_twice(self) -> list[tuple[Path, Path]]:
        """(file, the one that is used instead) where two recordings of a kind bear the same numbers."""
        return self._again if self._media else []

    def media_folders(self) -> Iterator[tuple[str, Path]]:
        """(kind, folder) of every folder with recordings."""
        return recordings.media_folders(self.root)

    def media(self, kind: str, conversation: Conversation, index: int, role: str) -> Path | None:
        """The recording of one utterance, or None. With the profile's number in its name, it must be this role's; where the
        conversation has no profiles, the only one counts.
        """
        number, profile = int(conversation.conversation_id), conversation.profile(role)
        known = self._media[kind]
        if profile is not None and (number, index, profile.media_id) in known:
            return known[number, index, profile.media_id]
        if profile is None and len(anyone := self._of_anyone[kind].get((number, index), [])) == 1:
            return anyone[0]
        return known.get((number, index, None))

    def clip(self, conversation: Conversation, index: int, role: str, text: str) -> Clip:
        """One utterance with what was recorded of it."""
        where = {kind: self.media(kind, conversation, index, role) for kind in ENDINGS}
        return Clip(conversation.conversation_id, index, role, text, profile=conversation.profile(role), **where)

    def clips(self, conversation: Conversation) -> list[Clip]:
        """Every utterance of a conversation, the last reply included."""
        return [self.clip(conversation, each.index, each.role, each.text) for each in conversation.utterances()]

    def files(self, kind: str) -> dict[tuple[int, int, int | None], Path]:
        """All recordings of a kind, by what their names say."""
        return dict(self._media[kind])


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises `UserError` where it is no regular file."""
    require_regular(path, "a file", may_be_empty=True)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
