"""OpenAI's own client talks to the server."""

from __future__ import annotations

import base64
import io

import av
import httpx
import numpy as np
import openai
import pytest
import soundfile

from empatheia_jax.conversation.schema import Profile
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from tests.server.running import served
from tests.server.scripted import REPLY, ScriptedEngine

HELLO = [{"role": "user", "content": "I moved here in March."}]


def connected(address):
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none is needed here", max_retries=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    engine = ScriptedEngine()
    with served(engine, tmp_path_factory.mktemp("server")) as (address, _), connected(address) as client:
        yield client, engine


@pytest.fixture
def client(server):
    return server[0]


@pytest.fixture
def engine(server):
    return server[1]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A wav, a webm as a browser records it, and a film with sound; their bytes by name."""
    folder = tmp_path_factory.mktemp("recordings")
    sound = (0.2 * np.sin(np.arange(16_000) / 20)).astype(np.float32)
    write_wav(folder / "a.wav", sound, 16_000)
    with VideoWriter(folder / "a.mp4", 25, (32, 32), audio=sound, audio_rate=16_000) as film:
        film.write(np.zeros((25, 32, 32, 3), np.uint8))
    target = io.BytesIO()
    with av.open(target, "w", format="webm") as file:
        stream = file.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.repeat(sound, 3)[None], format="flt", layout="mono")
        frame.rate = 48_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000, frame_size=stream.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            file.mux(stream.encode(piece))
    return {"wav": (folder / "a.wav").read_bytes(), "mp4": (folder / "a.mp4").read_bytes(), "webm": target.getvalue()}


def url(content, kind):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_the_models_are_the_run_and_its_pipeline(client):
    assert [model.id for model in client.models.list()] == ["empatheia", "empatheia-pipeline"]
    assert client.models.retrieve("empatheia").owned_by == "empatheia-jax"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4o'"):
        client.models.retrieve("gpt-4o")


def test_a_text_is_answered_with_text(client):
    answer = client.chat.completions.create(model="empatheia", messages=HELLO)
    choice = answer.choices[0]
    assert choice.message.content == REPLY and choice.finish_reason == "stop" and choice.message.audio is None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert choice.message.empatheia["chain"]["speaker_emotion"] == "lonely"


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus", "aac", "pcm16"])
def test_a_voice_answers_in_every_format(client, form):
    answer = client.chat.completions.create(
        model="empatheia", messages=HELLO, modalities=["text", "audio"], audio={"voice": "onyx", "format": form}
    )
    audio = answer.choices[0].message.audio
    content = base64.b64decode(audio.data)
    words = len(REPLY.split())
    if form == "pcm16":
        seconds = len(content) / 2 / 24_000
    else:
        with av.open(io.BytesIO(content)) as file:
            seconds = sum(frame.samples / frame.rate for frame in file.decode(audio=0))
    assert audio.transcript == REPLY and audio.id.startswith("audio_") and audio.expires_at > answer.created
    assert seconds == pytest.approx(0.25 * words, abs=0.11)  # coders pad to whole frames
    assert answer.choices[0].message.empatheia["profile"] == {"age": "middle-aged", "gender": "male", "tone": "gentle"}


def test_text_streams_as_deltas(client):
    chunks = list(
        client.chat.completions.create(
            model="empatheia", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(pieces) > 1 and "".join(pieces) == REPLY and chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_sound_streams_with_its_transcript(client):
    chunks = client.chat.completions.create(
        model="empatheia",
        messages=HELLO,
        stream=True,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "pcm16"},
    )
    deltas = [
        found for chunk in chunks if (found := chunk.model_dump(exclude_none=True)["choices"][0]["delta"].get("audio"))
    ]
    samples = b"".join(base64.b64decode(delta["data"]) for delta in deltas if "data" in delta)
    assert "".join(delta.get("transcript", "") for delta in deltas) == REPLY
    assert len(samples) / 2 / 24_000 == pytest.approx(0.25 * len(REPLY.split()), abs=1e-3)
    assert len({delta["id"] for delta in deltas}) == 1 and deltas[-1]["expires_at"]


def test_recordings_come_as_input_audio_data_urls_and_uploads(client, engine, recordings):
    uploaded = client.files.create(file=("mine.webm", recordings["webm"]), purpose="user_data")
    content = [
        {"type": "text", "text": "Look at me."},
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(recordings["wav"]).decode(), "format": "wav"}},
        {"type": "video_url", "video_url": {"url": url(recordings["mp4"], "video/mp4")}},
    ]
    client.chat.completions.create(model="empatheia", messages=[{"role": "user", "content": content}])
    _, request = engine.asked[-1]
    assert request.text == "Look at me." and soundfile.info(request.speech).format == "WAV"
    assert request.video.read_bytes() == recordings["mp4"]
    content = [{"type": "audio_url", "audio_url": {"url": uploaded.id}}]
    client.chat.completions.create(model="empatheia", messages=[{"role": "user", "content": content}])
    _, request = engine.asked[-1]
    assert request.text == "" and request.speech.read_bytes() == recordings["webm"] and request.video is None
    assert client.files.delete(uploaded.id).deleted
    with pytest.raises(openai.NotFoundError, match="there is no upload"):
        client.chat.completions.create(model="empatheia", messages=[{"role": "user", "content": content}])


def test_the_history_is_what_was_said_before(client, engine):
    spoken = client.chat.completions.create(
        model="empatheia", messages=HELLO, modalities=["text", "audio"], audio={"voice": "alloy", "format": "wav"}
    ).choices[0]
    messages = [
        {"role": "system", "content": "You are a pirate."},
        *HELLO,
        {"role": "assistant", "audio": {"id": spoken.message.audio.id}},
        {"role": "user", "content": "My sister."},
        {"role": "user", "content": "She moved away."},
    ]
    answer = client.chat.completions.create(model="empatheia", messages=messages)
    session, request = engine.asked[-1]
    assert [(turn.said, turn.reply.answer.response) for turn in session.turns[:-1]] == [(HELLO[0]["content"], REPLY)]
    assert request.text == "My sister. She moved away."
    assert answer.choices[0].message.empatheia["ignored"] == ["messages[0] (system)"]


def test_what_openai_does_not_have_goes_into_one_object(client, engine):
    ours = {
        "profile": {"age": "elderly", "gender": "male", "tone": "gentle"},
        "emotion": "happy",
        "chain_edits": {"speaker_emotion": "proud"},
        "film": True,
    }
    answer = client.chat.completions.create(
        model="empatheia", messages=HELLO, seed=7, temperature=0.2, extra_body={"empatheia": ours}
    )
    _, request = engine.asked[-1]
    assert request.profile == Profile("elderly", "male", "gentle") and request.emotion == "happy" and request.seed == 7
    assert request.chain_edits == {"speaker_emotion": "proud"} and request.decoding.temperature == 0.2
    found = answer.choices[0].message
    assert found.content.startswith("You feel proud") and found.empatheia["shown"]["emotion"] == "happy"
    film = httpx.get(str(client.base_url).removesuffix("/v1/") + found.empatheia["film"])
    with av.open(io.BytesIO(film.content)) as file:
        assert {stream.type for stream in file.streams} == {"video", "audio"}


def test_the_pipeline_is_another_model(client, engine):
    answer = client.chat.completions.create(model="empatheia-pipeline", messages=HELLO)
    assert engine.asked[-1][1].pipeline and answer.choices[0].message.empatheia["chain"]["speaker_emotion"] is None


def test_a_text_is_spoken(client):
    for form in ("mp3", "wav", "pcm"):
        sound = client.audio.speech.create(
            model="empatheia", voice="elderly-female-mild", input="I am here.", response_format=form
        )
        assert len(sound.content) > 1_000
    with client.audio.speech.with_streaming_response.create(
        model="empatheia", voice="nova", input="I am here."
    ) as sound:
        assert b"".join(sound.iter_bytes())
    with pytest.raises(openai.BadRequestError, match="there is no voice 'darth'"):
        client.audio.speech.create(model="empatheia", voice="darth", input="I am here.")


@pytest.mark.parametrize(
    "extra, param",
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"temperature": 3}, "temperature"),
        ({"modalities": ["smell"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0].type"),
        ({"extra_body": {"empatheia": {"film": "yes"}}}, "empatheia.film"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_names_the_field(client, extra, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "empatheia", "messages": HELLO, **extra})
    assert caught.value.body["param"] == param and caught.value.type == "invalid_request_error"


def test_a_full_server_says_when_to_come_again(tmp_path):
    with (
        served(ScriptedEngine(places=0), tmp_path) as (address, _),
        connected(address) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="empatheia", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "7" and caught.value.code == "rate_limit_exceeded"


def test_a_fault_of_the_server_is_not_told_but_counted(tmp_path):
    engine = ScriptedEngine(fault=KeyError("a secret place"))
    with served(engine, tmp_path) as (address, _), connected(address) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model="empatheia", messages=HELLO)
        assert "secret" not in str(caught.value)
        assert 'empatheia_replies_total{end="failed",interface="openai"} 1.0' in httpx.get(f"{address}/metrics").text
