"""Gives the toy dialogues their voices and faces: one wav, one mp4 and the face's coefficients per utterance.

Everything is a fixed function of the words, the profiles and the weights of the voice, so two runs make the same bytes;
files that are there already are kept, so an interrupted run continues. While one utterance is spoken, those before it are
drawn and encoded: speaking leaves part of a second core idle, and encoding most of it.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import soxr

from data_pipeline import corpus, toy
from empatheia_jax.conversation import expression, labels, schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.conversation.schema import Conversation, Profile
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_bytes, write_json
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video import frames_for
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.settings.choices import Expression

RATE, FPS = 24_000, 25
FOLDERS = {"audio": "audio_v5_0", "video": "video_v5_0", "motion": "motion_v5_0"}
DIALOGUES = {"toy": toy, "corpus": corpus}
"""The sets of dialogues that can be spoken and drawn: modules with `SPLITS` and `conversations(split)`."""
DRAWN_AT_ONCE = 1
"""Threads that draw and encode beside the speaking one. So many utterances, and one more, are in memory. Speaking takes longer
than drawing: a second thread would compile the drawing program a second time and then wait."""


@dataclass(frozen=True)
class Spoken:
    """Speech at 24 kHz, and what is said when: symbols with their seconds (empty where a voice cannot tell)."""

    samples: np.ndarray
    symbols: Sequence[str] = ()
    seconds: Sequence[float] = ()


@runtime_checkable
class Voice(Protocol):
    """Says a text as a person with a feeling."""

    @property
    def name(self) -> str: ...

    def __call__(self, text: str, profile: Profile, emotion: str, intensity: float, seed: int) -> Spoken:
        """`emotion` is one of the 7 or neutral."""


@runtime_checkable
class Face(Protocol):
    """Shows a person who says something with a feeling."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def __call__(
        self, spoken: Spoken, profile: Profile, emotion: str, intensity: float, seed: int
    ) -> tuple[np.ndarray, Iterator[np.ndarray]]:
        """Coefficients (frames, 64 or more) float32 and the pictures in batches, uint8 (n, size, size, 3)."""


@dataclass(frozen=True)
class SpeakerVoice:
    """Our StyleTTS2 (`empatheia_jax.styletts2.speaker.Speaker`)."""

    speaker: Any
    name: str

    def __call__(self, text: str, profile: Profile, emotion: str, intensity: float, seed: int) -> Spoken:
        """See `Voice`."""
        from empatheia_jax.styletts2.voices import for_profile

        voice = for_profile(*labels.profile_words(profile.profile_id)).feeling(emotion, intensity)
        speech = self.speaker.say(text, voice=voice, seed=seed)
        names = {number: symbol for symbol, number in self.speaker.symbols.numbers.items()}
        symbols = [names.get(int(number), " ") for number in speech.token_ids]
        return Spoken(speech.samples, symbols, np.diff(speech.ends, prepend=0) / RATE)


@dataclass(frozen=True)
class DrawnFace:
    """The face that we draw (`empatheia_jax.dreamtalk.drawn_face`): one person per profile."""

    size: int = 128
    name: str = "drawn-face-2"  # 2: the mouth moves when a phoneme is heard

    def __call__(self, spoken: Spoken, profile: Profile, emotion: str, intensity: float, seed: int):
        """See `Face`."""
        from empatheia_jax.dreamtalk import drawn_face
        from empatheia_jax.dreamtalk.drawn_face import visemes

        frames = frames_for(len(spoken.samples) / RATE, FPS)
        if spoken.symbols:
            mouth = visemes.from_phonemes(spoken.symbols, spoken.seconds, frames)
        else:
            mouth = visemes.from_audio(soxr.resample(spoken.samples, RATE, 16_000), frames=frames)
        motion = drawn_face.perform(emotion, frames, seed=seed, intensity=intensity, mouth=mouth)
        age, gender, _ = labels.profile_words(profile.profile_id)
        tone = labels.TONES[profile.ids[2]]
        person = drawn_face.sample_identity(profile.media_id, age=age, gender=gender, tone=tone)
        return motion, drawn_face.draw_batches(person, motion, self.size)


