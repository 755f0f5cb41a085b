"""The page's interface: sessions, replies as they are made, interruptions, films, uploads, notices, marks."""

from __future__ import annotations

import contextlib
import io
import json
import time

import av
import httpx
import numpy as np
import pytest

from empatheia_jax.care.answers import CrisisAnswers
from empatheia_jax.care.texts import Texts
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.media import transcription
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.image import png_bytes
from empatheia_jax.provenance.marks import Marks
from empatheia_jax.server.house import Measured
from tests.server.running import served
from tests.server.scripted import CHAIN, REPLY, ScriptedEngine


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    engine = ScriptedEngine()
    folder = tmp_path_factory.mktemp("server")
    with served(engine, folder) as (address, house), httpx.Client(base_url=address, timeout=20) as client:
        yield client, house, engine


@pytest.fixture
def client(server):
    return server[0]


@pytest.fixture
def session(client):
    return client.post("/api/sessions", json={"profile": {"age": "young", "gender": "male", "tone": "mild"}}).json()[
        "id"
    ]


def events(client, session, **said):
    """All events of a reply, and its id."""
    answer = client.post(f"/api/sessions/{session}/turns", json={"text": "Hello.", **said})
    assert answer.status_code == 200, answer.text
    found = [json.loads(line) for line in answer.text.splitlines()]
    return found, found[0]["reply"]


def of(kind, found):
    return [event for event in found if event["type"] == kind]


def test_a_reply_streams_steps_words_sound_and_motion(client, session):
    found, _ = events(client, session, face="data")
    assert found[0]["face"] == "data" and {step["name"]: step["value"] for step in of("step", found)} == CHAIN
    assert "".join(event["text"] for event in of("text", found)) == REPLY == found[-1]["response"]
    assert [word for event in of("speech", found) for word, _, _ in event["words"]] == REPLY.split()
    frames = sum(event["frames"] for event in of("motion", found))
    assert abs(frames / 25 - found[-1]["seconds"]) <= 1 / 25 and not of("frames", found)
    # About 2 kB a second of motion: 34 half floats a frame, as base64.
    assert sum(len(event["values"]) for event in of("motion", found)) / (frames / 25) < 2_500


def test_the_server_chooses_between_film_and_data_by_what_it_measured(client, session):
    assert (
        Measured(24.0, True).face == "data"
        and Measured(31.0, True).face == "film"
        and Measured(2.0, False).face == "film"
    )
    assert events(client, session)[0][0]["face"] == "data"  # the renderer of this server draws 5 frames a second
    assert events(client, session, face="film")[0][0]["face"] == "film"
    assert [event["type"] for event in events(client, session, face="none", sound=False)[0]].count("speech") == 0


def test_a_film_streams_and_has_the_length_of_the_sound(client, session):
    found, reply = events(client, session, face="film")
    film = client.get(f"/api/sessions/{session}/turns/{reply}/film")
    assert film.headers["content-type"] == 'video/mp4; codecs="avc1.42E01F, mp4a.40.2"'
    assert film.content[4:8] == b"ftyp" and film.content.count(b"moof") > 3
    whole = client.get(f"/api/sessions/{session}/turns/{reply}/reply.mp4")
    assert whole.headers["content-disposition"].startswith("attachment")
    for content in (film.content, whole.content):
        with av.open(io.BytesIO(content)) as file:
            assert file.streams.video[0].codec_context.profile == "Constrained Baseline"
            frames = sum(1 for _ in file.decode(video=0))
        assert abs(frames / 25 - found[-1]["seconds"]) <= 0.04
    with av.open(io.BytesIO(whole.content)) as file:
        assert abs(file.duration / 1e6 - found[-1]["seconds"]) <= 0.06


