"""Which recordings a reply finds: those that training finds, under every name that is in use, or a line that says why not."""

from __future__ import annotations

import pytest

from data_pipeline.layout import Tree
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.schema import Conversation, Profile, Turn, Utterance
from empatheia_jax.dialogue import media_files
from empatheia_jax.errors import UserError

SPEAKER, LISTENER = Profile("young", "female", "mid", 9), Profile("elderly", "male", "low", 3)
HISTORY = (Utterance(0, "speaker", "hi"), Utterance(1, "listener", "hello"), Utterance(2, "speaker", "I am sad"))
DIALOGUE = Conversation("00012", (Turn("0", HISTORY, response="oh"),), SPEAKER, LISTENER)


def make(root, *names):
    for name in names:
        folder = root / ("audio_v5_0" if name.lower().endswith(".wav") else "video_v5_0")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    "names",
    [
        ("dia00012utt0_9.wav", "dia00012utt0_9.mp4", "dia00012utt2_9.wav"),  # as released
        ("dia12utt0_9.wav", "dia12utt0_9.mp4", "dia12utt2_9.wav"),  # not padded
        ("dia12utt1.wav", "dia12utt1.mp4", "dia12utt3.wav"),  # the baseline counts from 1
        ("dia00012utt0_9.WAV", "dia00012utt0_9.MP4", "dia00012utt2_9.Wav"),  # cameras and Windows
        ("DIA00012UTT0_9.WAV", "DIA00012UTT0_9.MP4", "DIA00012UTT2_9.WAV"),
    ],
)
def test_reply_and_training_find_the_same_recordings(names, tmp_path):
    make(tmp_path, *names, "dia00013utt0_9.wav", "dia00112utt0_9.wav")
    found = media_files.Recordings(tmp_path).of(DIALOGUE)
    assert {index: sorted(kinds) for index, kinds in found.items()} == {0: ["speech", "video"], 2: ["speech"]}
    tree = Tree(tmp_path)
    for clip in tree.clips(DIALOGUE):
        kinds = found.get(clip.index, {})
        assert (clip.audio, clip.video) == (kinds.get("speech"), kinds.get("video"))


@pytest.mark.parametrize("audio", ["audio_v5_0", "test/audio_v5_0", "test/Audio"])
@pytest.mark.parametrize("split", ["test.json", "test/test.json"])
def test_reply_and_training_find_the_same_recordings_in_every_layout(tmp_path, split, audio):
    (tmp_path / audio).mkdir(parents=True)
    (tmp_path / audio / "dia00012utt0_9.wav").write_bytes(b"x")
    schema.write(tmp_path / split, [DIALOGUE])
    (clip, *_) = Tree(tmp_path).clips(DIALOGUE)
    assert clip.audio is not None
    for found in (media_files.beside(tmp_path / split), media_files.Recordings(tmp_path)):
        assert found.of(DIALOGUE)[0]["speech"].samefile(clip.audio)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("dia00012utt0_4.wav",), "the person 4"),
        (("dia00012utt0_9.wav", "dia12utt0_9.WAV"), "keep one"),
        (("dia00012utt0_9.mp3",), "another format"),
        (("dia12utt1.MOV",), "another format"),
    ],
)
def test_a_recording_that_is_not_used_is_said(names, message, tmp_path):
    make(tmp_path, *names)
    with pytest.raises(UserError, match=message):
        media_files.Recordings(tmp_path).of(DIALOGUE)


def test_without_profiles_any_persons_recording_counts_and_the_released_name_goes_first(tmp_path):
    make(tmp_path, "dia12utt0_4.wav", "dia12utt1.wav")
    anonymous = Conversation("12", DIALOGUE.turns)
    assert media_files.Recordings(tmp_path).of(anonymous)[0]["speech"].name == "dia12utt0_4.wav"
    assert Tree(tmp_path).clips(anonymous)[0].audio.name == "dia12utt0_4.wav"


def test_recordings_that_the_model_does_not_hear_need_not_be_whole(tmp_path):
    make(tmp_path, "dia12utt0_9.mp4")
    found = media_files.Recordings(tmp_path).of(DIALOGUE)
    media_files.check(found, DIALOGUE, ())
    with pytest.raises(UserError, match=r"no \.wav"):
        media_files.check(found, DIALOGUE)
