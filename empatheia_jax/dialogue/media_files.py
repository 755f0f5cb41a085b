"""Where the recording of an utterance lies: `dia{conversation}utt{index}_{profile}.wav|mp4`, as released."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from empatheia_jax.conversation.recordings import SUFFIXES, media_folders, parse_name, roots_of
from empatheia_jax.conversation.schema import ROLES, Conversation
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info
from empatheia_jax.media.video import video_info

KINDS = {"speech": SUFFIXES["audio"], "video": SUFFIXES["video"]}
"""Ending of a file by what a model receives of it."""
LONGEST = 60.0
"""Seconds of one utterance; the longest of AvaMERG are under 30."""


UNREAD = (".aac", ".avi", ".flac", ".m4a", ".mkv", ".mov", ".mp3", ".ogg", ".opus", ".webm")
"""Endings of recordings in containers that a data set does not have."""


class Recordings:
    """The recordings below some folders, listed once: in them and in their subfolders `audio…` and `video…`, those of a split's
    folder (`test/audio_v5_0`) too.

    Both forms of names are read (`conversation.recordings`), in capitals or not, as training does.
    """

    def __init__(self, *folders: Path):
        self._of: dict[int, list[Path]] = defaultdict(list)
        places = {
            place.absolute(): place
            for folder in folders
            for place in (folder, *(each for kind, each in media_folders(folder) if kind != "motion"))
        }
        for place in places.values():
            for path in sorted(place.iterdir()):
                if (match := parse_name(path.name)) is not None:
                    self._of[match[0]].append(path)

    def of(self, conversation: Conversation) -> Mapping[int, Mapping[str, Path]]:
        """Recordings of a conversation by utterance index: {index: {"speech": …, "video": …}}.

        Raises:
          UserError: two files claim the same utterance and kind, or a file of the conversation has the number of another
            person or an ending that is not read.
        """
        roles = {said.index: said.role for said in conversation.utterances()}
        claims: dict[tuple[int, str], list[Path]] = defaultdict(list)
        for path in self._of.get(int(conversation.conversation_id), ()):
            match = parse_name(path.name)
            if match is None:
                continue
            _, index, person = match
            profile = conversation.profile(roles.get(index, ROLES[index % 2]))
            ending = path.suffix.lower()
            kind = next((kind for kind, suffix in KINDS.items() if suffix == ending), None)
            if kind is None and ending in UNREAD:
                raise UserError(
                    f"{path} is a recording in another format; expected .wav or .mp4: convert it, or rename it"
                )
            if kind is None:
                continue
            if person is not None and profile is not None and person != profile.media_id:
                raise UserError(
                    f"{path} is named for the person {person}; who says utterance {index} has the ID {profile.media_id}; "
                    "rename it"
                )
            claims[index, kind].append(path)
        found: dict[int, dict[str, Path]] = defaultdict(dict)
        for (index, kind), paths in claims.items():
            named = [
                path for path in paths if (parsed := parse_name(path.name)) is not None and parsed[2] is not None
            ] or paths
            if len(named) > 1:
                raise UserError(f"{named[0]} and {named[1]} are both the {kind} of utterance {index}; keep one")
            found[index][kind] = named[0]
        return found


def beside(file: Path) -> Recordings:
    """The recordings of a file of dialogues: beside it, or in the data set whose split it is."""
    return Recordings(*roots_of(file))


def check(
    media: Mapping[int, Mapping[str, Path]], conversation: Conversation, modalities: Collection[str] = tuple(KINDS)
) -> None:
    """Opens every recording of the speaker, decoding nothing, before any network is loaded.

    Args:
      media: the recordings, in the form that `Recordings.of` gives.
      conversation: the dialogue that they belong to.
      modalities: what the model hears and sees; other recordings do not count.

    Raises:
      UserError: in one line, for the first that is empty, corrupt, without frames or too long, or that misses its other half.
    """
    for said in conversation.utterances():
        files = {kind: path for kind, path in media.get(said.index, {}).items() if kind in modalities}
        if said.role != "speaker" or not files:
            continue
        for kind in modalities:
            suffix = KINDS[kind]
            if kind not in files:
                other = next(iter(files.values()))
                raise UserError(
                    f"{other} has no {suffix} beside it; expected {other.stem}{suffix} (or neither of them)"
                )
        read: dict[str, Callable[[Path], Any]] = {"speech": audio_info, "video": video_info}
        seconds = {kind: read[kind](path).seconds for kind, path in files.items()}
        for kind, length in seconds.items():
            if length is not None and length > LONGEST:
                raise UserError(f"{files[kind]} lasts {length:.0f} s; one utterance may last {LONGEST:.0f} s; cut it")
