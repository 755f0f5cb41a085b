"""A small data set whose replies have speech and faces, made in seconds: a voice that babbles, faces that we draw."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
from scipy import ndimage

from data_pipeline import toy
from data_pipeline.toy import media
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.conversation.reply_folder import Manifest
from empatheia_jax.media.audio import read_audio, write_wav
from empatheia_jax.media.video import read_frames
from empatheia_jax.media.video_writer import VideoWriter

SECONDS, SIZE = 1.0, 64
TEST, TRAIN = 2, 2
"""Dialogues in the splits; those of the test have two turns each. Of the training, what both people say is recorded, too."""


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
    """`TEST` dialogues whose replies are spoken and drawn, and `TRAIN` others of which every utterance is."""
    for kind in ("audio", "video"):
        (folder / media.FOLDERS[kind]).mkdir(parents=True)
    for split, count in (("train", TRAIN), ("test", TEST)):
        schema.write(folder / f"{split}.json", toy.conversations(split, count))
    face = media.DrawnFace(SIZE)
    for split, count in (("train", TRAIN), ("test", TEST)):
        dialogues = toy.conversations(split, count)
        for each, said in [(one, said) for one in dialogues for said in one.utterances()]:
            if split == "test" and said.role != "listener":
                continue
            person = each.profile(said.role)
            sound = babble(said.text, 120 + 8 * person.profile_id)
            emotion, intensity = media.shown_at(each, said, "empathic")
            _, frames = face(media.Spoken(sound), person, emotion, intensity, said.index)
            where = {
                kind: folder / media.FOLDERS[kind] / media_name(each.conversation_id, said.index, person.media_id, kind)
                for kind in ("audio", "video")
            }
            write_wav(where["audio"], sound, media.RATE)
            with VideoWriter(where["video"], 25, (SIZE, SIZE), sound, media.RATE) as film:
                for batch in frames:
                    film.write(batch)
    return folder


def systems(truth: Path, folder: Path) -> dict[str, Path]:
    """Systems whose faults are known, made of the recordings: row → folder.

    blurred: films without detail, and one sentence for every turn. late: sound three frames late. shuffled: film, speech and
    words of one reply are those of three. text: the words alone, half of the emotions wrong.
    """
    found = {name: folder / name for name in ("blurred", "late", "shuffled", "text")}
    ids = Manifest.read(truth).ids
    for name, where in found.items():
        for place, each in enumerate(ids):
            values = json.loads((truth / each / "reply.json").read_text())
            of = {
                kind: truth / ids[(place + shift * (name == "shuffled")) % len(ids)]
                for kind, shift in (("wav", 2), ("mp4", 4))
            }
            sound, frames = read_audio(of["wav"] / "reply.wav", media.RATE), read_frames(of["mp4"] / "reply.mp4")
            if name == "blurred":
                values |= {"response": "I am sorry to hear that.", "speaker_emotion": "sad"}
                frames = ndimage.gaussian_filter(frames, (0, 0.5, 0.5, 0))
            if name == "late":
                sound = np.roll(sound, 3 * media.RATE // 25)
            if name == "shuffled":
                values["response"] = json.loads((truth / ids[(place + 2) % len(ids)] / "reply.json").read_text())[
                    "response"
                ]
            if name == "text" and place % 2:
                values["speaker_emotion"] = "bogus"
            (where / each).mkdir(parents=True)
            if name != "text":
                write_wav(where / each / "reply.wav", sound, media.RATE)
                with VideoWriter(where / each / "reply.mp4", 25, (SIZE, SIZE), sound, media.RATE) as film:
                    film.write(frames)
            values["timings"] = {"think and write": 1.0 + place, "speak": 0.5}
            (where / each / "reply.json").write_text(json.dumps(values))
        modalities = ("text",) if name == "text" else ("text", "speech", "video")
        row = {"blurred": "pipeline", "late": "empatheia", "shuffled": "shuffled", "text": "without-media"}[name]
        Manifest(name.capitalize(), ids, modalities, row, seed=1).write(where)
    return found


def text_system(folder: Path, name: str, asked, emotions=None, response="I hear you.") -> Path:
    """A text system that names these emotions (by default the true ones)."""
    folder.mkdir(parents=True)
    lines = []
    for place, (key, question) in enumerate(asked.items()):
        word = question.emotion if emotions is None else emotions[place]
        lines.append(json.dumps({"id": key, "response": f"{response} {place}", "speaker_emotion": word}))
    (folder / "replies.jsonl").write_text("\n".join(lines))
    Manifest(name, tuple(asked), row=name).write(folder)
    return folder
