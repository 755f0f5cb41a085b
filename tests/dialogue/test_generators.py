"""What reaches the generators of a reply: the bridge's share, and the generator's own voice and expression beside it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io

from configs import joint
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.faces import DrawnFaces, FaceFolder
from empatheia_jax.dialogue.responder import Blend, Responder
from empatheia_jax.dialogue.voices import Voices
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import write_wav
from empatheia_jax.settings import resolve
from empatheia_jax.styletts2.reference import prepare_reference
from empatheia_jax.styletts2.voices import VoiceTable, for_profile

CHILD = next(Profile.of(n) for n in range(24) if labels.profile_words(n) == ("child", "male", "high"))
OLD = next(Profile.of(n) for n in range(24) if labels.profile_words(n) == ("elderly", "male", "low"))
NAMES = ("jf_nezumi", "jm_kumo", "jf_alpha", "jf_tebukuro", "jf_gongitsune")


class FakeSpeaker:
    """Has voices, or takes them from recordings, and keeps how long those were."""

    def __init__(self, voices=NAMES, multispeaker=True, networks=("style_encoder",)):
        self.voices = VoiceTable({name: np.full((4, 256), i, np.float32) for i, name in enumerate(voices)})
        self.model = SimpleNamespace(config=SimpleNamespace(multispeaker=multispeaker, networks=networks))
        self.recordings = []

    def voice_style(self, voice, phonemes):
        return self.voices.style(voice, phonemes)

    def style_of(self, wave):
        self.recordings.append(len(wave))
        return np.full(256, 7, np.float32)


def speak(share, profile, shown=("neutral", 1.0), speaker=None, folder=None):
    """What a reply asks of the speaker when S^s is all −1."""
    speaker = speaker or FakeSpeaker()
    responder = SimpleNamespace(voices=Voices(speaker, folder), blend=Blend.of(1.0, share))
    style, voice = Responder.voice(responder, np.full(256, -1, np.float32), profile, shown, 5)
    return {"style": style, "voice": None if style is None else voice}


@pytest.mark.parametrize("profile", [CHILD, OLD])
def test_a_predicted_style_is_spoken_as_it_is(profile):
    said = speak(1.0, profile)
    assert said["voice"].pitch == said["voice"].speed == 1.0
    assert (said["style"] == -1).all()


@pytest.mark.parametrize("profile", [CHILD, OLD])
def test_a_tabled_voice_plays_its_profile_and_half_of_it_half(profile):
    tabled = for_profile(*labels.profile_words(profile.profile_id))
    whole, half = speak(0.0, profile)["voice"], speak(0.5, profile)["voice"]
    assert whole.pitch == pytest.approx(tabled.pitch) and whole.speed == pytest.approx(tabled.speed)
    assert half.pitch == pytest.approx(tabled.pitch**0.5) and half.speed == pytest.approx(tabled.speed**0.5)


def test_a_tabled_voice_takes_the_listeners_expression():
    calm, concerned = speak(0.0, OLD)["voice"], speak(0.0, OLD, ("sad", 0.7))["voice"]
    assert concerned.speed < calm.speed and concerned.pitch < calm.pitch
    assert speak(1.0, OLD, ("sad", 0.7))["voice"].speed == 1.0


def test_weights_without_a_table_speak_with_a_recording_of_the_profile(tmp_path):
    sound = (0.1 * np.sin(np.arange(48_000) / 20)).astype(np.float32)
    write_wav(tmp_path / "default.wav", sound, 24_000)
    write_wav(tmp_path / f"{CHILD.profile_id}.wav", sound[:30_000], 24_000)
    speaker = FakeSpeaker(voices=())
    said = speak(0.0, CHILD, speaker=speaker, folder=tmp_path)
    assert (said["style"] == 7).all() and speaker.recordings == [30_000]
    assert said["voice"].pitch == 1.0
    speak(0.0, OLD, speaker=speaker, folder=tmp_path)
    assert speaker.recordings == [30_000, 48_000]


@pytest.mark.parametrize("shown", [("sad", 0.7), ("happy", 1.0)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_factors_of_speed_and_pitch_are_for_tabled_voices_alone(tmp_path, share, shown):
    write_wav(tmp_path / "default.wav", np.full(48_000, 0.1, np.float32), 24_000)
    recorded = speak(share, CHILD, shown, FakeSpeaker(voices=()), tmp_path)
    assert recorded["voice"].speed == recorded["voice"].pitch == 1.0
    drawn = FakeSpeaker(voices=(), multispeaker=False, networks=("diffusion",))
    responder = SimpleNamespace(voices=Voices(drawn), blend=Blend.of(1.0, share))
    style, voice = Responder.voice(responder, np.full(256, -1, np.float32), CHILD, shown, 5)
    if share == 0.3:  # nothing can be mixed with a style that is drawn, so such a config is refused
        with pytest.raises(UserError, match=r"decoding\.style_blend=0\.3"):
            responder.voices.require_mixing(share)
    else:
        responder.voices.require_mixing(share)
    assert (style is None) == (share == 0) and voice.speed == voice.pitch == 1.0


@pytest.mark.parametrize("name", ["default.WAV", "Default.wav", f"{CHILD.profile_id}.Flac"])
def test_a_recording_of_a_voice_is_found_whatever_its_capitals(tmp_path, name):
    write_wav(tmp_path / "a.wav", np.full(30_000, 0.1, np.float32), 24_000)
    (tmp_path / "a.wav").rename(tmp_path / name)
    speaker = FakeSpeaker(voices=())
    speak(0.0, CHILD, speaker=speaker, folder=tmp_path)
    assert speaker.recordings == [30_000]


def test_a_recording_that_is_no_voice_is_named(tmp_path):
    class Strict(FakeSpeaker):
        def style_of(self, wave):
            return prepare_reference(wave)

    write_wav(tmp_path / "default.wav", np.zeros(48_000, np.float32), 24_000)
    with pytest.raises(UserError, match=r"networks\.voices: .*default\.wav: .*silent"):
        speak(0.0, CHILD, speaker=Strict(voices=()), folder=tmp_path)


def test_weights_without_a_table_ask_for_a_recording(tmp_path):
    with pytest.raises(UserError, match=r"networks\.voices"):
        speak(0.0, CHILD, speaker=FakeSpeaker(voices=()))
    with pytest.raises(UserError, match="no recording for profile"):
        speak(0.0, CHILD, speaker=FakeSpeaker(voices=()), folder=tmp_path)
    with pytest.raises(UserError, match="networks.voices=.*: no such folder"):
        Voices(FakeSpeaker(voices=()), tmp_path / "none")


def test_weights_of_one_speaker_draw_their_own_style():
    said = speak(0.0, CHILD, speaker=FakeSpeaker(voices=(), multispeaker=False, networks=("diffusion",)))
    assert said["style"] is None and said["voice"] is None


def test_the_pipeline_shows_one_fixed_clip_and_the_others_the_listeners_answer():
    assert resolve(joint.get_config("pipeline")).decoding.style_clip == "neutral"
    assert resolve(joint.get_config("paper")).data.expression == "mirror"
    understood = {"of_32": "angry", "of_7": "angry"}
    policy = SimpleNamespace(label_map="paper")

    def shown(style_clip, reading):
        return Responder.shown(SimpleNamespace(style_clip=style_clip, reading=reading, policy=policy), understood)

    assert shown("neutral", "empathic") == ("neutral", 1.0)
    assert shown("", "empathic") == ("sad", 0.7)
    assert shown("", "mirror") == ("angry", 0.6)


@pytest.mark.parametrize("name", ["M030_front_angry_level3_001.mat", "m030_FRONT_angry_level3_001.MAT"])
def test_a_fixed_clip_is_found_by_the_name_that_its_release_gave_it(tmp_path, name):
    coefficients = np.full((5, 257), 0.5, np.float32)
    scipy.io.savemat(tmp_path / "clip.mat", {"coeff": coefficients, "transform_params": np.ones((5, 5), np.float32)})
    (tmp_path / "clip.mat").rename(tmp_path / name)
    assert FaceFolder(tmp_path).style_clip("M030_front_angry_level3_001").shape == (5, 64)


def test_a_fixed_clip_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"smirk\.mat"):
        FaceFolder(tmp_path).style_clip("smirk")
    with pytest.raises(UserError, match="smirk"):
        DrawnFaces().style_clip("smirk")
