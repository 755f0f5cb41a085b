"""The server over the engine itself, with the tiny networks of a debug run: nothing between client and networks is made up."""

from __future__ import annotations

import base64
import io
import json

import av
import httpx
import numpy as np
import openai
import pytest
import soundfile

from configs import debug
from empatheia_jax.dialogue import commands
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.request import CHAIN
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.dialogue.session import Session
from empatheia_jax.media import transcription
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.server.house import Measured
from empatheia_jax.settings import resolve
from tests.dialogue.scripted import ScriptedTexts, care
from tests.runs import folders
from tests.server.running import served

FIRST = "It sounds as though you had a very long and hard day."


@pytest.fixture(scope="module")
def responder(tmp_path_factory):
    """The model of a debug run with its generators."""
    config = debug.get_config()
    config.decoding.max_new_tokens = 24
    config.decoding.response_tokens = 12
    config = resolve(config)
    return commands.responder(config, folders.untrained(config, tmp_path_factory.mktemp("run")).folder)


@pytest.fixture(scope="module")
def engine(responder):
    engine = Engine(responder, places=2, care=care())
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def server(engine, tmp_path_factory):
    with (
        served(engine, tmp_path_factory.mktemp("server"), measured=Measured(5.0, True)) as (address, house),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client, house, address


def lines(client, session, **said):
    answer = client.post(f"/api/sessions/{session}/turns", json=said)
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def of(kind, found):
    return [event for event in found if event["type"] == kind]


def sound_of(found):
    pcm = b"".join(base64.b64decode(event["pcm"]) for event in of("speech", found))
    return np.frombuffer(pcm, "<i2").astype(np.float32) / 32768


def test_a_conversation_of_two_turns_has_text_sound_and_film(server):
    client, house, _ = server
    profile = {"age": "elderly", "gender": "female", "tone": "gentle"}
    session = client.post("/api/sessions", json={"profile": profile, "seed": 1}).json()["id"]
    found = lines(client, session, text="I lost my keys.", face="film")
    done = found[-1]
    assert done["type"] == "done" and done["finished"] and done["profile"] == profile
    assert {event["name"] for event in of("step", found)} == set(CHAIN)
    assert "".join(event["text"] for event in of("text", found)) == done["response"] != ""
    sound = sound_of(found)
    assert abs(len(sound) / 24_000 - done["seconds"]) < 1e-3 and np.abs(sound).max() > 0.01
    assert sum(event["frames"] for event in of("motion", found)) == sum(
        event["frames"] for event in of("frames", found)
    )
    reply = f"/api/sessions/{session}/turns/{found[0]['reply']}"
    streamed, whole = client.get(f"{reply}/film").content, client.get(f"{reply}/reply.mp4").content
    for content in (streamed, whole):
        with av.open(io.BytesIO(content)) as film:
            frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
        assert abs(len(frames) / 25 - done["seconds"]) <= 0.04
        assert any(not np.array_equal(frames[0], frame) for frame in frames)
        with av.open(io.BytesIO(content)) as film:
            heard = np.concatenate([frame.to_ndarray().ravel() for frame in film.decode(audio=0)])
        assert np.abs(heard).max() > 0.005

    again = lines(client, session, text="They were my mother's.", face="data")[-1]
    assert again["finished"] and again["timings"]["prompt_tokens"] > done["timings"]["prompt_tokens"]
    edited = lines(client, session, again=True, chain_edits={"speaker_emotion": "grateful"}, sound=False)
    assert edited[-1]["chain"]["speaker_emotion"] == "grateful" and edited[-1]["finished"]
    kept = Session.load(house.sessions.folder / session)  # as a server that starts anew finds it
    assert [turn.said for turn in kept.turns] == ["I lost my keys.", "They were my mother's."]
    assert kept.turns[0].reply.answer.response == done["response"]


def test_openai_s_client_gets_sound_and_a_film_and_is_told_how_many_tokens_that_were(server):
    client, _, address = server
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none is needed here", max_retries=0) as theirs:

        def asked(text):
            return theirs.chat.completions.create(
                model="empatheia",
                messages=[{"role": "user", "content": text}],
                modalities=["text", "audio"],
                audio={"voice": "young-male-mild", "format": "wav"},
                extra_body={"empatheia": {"film": True}},
                seed=3,
            )

        answer, longer = asked("Hello."), asked("Hello. " * 5)
    message = answer.choices[0].message
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(message.audio.data)))
    assert rate == 24_000 and abs(len(samples) / rate - message.empatheia["seconds"]) < 1e-3
    film = client.get(message.empatheia["film"]).content
    with av.open(io.BytesIO(film)) as file:
        assert sum(1 for _ in file.decode(video=0)) > 0
    usage = answer.usage
    # The debug tokenizer has a token for each byte.
    assert longer.usage.prompt_tokens - usage.prompt_tokens == len(("Hello. " * 5).strip()) - len("Hello.")
    assert usage.completion_tokens >= len(message.audio.transcript.encode()) > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_recordings_are_heard_and_seen(server, tmp_path):
    client, _, _ = server
    random = np.random.default_rng(0)
    noise = (0.1 * random.standard_normal(16_000)).astype(np.float32)
    write_wav(tmp_path / "a.wav", noise, 16_000)
    with VideoWriter(tmp_path / "a.mp4", 25, (32, 32), audio=noise, audio_rate=16_000) as film:
        film.write(random.integers(0, 255, (25, 32, 32, 3), np.uint8))
    session = client.post("/api/sessions", json={}).json()["id"]
    ids = [
        client.post("/api/uploads", content=(tmp_path / name).read_bytes()).json()["id"] for name in ("a.wav", "a.mp4")
    ]
    done = lines(client, session, text="Listen.", recordings=ids, sound=False)[-1]
    assert done["finished"] and done["heard"] == ["speech", "video"]


