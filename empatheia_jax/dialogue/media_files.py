"""Where the recording of an utterance lies: `dia{conversation}utt{index}_{profile}.wav|mp4`, as released."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from empatheia_jax.conversation.recordings import SUFFIXES, parse_name
from empatheia_jax.conversation.schema import Conversation
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import audio_info
from empatheia_jax.media.video import video_info

KINDS = {"speech": SUFFIXES["audio"], "video": SUFFIXES["video"]}
"""Ending of a file by what a model receives of it."""
LONGEST = 60.0
"""Seconds of one utterance; the longest of AvaMERG are under 30."""


def of_conversation(folder: Path, conversation: Conversation) -> Mapping[int, Mapping[str, Path]]:
    """Recordings of a conversation below `folder`, by utterance index: {index: {"speech": …, "video": …}}.

    Conversation numbers match padded or not. Looks in `folder` and its subfolders `audio…`
    and `video…`.

    Raises:
      UserError: two files claim the same utterance and kind.
    """
    found: dict[int, dict[str, Path]] = defaultdict(dict)
    number = int(conversation.conversation_id)
    kinds = {suffix: kind for kind, suffix in KINDS.items()}
    places = [folder, *sorted(folder.glob("audio*/")), *sorted(folder.glob("video*/"))]
    for path in (path for place in places for path in sorted(place.glob(f"dia*{number}utt*"))):
        match = parse_name(path.name)
        if match is None or match[0] != number or match[2] is None or path.suffix.lower() not in kinds:
            continue
        kind, index = kinds[path.suffix.lower()], match[1]
        if kind in found[index]:
            raise UserError(f"{found[index][kind]} and {path} are both the {kind} of utterance {index}; keep one")
        found[index][kind] = path
    return found


def check(media: Mapping[int, Mapping[str, Path]], conversation: Conversation) -> None:
    """Opens every recording of the speaker, decoding nothing, before any network is loaded.

    Raises:
      UserError: in one line, for the first that is empty, corrupt, without frames or too long, or that misses its other half.
    """
    for said in conversation.utterances():
        files = media.get(said.index, {})
        if said.role != "speaker" or not files:
            continue
        for kind, suffix in KINDS.items():
            if kind not in files:
                other = next(iter(files.values()))
                raise UserError(
                    f"{other} has no {suffix} beside it; expected {other.stem}{suffix} (or neither of them)"
                )
        seconds = {"speech": audio_info(files["speech"]).seconds, "video": video_info(files["video"]).seconds}
        for kind, length in seconds.items():
            if length is not None and length > LONGEST:
                raise UserError(f"{files[kind]} lasts {length:.0f} s; one utterance may last {LONGEST:.0f} s; cut it")
