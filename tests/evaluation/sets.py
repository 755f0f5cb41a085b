"""A small data set whose replies have speech and faces, made in seconds: a voice that babbles, faces that we draw."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from data_pipeline import toy
from data_pipeline.toy import media
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video import VideoWriter

SECONDS, SIZE = 1.0, 64
TEST, TRAIN = 3, 2
"""Dialogues in the splits; those of the test have two turns each."""


def babble(text: str, pitch: float) -> np.ndarray:
    """Syllables of a length of the text's own, with pauses between them."""
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    time = np.arange(int(media.RATE * SECONDS)) / media.RATE
    voice = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
    loud, at = np.zeros_like(time), 0.04
    while at < SECONDS - 0.15:
        length = rng.uniform(0.08, 0.2)
        inside = (time >= at) & (time < at + length)
        loud[inside] = np.sin(np.pi * (time[inside] - at) / length)
        at += length + rng.uniform(0.05, 0.2)
    return (0.25 * loud * voice).astype(np.float32)


def build(folder: Path) -> Path:
    """`TEST` dialogues whose replies are spoken and drawn, and `TRAIN` others without recordings."""
    for kind in ("audio", "video"):
        (folder / media.FOLDERS[kind]).mkdir(parents=True)
    for split, count in (("train", TRAIN), ("test", TEST)):
        schema.write(folder / f"{split}.json", toy.conversations(split, count))
    face = media.DrawnFace(SIZE)
    for each in toy.conversations("test", TEST):
        for said in (said for said in each.utterances() if said.role == "listener"):
            sound = babble(said.text, 120 + 8 * each.listener.profile_id)
            emotion, intensity = media.shown_at(each, said, "empathic")
            _, frames = face(media.Spoken(sound), each.listener, emotion, intensity, said.index)
            where = {
                kind: folder
                / media.FOLDERS[kind]
                / media_name(each.conversation_id, said.index, each.listener.media_id, kind)
                for kind in ("audio", "video")
            }
            write_wav(where["audio"], sound, media.RATE)
            with VideoWriter(where["video"], 25, (SIZE, SIZE), sound, media.RATE) as film:
                for batch in frames:
                    film.write(batch)
    return folder