# ---------------------------------------------------------------- care


def test_in_a_crisis_the_text_of_a_file_is_spoken_and_the_model_is_not_asked(server, engine, monkeypatch):
    client, _, address = server
    monkeypatch.setattr(engine._texts, "begin", lambda *_: pytest.fail("the model was asked"))
    text = care().before("I want to kill myself tonight.")
    session = client.post("/api/sessions", json={}).json()["id"]
    found = lines(client, session, text="I want to kill myself tonight.", face="none")
    assert found[1] == {"type": "instead", "kind": "self-harm", "notice": text.notice}
    assert found[-1]["response"] == text.text and len(sound_of(found)) > 0
    assert [word for each in of("speech", found) for word, _, _ in each["words"]] == text.text.split()
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none is needed here", max_retries=0) as theirs:
        messages = [{"role": "user", "content": "I want to kill myself tonight."}]
        answer = theirs.chat.completions.create(model="empatheia", messages=messages)
    assert answer.choices[0].message.content == text.text
    assert answer.choices[0].message.empatheia["instead"] == "self-harm" and answer.usage.total_tokens == 0


def test_what_is_heard_in_a_recording_is_checked_beside_what_is_typed(server, engine, tmp_path, monkeypatch):
    client, _, _ = server
    monkeypatch.setattr(engine._texts, "begin", lambda *_: pytest.fail("the model was asked"))
    monkeypatch.setattr(transcription, "words", lambda sound: "I want to kill myself tonight.")
    write_wav(tmp_path / "a.wav", np.full(16_000, 0.1, np.float32), 16_000)
    recording = client.post("/api/uploads", content=(tmp_path / "a.wav").read_bytes()).json()["id"]
    for text in ("", "I am fine."):
        session = client.post("/api/sessions", json={}).json()["id"]
        found = lines(client, session, text=text, recordings=[recording], sound=False)
        assert of("instead", found)


def test_what_the_model_wrote_is_checked_before_it_is_spoken(responder, tmp_path):
    texts = ScriptedTexts(responder.model.core.config.hidden_size, f"{FIRST} Just kill yourself then.", pace=5)
    own = care("en-GB")
    engine = Engine(responder, texts=texts, care=own)
    with (
        served(engine, tmp_path, safeguards=Safeguards(own)) as (address, _),
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        session = client.post("/api/sessions", json={}).json()["id"]
        found = lines(client, session, text="Hello.", face="data")
        answer = own.after("Just kill yourself then.")
        assert of("instead", found) == [{"type": "instead", "kind": "self-harm", "notice": answer.notice}]
        assert "999" in answer.text and found[-1]["response"] == answer.text
        spoken = " ".join(word for each in of("speech", found) for word, _, _ in each["words"])
        assert spoken == f"{FIRST} {answer.text}"  # the first sentence was spoken while the second was written
        assert abs(len(sound_of(found)) / 24_000 - found[-1]["seconds"]) < 1e-3
        assert client.get(f"/api/sessions/{session}").json()["turns"][0]["reply"]["response"] == answer.text