def choose(count: int | None, dialogues: str = "toy", test: int | None = None) -> dict[str, list[Conversation]]:
    """All splits of a set, or `count` dialogues in all with about 15 % (at least one) in valid and in test.

    With `test`, the test split has so many dialogues, and the others are what they are without: more held-out dialogues do not
    change what is trained on.

    Raises:
        UserError: the set's name is none of `DIALOGUES`, fewer than 3 were asked for, or more than there are.
    """
    if dialogues not in DIALOGUES:
        raise UserError(f"--dialogues={dialogues}; expected one of {', '.join(DIALOGUES)}")
    source = DIALOGUES[dialogues]
    splits = {split: source.conversations(split) for split in source.SPLITS}
    if test is not None and not 1 <= test <= len(splits["test"]):
        raise UserError(f"--test={test}; expected 1 to {len(splits['test'])}")
    sizes = _sizes(count, {split: len(each) for split, each in splits.items()})
    if test is not None:
        sizes["test"] = test
    if count is None and test is None:
        return splits  # in their own order
    return {split: _varied(conversations)[: sizes[split]] for split, conversations in splits.items()}


def _sizes(count: int | None, there: dict[str, int]) -> dict[str, int]:
    """Dialogues in each split."""
    if count is None:
        return dict(there)
    total = sum(there.values())
    if not 3 <= count <= total:
        raise UserError(f"--count={count}; expected 3 to {total}")
    held = max(1, min(round(0.15 * count), there["valid"], there["test"]))
    sizes = {"train": min(count - 2 * held, there["train"]), "valid": held, "test": held}
    # What train cannot give comes from valid, then from test.
    sizes["valid"] = min(count - sizes["train"] - sizes["test"], there["valid"])
    sizes["test"] = count - sizes["train"] - sizes["valid"]
    return sizes


def _varied(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The same dialogues in an order in which emotions take turns, so that the first few have as many emotions as possible."""
    groups: dict[str, list[Conversation]] = {}
    for each in conversations:
        groups.setdefault(emotion_at(each, 0), []).append(each)
    rounds = max(map(len, groups.values()))
    return [group[n] for n in range(rounds) for group in groups.values() if n < len(group)]


def emotion_at(conversation: Conversation, index: int) -> str:
    """The speaker's emotion of the 7 at that point of the dialogue."""
    return labels.emotion7(_label_at(conversation, index))


def _label_at(conversation: Conversation, index: int) -> str:
    turn = next(turn for turn in conversation.turns if index <= turn.response_index)
    if turn.chain is None:
        raise UserError(
            f"conversation {conversation.conversation_id}, turn {turn.turn_id} has no chain of empathy to colour it"
        )
    return labels.emotion32(turn.chain.speaker_emotion, strict=True)


def shown_at(conversation: Conversation, said: schema.Utterance, reading: Expression) -> tuple[str, float]:
    """What face and voice of an utterance show, and how strongly: the speaker's own emotion, the listener's answer to it."""
    if said.role == "speaker":
        return emotion_at(conversation, said.index), 1.0
    return expression.shown(_label_at(conversation, said.index), None, reading)


def demo_dialogue(conversation: Conversation) -> Conversation:
    """A held-out dialogue as input for a reply: its last turn without the response and the chain."""
    last = dataclasses.replace(conversation.turns[-1], response=None, chain=None)
    return dataclasses.replace(conversation, turns=(last,))


def build(
    output: str | os.PathLike,
    voice: Voice,
    face: Face,
    count: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    dialogues: str = "toy",
    reading: Expression = "empathic",
    test: int | None = None,
) -> dict[str, int]:
    """Makes a set with speech and faces from our dialogues (`DIALOGUES`); returns the number of utterances per split.

    The folder holds `train.json`, `valid.json`, `test.json`, the recordings, `demo.json` (a test dialogue to reply to)
    and `made_by.json`. The JSON files are written last: a folder without them is not finished.

    Raises:
        UserError: the folder holds a set that other weights or another version made.
    """
    output = Path(output)
    splits = choose(count, dialogues, test)
    stamp = output / "made_by.json"
    made_by = {
        "voice": voice.name,
        "face": face.name,
        "size": face.size,
        "rate": RATE,
        "fps": FPS,
        "expression": reading,
    }
    if dialogues != "toy":
        made_by["dialogues"] = dialogues
    if stamp.is_file():
        found = schema.load_json(stamp)
        if found != made_by:
            raise UserError(
                f"{output} was made by {found}; this would be {made_by}; choose another folder or delete it"
            )
    elif output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output} is not empty and no toy set; choose another folder")
    for folder in FOLDERS.values():
        (output / folder).mkdir(parents=True, exist_ok=True)
    write_json(stamp, made_by)
    recordings = [
        _recording(output, conversation, said, shown_at(conversation, said, reading))
        for conversations in splits.values()
        for conversation in conversations
        for said in conversation.utterances()
    ]
    _record(recordings, voice, face, progress)
    for split, conversations in splits.items():
        schema.write(output / f"{split}.json", conversations)
    schema.write(output / "demo.json", [demo_dialogue(splits["test"][0])])
    return {split: sum(len(c.utterances()) for c in conversations) for split, conversations in splits.items()}