def test_a_film_arrives_while_it_is_made(tmp_path):
    with (
        served(ScriptedEngine(pace=0.15), tmp_path) as (address, _),
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        session = client.post("/api/sessions", json={}).json()["id"]
        with client.stream("POST", f"/api/sessions/{session}/turns", json={"text": "Hello.", "face": "film"}) as answer:
            lines = answer.iter_lines()
            reply = json.loads(next(lines))["reply"]
            with client.stream("GET", f"/api/sessions/{session}/turns/{reply}/film") as film:
                assert next(film.iter_bytes())
                before = [json.loads(line)["type"] for line in [next(lines)]]
            assert before == ["step"] or "done" not in before
            assert json.loads(list(lines)[-1])["type"] == "done"


def test_a_reply_downloads_as_sound_and_text(client, session):
    found, reply = events(client, session)
    at = f"/api/sessions/{session}/turns/{reply}"
    for ending in ("wav", "mp3", "opus"):
        assert (
            client.get(f"{at}/reply.{ending}").headers["content-disposition"]
            == f'attachment; filename="reply.{ending}"'
        )
    assert client.get(f"{at}/reply.json").json()["response"] == REPLY
    assert client.get(f"{at}/reply.mp4").status_code == client.get(f"{at}/reply.exe").status_code == 404
    assert client.get(f"/api/sessions/{'0' * 32}/turns/{reply}/reply.json").status_code == 404


def test_an_edited_step_gives_another_reply(client, session):
    events(client, session)
    found, _ = events(client, session, text=None, again=True, chain_edits={"speaker_emotion": "proud"})
    assert (
        found[-1]["response"].startswith("You feel proud")
        and len(client.get(f"/api/sessions/{session}").json()["turns"]) == 1
    )


def test_an_interruption_keeps_the_words_that_were_heard(tmp_path):
    with (
        served(ScriptedEngine(pace=0.3), tmp_path) as (address, _),
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        session = client.post("/api/sessions", json={}).json()["id"]
        with client.stream("POST", f"/api/sessions/{session}/turns", json={"text": "Hello."}) as answer:
            lines = answer.iter_lines()
            reply = json.loads(next(lines))["reply"]
            while json.loads(next(lines))["type"] != "speech":
                pass
            said = client.post(f"/api/sessions/{session}/turns/{reply}/cancel", json={"seconds": 0.8}).json()["heard"]
            last = [json.loads(line) for line in lines]
        assert said == " ".join(REPLY.split()[:3]) and last[-1]["type"] == "done" and not last[-1]["finished"]
        assert not of("speech", last)
        turn = client.get(f"/api/sessions/{session}").json()["turns"][0]
        assert turn["reply"]["heard"] == said and not turn["reply"]["finished"]


def test_a_client_that_leaves_frees_its_place_within_half_a_second(tmp_path):
    engine = ScriptedEngine(pace=5.0)
    with served(engine, tmp_path) as (address, _), httpx.Client(base_url=address, timeout=20) as client:
        session = client.post("/api/sessions", json={}).json()["id"]
        chat = {"model": "empatheia", "messages": [{"role": "user", "content": "Hello."}]}
        for path, body in (
            (f"/api/sessions/{session}/turns", {"text": "Hello."}),
            ("/v1/chat/completions", chat),
            ("/v1/chat/completions", {**chat, "stream": True}),
        ):
            gone = contextlib.suppress(httpx.ReadTimeout)
            with gone, client.stream("POST", path, json=body, timeout=1.0) as answer:
                next(answer.iter_raw())
            ends = time.monotonic() + 0.5
            while engine.running and time.monotonic() < ends:
                time.sleep(0.01)
            assert not engine.running, path


def test_a_killed_server_finds_its_sessions_again(tmp_path):
    with served(ScriptedEngine(), tmp_path) as (address, _), httpx.Client(base_url=address, timeout=20) as client:
        session = client.post(
            "/api/sessions", json={"profile": {"age": "child", "gender": "female", "tone": "mild"}}
        ).json()["id"]
        found, reply = events(client, session)
        client.post(f"/api/sessions/{session}/turns/{reply}/heard", json={"seconds": 1.3})
        before = client.get(f"/api/sessions/{session}").json()
    # Nothing is written when a server ends: this one might as well have been killed.
    with served(ScriptedEngine(), tmp_path) as (address, _), httpx.Client(base_url=address, timeout=20) as client:
        assert client.get(f"/api/sessions/{session}").json() == before and before["turns"][0]["reply"]["heard"]
        assert client.get("/api/sessions").json()["sessions"] == [{"id": session, "turns": 1, "begins": "Hello."}]
        assert client.delete(f"/api/sessions/{session}").status_code == 204
        assert client.get("/api/sessions").json()["sessions"] == [] and not list((tmp_path / "sessions").iterdir())


def test_uploads_are_sound_films_and_pictures(client, server, tmp_path):
    _, house, engine = server
    write_wav(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    sound = client.post("/api/uploads", content=(tmp_path / "a.wav").read_bytes()).json()
    assert (sound["kind"], sound["seconds"], sound["sound"]) == ("speech", 1.0, True)
    picture = png_bytes(np.zeros((40, 30, 3), np.uint8))
    form = client.post("/api/uploads", files={"file": ("../../etc/passwd", picture)}).json()
    assert form["kind"] == "picture" and not form["sound"]
    session = client.post("/api/sessions", json={}).json()["id"]
    events(client, session, text="Look.", recordings=[sound["id"], form["id"]])
    _, request = engine.asked[-1]
    assert request.speech == house.uploads.folder / sound["id"] and request.video == house.uploads.folder / form["id"]
    assert client.get(f"/api/sessions/{session}").json()["turns"][0]["recordings"] == ["speech", "video"]
    write_wav(tmp_path / "long.wav", np.zeros(70 * 8_000, np.float32), 8_000)
    answer = client.post("/api/uploads", content=(tmp_path / "long.wav").read_bytes())
    assert answer.status_code == 400 and "at most 60 s" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "said, word",
    [
        ({"text": ""}, "no words"),
        ({"txt": "x"}, "txt is no field"),
        ({"text": 5}, "words"),
        ({"text": "x", "emotion": "hungry"}, "emotion"),
        ({"text": "x", "chain_edits": {"mood": "x"}}, "mood"),
        ({"text": "x", "chain_edits": {"speaker_emotion": "flabberwocked"}}, "flabberwocked"),
        ({"text": "x", "pipeline": True, "chain_edits": {"emotion_cause": "x"}}, "pipeline"),
        ({"text": "x", "profile": {"age": "old"}}, "profile.age"),
        ({"text": "x", "seed": -1}, "seed"),
        ({"text": "x", "face": "mask"}, "face"),
        ({"text": "x", "decoding": {"temperature": -1}}, "temperature"),
        ({"again": True}, "nothing was said"),
    ],
)
def test_a_wrong_field_is_one_line(client, session, said, word):
    answer = client.post(f"/api/sessions/{session}/turns", json=said)
    assert answer.status_code == 400 and word in answer.json()["error"]["message"]
    assert client.get(f"/api/sessions/{session}").json()["turns"] == []


def test_numbers_for_a_monitor(client, session):
    events(client, session, face="film")
    text = client.get("/metrics").text
    for name in ("first_text_seconds", "first_sound_seconds", "first_frame_seconds", "tokens_per_second"):
        assert float(text.split(f"empatheia_{name}_count ")[1].split()[0]) >= 1
    assert "empatheia_engine_waiting 0.0" in text and 'end="complete"' in text


def test_a_server_that_is_not_warm_is_alive_but_not_ready(tmp_path):
    with served(ScriptedEngine(), tmp_path, measured=None) as (address, house):
        assert httpx.get(f"{address}/healthz").status_code == 200 and httpx.get(f"{address}/readyz").status_code == 503
        house.warm()
        assert httpx.get(f"{address}/readyz").status_code == 200


def test_the_notices_are_those_of_the_texts_and_of_the_locale(tmp_path):
    own = Texts.read()
    with served(ScriptedEngine(), tmp_path, safeguards=Safeguards(CrisisAnswers(own, "en-GB"))) as (address, _):
        told = httpx.get(f"{address}/api/info").json()["notices"]
    assert own.notices("en-GB").items() <= told.items() and told["unheard"] == ""


def test_a_server_that_cannot_transcribe_says_so_before_a_microphone_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(transcription, "is_installed", lambda: False)
    with served(ScriptedEngine(), tmp_path) as (address, _):
        assert "not checked for a crisis" in httpx.get(f"{address}/api/info").json()["notices"]["unheard"]


def test_what_is_said_in_a_recording_is_the_text_of_a_turn_without_words(client, server, tmp_path, monkeypatch):
    monkeypatch.setattr(transcription, "words", lambda sound: "I lost my keys.")
    engine = server[2]
    write_wav(tmp_path / "a.wav", np.zeros(16_000, np.float32), 16_000)
    recording = client.post("/api/uploads", content=(tmp_path / "a.wav").read_bytes()).json()["id"]
    session = client.post("/api/sessions", json={}).json()["id"]
    for text, said in (("", "I lost my keys."), ("My purse, too.", "My purse, too.")):
        found, _ = events(client, session, text=text, recordings=[recording])
        request = engine.asked[-1][1]
        assert request.text == found[0]["said"] == said and request.transcript == "I lost my keys."


def test_sound_and_finished_files_are_marked(tmp_path):
    class Silenced(Marks):
        """Marks that anybody can see."""

        def __init__(self):
            super().__init__(watermark=False, signature=False)

        def sound(self, samples, rate):
            return samples * 0

        def sign(self, path, facts=None):
            path.write_bytes(path.read_bytes() + b"\0\0\0\x08free")

    with (
        served(ScriptedEngine(), tmp_path, safeguards=Safeguards(marks=Silenced())) as (address, _),
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        session = client.post("/api/sessions", json={}).json()["id"]
        found, reply = events(client, session, face="film")
        assert not any(set(event["pcm"]) - set("A=") for event in of("speech", found))
        for ending in ("mp4", "wav"):
            assert client.get(f"/api/sessions/{session}/turns/{reply}/reply.{ending}").content.endswith(b"free")
