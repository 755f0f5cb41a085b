"""`--mode=reply` with tiny networks: three files or none, and one line for whatever is wrong with the input."""

from __future__ import annotations

import copy
import json
import wave

import av
import numpy as np
import pytest

from configs import debug
from empatheia_jax.dialogue import commands
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.settings import resolve
from tests.runs import folders

SAID = "My boss said she is disappointed with my work. I tried my best every day."
PROFILE = {"age": "young", "gender": "female", "timbre": "low", "ID": 11}
CHAIN = {
    "speaker_emotion": "disappointed",
    "event_scenario": "Feedback at work.",
    "emotion_cause": "The boss is not content.",
    "goal_to_response": "Comfort.",
}
DIALOGUE = {
    "conversation_id": "00007",
    "speaker_profile": {**PROFILE, "gender": "male", "ID": 7},
    "listener_profile": PROFILE,
    "topic": "work",
    "turns": [
        {
            "turn_id": "0",
            "dialogue_history": [{"index": 0, "role": "speaker", "utterance": SAID}],
            "response": "I am sorry to hear that.",
            "chain_of_empathy": CHAIN,
        }
    ],
}


def recordings(folder, seconds=1.0):
    """A wav and an mp4 of the utterance, under their released names."""
    rng = np.random.default_rng(0)
    sound = 0.1 * np.sin(2 * np.pi * 220 * np.arange(int(16_000 * seconds)) / 16_000)
    write_wav(folder / "dia00007utt0_7.wav", sound.astype(np.float32), 16_000)
    with VideoWriter(folder / "dia00007utt0_7.mp4", 25, (32, 32)) as video:
        video.write(rng.integers(0, 255, (int(25 * seconds), 32, 32, 3), np.uint8))


def write(folder, dialogue):
    path = folder / "dialogue.json"
    path.write_text(json.dumps([dialogue]))
    return path


@pytest.fixture
def config():
    config = debug.get_config()
    config.decoding.max_new_tokens = 24
    return resolve(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return folders.untrained(resolve(debug.get_config()), tmp_path_factory.mktemp("run")).folder


def test_a_reply_is_text_speech_and_film_of_the_same_length(tmp_path, config, run, capsys):
    recordings(tmp_path)
    output = tmp_path / "out"
    assert commands.reply(config, run, write(tmp_path, DIALOGUE), output) == 0
    assert sorted(path.name for path in output.iterdir()) == ["reply.json", "reply.mp4", "reply.wav"]
    said = json.loads((output / "reply.json").read_text())
    for key in (
        *("event_scenario", "speaker_emotion", "emotion_cause", "goal_to_response", "response"),
        *("emotion", "profile", "timings"),
    ):
        assert key in said
    assert said["heard"] == ["speech", "video"] and said["asked"] == SAID
    with wave.open(str(output / "reply.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (24_000, 1)
        seconds = sound.getnframes() / 24_000
    with av.open(str(output / "reply.mp4")) as film:
        picture, track = film.streams.video[0], film.streams.audio[0]
        assert picture.codec_context.name == "h264" and picture.codec_context.pix_fmt == "yuv420p"
        assert track.codec_context.name == "aac" and picture.average_rate == 25
        frames = sum(1 for _ in film.decode(picture))
    assert frames == said["frames"] and abs(frames / 25 - seconds) <= 1 / 25
    assert str(output / "reply.mp4") in capsys.readouterr().out


def changed(**turn):
    dialogue = copy.deepcopy(DIALOGUE)
    dialogue["turns"][0].update(turn)
    return dialogue


BAD_DIALOGUES = {
    "empty turns": ({**DIALOGUE, "turns": []}, "'turns' is empty"),
    "unknown emotion": (changed(chain_of_empathy={**CHAIN, "speaker_emotion": "flabberwocked"}), "flabberwocked"),
    "empty history": (changed(dialogue_history=[]), "'dialogue_history' is empty"),
    "unknown age": ({**DIALOGUE, "listener_profile": {**PROFILE, "age": "ancient"}}, "ancient"),
}


@pytest.mark.parametrize("case", BAD_DIALOGUES)
def test_a_bad_dialogue_is_one_line_and_leaves_nothing(case, tmp_path, config, run):
    dialogue, message = BAD_DIALOGUES[case]
    output = tmp_path / "out"
    with pytest.raises(UserError, match=message) as caught:
        commands.reply(config, run, write(tmp_path, dialogue), output)
    assert "\n" not in str(caught.value) and not output.exists()


def corrupt_wav(folder):
    (folder / "dia00007utt0_7.wav").write_bytes(b"RIFF not a sound at all")


def missing_wav(folder):
    (folder / "dia00007utt0_7.wav").unlink()


def three_hours(folder):
    with wave.open(str(folder / "dia00007utt0_7.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes([128]) * (3 * 3600 * 8000))


def no_frames(folder):
    """A film that holds a sound and no picture."""
    (folder / "dia00007utt0_7.mp4").write_bytes((folder / "dia00007utt0_7.wav").read_bytes())


def twice(folder):
    (folder / "audio_copy").mkdir()
    (folder / "audio_copy" / "dia7utt0_7.wav").write_bytes((folder / "dia00007utt0_7.wav").read_bytes())


@pytest.mark.parametrize("damage", [corrupt_wav, missing_wav, three_hours, no_frames, twice])
def test_a_bad_recording_is_one_line_and_leaves_nothing(damage, tmp_path, config, run):
    recordings(tmp_path, 0.2)
    damage(tmp_path)
    output = tmp_path / "out"
    with pytest.raises(UserError, match="dia00007utt0_7") as caught:
        commands.reply(config, run, write(tmp_path, DIALOGUE), output)
    assert "\n" not in str(caught.value) and not output.exists()


def test_invalid_json_is_one_line(tmp_path, config, run):
    path = tmp_path / "dialogue.json"
    path.write_text('[{"conversation_id": "00007", ')
    with pytest.raises(UserError, match="not valid JSON") as caught:
        commands.reply(config, run, path, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_trained_stage_says_so(tmp_path, config):
    recordings(tmp_path, 0.2)
    with pytest.raises(UserError, match="holds no trained stage; train first"):
        commands.reply(config, tmp_path, write(tmp_path, DIALOGUE), tmp_path / "out")