def film(
    audio: Path,
    video: Path,
    text: str,
    profile: Profile,
    voice: Voice,
    face: Face,
    emotion: str,
    intensity: float,
    *,
    seed: int,
) -> np.ndarray:
    """Writes what a person says with a feeling as a wav and an mp4; returns the face's coefficients (frames, 64 or more)."""
    spoken = voice(text, profile, emotion, intensity, seed)
    return _film(audio, video, spoken, profile, face, emotion, intensity, seed)


def _film(
    audio: Path,
    video: Path,
    spoken: Spoken,
    profile: Profile,
    face: Face,
    emotion: str,
    intensity: float,
    seed: int,
) -> np.ndarray:
    motion, pictures = face(spoken, profile, emotion, intensity, seed)
    write_wav(audio, spoken.samples, RATE)
    with VideoWriter(video, FPS, (face.size, face.size), audio=spoken.samples, audio_rate=RATE) as writer:
        for batch in pictures:
            writer.write(batch)
    return motion


@dataclass(frozen=True)
class _Recording:
    """An utterance, what its speaker shows, and its files by kind."""

    text: str
    profile: Profile
    emotion: str
    intensity: float
    seed: int
    paths: dict[str, Path]

    @property
    def exists(self) -> bool:
        return all(path.is_file() for path in self.paths.values())

    def speak(self, voice: Voice) -> Spoken:
        return voice(self.text, self.profile, self.emotion, self.intensity, self.seed)

    def draw(self, spoken: Spoken, face: Face) -> None:
        motion = _film(
            self.paths["audio"],
            self.paths["video"],
            spoken,
            self.profile,
            face,
            self.emotion,
            self.intensity,
            self.seed,
        )
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(motion[:, :64], np.float32), allow_pickle=False)
        write_bytes(self.paths["motion"], buffer.getvalue())


def _recording(
    output: Path, conversation: Conversation, said: schema.Utterance, shown: tuple[str, float]
) -> _Recording:
    profile = conversation.profile(said.role)
    if profile is None:
        raise UserError(f"conversation {conversation.conversation_id} has no profile of the {said.role}; expected both")
    paths = {
        kind: output / folder / media_name(conversation.conversation_id, said.index, profile.media_id, kind)
        for kind, folder in FOLDERS.items()
    }
    seed = int(conversation.conversation_id) * 100 + said.index
    return _Recording(said.text, profile, *shown, seed, paths)


def _record(recordings: Sequence[_Recording], voice: Voice, face: Face, progress: Callable[[int, int], None]) -> None:
    """Makes the recordings that do not exist. Utterances are spoken one by one, and drawn by threads of their own."""
    missing = [each for each in recordings if not each.exists]
    drawn: deque[concurrent.futures.Future[None]] = deque()

    def wait(left: int) -> None:
        while len(drawn) > left:
            drawn.popleft().result()
        progress(spoken - len(drawn), len(recordings))

    spoken = len(recordings) - len(missing)
    with concurrent.futures.ThreadPoolExecutor(DRAWN_AT_ONCE, "draw") as pool:
        try:
            wait(0)
            for each in missing:
                drawn.append(pool.submit(each.draw, each.speak(voice), face))
                spoken += 1
                wait(DRAWN_AT_ONCE)
            wait(0)
        except BaseException:  # what is being drawn is finished, so that no file is half-written; the rest is left
            pool.shutdown(cancel_futures=True)
            raise
