"""Small data sets on disk for the tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from data_pipeline import toy
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter


def write_media(root: Path, conversation: schema.Conversation, frames: int = 6) -> None:
    """A short tone and a short grey film for each utterance, of so many frames."""
    for said in conversation.utterances():
        avatar = conversation.profile(said.role).media_id
        seed = int(conversation.conversation_id) * 10 + said.index
        tone = 0.2 * np.sin(np.arange(1000 * frames) * (0.02 + 0.001 * (seed % 50)))
        (root / "audio_v5_0").mkdir(parents=True, exist_ok=True)
        (root / "video_v5_0").mkdir(parents=True, exist_ok=True)
        write_wav(
            root / "audio_v5_0" / media_name(conversation.conversation_id, said.index, avatar, "audio"), tone, 24_000
        )
        path = root / "video_v5_0" / media_name(conversation.conversation_id, said.index, avatar, "video")
        with VideoWriter(path, 25, (16, 16)) as video:
            video.write(np.full((frames, 16, 16, 3), seed % 255, np.uint8))


def small_tree(root: Path, train: int = 4, media: bool = True) -> Path:
    """The first toy dialogues of each split, with media of our own making."""
    for split, count in (("train", train), ("valid", 1), ("test", 1)):
        conversations = toy.conversations(split, count)
        root.mkdir(parents=True, exist_ok=True)
        schema.write(root / f"{split}.json", conversations)
        if media:
            for each in conversations:
                write_media(root, each)
    return root


def change(path: Path, edit) -> None:
    """Edits the decoded JSON of a split in place."""
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def without_turns(conversation: schema.Conversation) -> schema.Conversation:
    """The same conversation, emptied."""
    return dataclasses.replace(conversation, turns=())
