"""The speaker: text of any length in, clean speech out; content and style from outside; bad input in one line."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import soundfile
from kokoro_symbols import KOKORO
from toy_voice import WIDTH, Letters, ToyVoice, toy_voices

from empatheia_jax import tiny
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2 import __main__ as command
from empatheia_jax.styletts2 import synthesis
from empatheia_jax.styletts2.durations import MAX_FRAMES, whole_durations
from empatheia_jax.styletts2.joins import FADE, FRAME
from empatheia_jax.styletts2.reference import prepare_reference, without_silence_around
from empatheia_jax.styletts2.speaker import LONGEST_PIECE, Sampling, Speaker
from empatheia_jax.styletts2.symbols import STYLETTS2
from empatheia_jax.styletts2.synthesis import FRAMES, TOKENS
from empatheia_jax.styletts2.voices import Voice, VoiceTable

TEXT = "i hear you, my friend. that must have been hard! do you want to talk about it? we have all the time we need."


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker(ToyVoice(), KOKORO, toy_voices(), Letters())


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_what_was_said_is_described(speaker):
    speech = speaker.say(TEXT, voice="low")
    assert speech.samples.dtype == np.float32 and np.isfinite(speech.samples).all()
    assert len(speech.samples) == FRAME * speech.durations.sum()
    assert len(speech.durations) == len(speech.token_ids) == len(speaker.token_ids(TEXT))
    assert speech.phonemes == TEXT == speaker.phonemes(TEXT)
    assert speech.seconds == len(speech.samples) / 24_000
    pieces = KOKORO.pieces(speech.token_ids)
    assert len(pieces) > 1 and " ".join(KOKORO.decode(piece) for piece in pieces) == TEXT


def test_the_stream_is_the_whole_in_pieces(speaker):
    whole = speaker.say(TEXT, seed=3)
    pieces = list(speaker.stream(TEXT, seed=3))
    assert len(pieces) > 1
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in pieces]), whole.samples)
    np.testing.assert_array_equal(np.concatenate([piece.durations for piece in pieces]), whole.durations)


def test_joins_make_no_clicks(speaker):
    """Around every join the largest step between samples is no larger than inside the words."""
    pieces = list(speaker.stream(TEXT))
    joined = np.concatenate([piece.samples for piece in pieces])
    middle = pieces[0].samples[len(pieces[0].samples) // 3 : len(pieces[0].samples) // 2]
    inside = np.abs(np.diff(middle)).max()
    for end in np.cumsum([len(piece.samples) for piece in pieces])[:-1]:
        assert np.abs(np.diff(joined[end - 2 * FADE : end + 2 * FADE])).max() <= inside
    assert joined[0] == 0 and abs(joined[-1]) < 1e-6


def test_the_second_sentence_compiles_nothing():
    speaker = Speaker(ToyVoice(), KOKORO, toy_voices(), Letters())
    speaker.say("this is the first sentence.")
    assert speaker.compilations == 2  # one program per stage
    for text in ("and this here is the second.", "short.", "a third one, a little bit longer."):
        speaker.say(text, voice="high", speed=1.1, seed=7)
    assert speaker.compilations == 2


def test_the_same_seed_gives_the_same_sound_and_another_does_not(speaker):
    first = speaker.say(TEXT, seed=1).samples
    np.testing.assert_array_equal(speaker.say(TEXT, seed=1).samples, first)
    assert np.abs(speaker.say(TEXT, seed=2).samples - first).max() > 1e-4


def test_padding_does_not_change_the_sound(monkeypatch):
    """Of another padded length: same noise, same words."""
    text = "a few words only, said by a friend."
    ours = Speaker(ToyVoice(), KOKORO, toy_voices(), Letters()).say(text)
    monkeypatch.setattr(synthesis, "FRAMES", FRAMES[1:])
    monkeypatch.setattr(synthesis, "TOKENS", TOKENS[1:])
    theirs = Speaker(ToyVoice(), KOKORO, toy_voices(), Letters()).say(text)
    np.testing.assert_allclose(ours.samples, theirs.samples, atol=1e-5)


def test_batched_pieces_sound_as_single_ones(speaker):
    batched = Speaker(ToyVoice(), KOKORO, toy_voices(), Letters(), batch=3)
    copies = next(n for n in range(3, 9) if len(list(speaker.passages(" ".join([TEXT] * n)))) % 3 == 0)
    text = " ".join([TEXT] * copies)  # one piece alone, full batches, two pieces and a filler
    ours, theirs = batched.say(text), speaker.say(text)
    np.testing.assert_allclose(ours.samples, theirs.samples, atol=1e-5)
    np.testing.assert_array_equal(ours.durations, theirs.durations)


def test_speed_and_pitch_do_what_they_say(speaker):
    normal, fast = (speaker.say(TEXT, voice="low", speed=speed) for speed in (1.0, 2.0))
    assert fast.durations.sum() < 0.7 * normal.durations.sum()

    def hertz(speech):
        middle = speech.samples[24_000:36_000]
        return np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) * 24_000 / len(middle)

    assert hertz(speaker.say(TEXT, voice="low", pitch=1.5)) == pytest.approx(1.5 * hertz(normal), rel=0.05)
    manner = Voice((("low", 1.0),), speed=2.0)
    np.testing.assert_array_equal(speaker.say(TEXT, voice=manner).samples, fast.samples)


# --- where Empatheia enters -------------------------------------------------------------------------------------


def test_the_text_encoders_own_frames_as_content_change_nothing(speaker):
    content = speaker.content_frames(speaker.token_ids(TEXT))
    assert content.shape == (len(speaker.token_ids(TEXT)), WIDTH)
    plain = speaker.say(TEXT).samples
    np.testing.assert_allclose(speaker.say(TEXT, content=content).samples, plain, atol=1e-6)
    np.testing.assert_allclose(speaker.say(TEXT, content=0 * content, content_share=0).samples, plain, atol=1e-6)


def test_content_replaces_or_blends_piece_by_piece(speaker):
    ids = speaker.token_ids(TEXT)
    content = speaker.content_frames(ids)
    first = len(KOKORO.pieces(ids)[0])
    content[first:] *= 0.25  # the toy's loudness follows the frames
    plain = list(speaker.stream(TEXT))
    ours = list(speaker.stream(TEXT, content=content))
    np.testing.assert_allclose(ours[0].samples, plain[0].samples, atol=1e-6)
    assert rms(ours[1].samples) == pytest.approx(0.25 * rms(plain[1].samples), rel=0.1)
    half = list(speaker.stream(TEXT, content=content, content_share=0.5))
    assert rms(half[1].samples) == pytest.approx(0.625 * rms(plain[1].samples), rel=0.1)


def test_a_second_half_of_the_content_takes_the_place_of_the_bert_states():
    """U7: durations and curves follow the second half alone, the sound of the phonemes the first."""
    speaker = tiny.speaker()
    speaker._phonemizer, speaker.symbols = Letters(), KOKORO
    text = "i hear you, my dear friend. it was hard!"
    ids, width = speaker.token_ids(text), speaker.model.config.hidden_dim
    first, second = KOKORO.pieces(ids)
    content = speaker.content_frames(ids, bert=True)
    np.testing.assert_allclose(content[:, :width], speaker.content_frames(ids), atol=1e-6)
    plain = speaker.say(text)
    np.testing.assert_allclose(speaker.say(text, content=content).samples, plain.samples, atol=1e-5)

    other = content.copy()
    other[len(first) :, width:] = 9 * np.random.default_rng(0).standard_normal((len(second), width))
    pieces = list(speaker.stream(text, content=other))
    same, changed = np.split(plain.samples, [len(pieces[0].samples)])
    np.testing.assert_allclose(pieces[0].samples, same, atol=1e-5)
    assert np.abs(pieces[1].samples - changed).max() > 1e-3
    np.testing.assert_allclose(speaker.say(text, content=other, content_share=0).samples, plain.samples, atol=1e-5)

    style = np.zeros((1, 2 * speaker.model.config.style_dim), np.float32)
    (own,) = speaker._synthesis.prosody([second], style)
    (given,) = speaker._synthesis.prosody([second], style, [other[len(first) :, width:]])
    np.testing.assert_allclose(given[0], own[0], atol=1e-6)  # the text's frames
    assert np.abs(given[2] - own[2]).max() > 1e-3  # the durations before they are rounded

    other = content.copy()
    other[:, :width] = 0
    other = speaker.say(text, content=other)
    np.testing.assert_array_equal(other.durations, plain.durations)
    assert np.abs(other.samples - plain.samples).max() > 1e-3


def test_a_style_vector_stands_in_for_the_voice(speaker):
    text = "one piece of text."
    style = speaker.voice_style("high", len(text))
    np.testing.assert_array_equal(speaker.say(text, style=style).samples, speaker.say(text, voice="high").samples)
    np.testing.assert_array_equal(speaker.say(text, style=style).style, style)
    assert np.abs(speaker.say(text, style=style + 0.5).samples[:40_000].std()) > 0


def test_the_single_speaker_release_gets_five_frames_more_at_the_end():
    ids = np.array([5.0, 5.0, 5.0])
    np.testing.assert_array_equal(whole_durations(ids, 1.0, last_extra=5), [5, 5, 10])
    np.testing.assert_array_equal(whole_durations(ids, 2.0), [2, 2, 2])  # rounded half to even
    np.testing.assert_array_equal(whole_durations(0 * ids, 1.0), [1, 1, 1])


def test_a_style_that_asks_for_minutes_stays_within_bounds():
    durations = whole_durations(np.full(200, 50.0), 0.5)
    assert MAX_FRAMES - 200 <= durations.sum() <= MAX_FRAMES and durations.min() >= 1


# --- text of any length, bad input ------------------------------------------------------------------------------


def test_ten_thousand_words_are_spoken_in_bounded_memory():
    spelling = Letters()
    speaker = Speaker(ToyVoice(), KOKORO, toy_voices(), spelling)
    text = "so many words that nobody wants to hear them. " * 1_100  # 9,900 words
    pieces = speaker.stream(
        text + "the end of ten thousand words, and then some more of the words, and more, good bye."
    )
    next(pieces)
    assert spelling.asked < 10  # lazy: the sound starts before the text was read to its end
    peaks = []
    tracemalloc.start()
    for _ in range(3):
        for piece in itertools.islice(pieces, 8):
            assert len(piece.samples) <= MAX_FRAMES * FRAME
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
    tracemalloc.stop()
    assert max(peaks) < 60e6 and peaks[2] < 1.1 * peaks[0]  # no growth from piece to piece
    assert speaker.compilations <= len(TOKENS) + len(FRAMES)
    lengths = [len(passage.token_ids) for passage in speaker.passages(text)]  # the whole text
    assert len(lengths) > 300 and max(lengths) <= TOKENS[-1]


def test_a_sentence_without_end_is_cut(speaker):
    endless = "word " * 400
    passages = list(speaker.passages(endless))
    assert all(len(passage.phonemes) <= LONGEST_PIECE for passage in passages)
    assert "".join(p.phonemes for p in passages).replace(" ", "") == "word" * 400


def bad(speaker, text="hello there.", **options) -> str:
    with pytest.raises(UserError) as caught:
        speaker.say(text, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "  \n\t ", "🙂🙂", "…!?", "你好"])
def test_a_text_without_words_is_refused(speaker, text):
    assert "nothing to say" in bad(speaker, text)
    with pytest.raises(UserError):
        speaker.stream(text)  # at once, not at the first piece
    with pytest.raises(UserError):
        speaker.token_ids(text)


def test_symbols_outside_the_table_are_refused_in_phonemes_and_dropped_from_text(speaker):
    assert "你" in bad(speaker, "həlˈoʊ 你", ipa=True)
    assert speaker.say("həlˈoʊ.", ipa=True).phonemes == "həlˈoʊ."
    assert speaker.phonemes("hello 你 there") == "hello there"


@pytest.mark.parametrize(
    "options,word",
    [
        ({"style": np.full(256, np.nan)}, "NaN"),
        ({"style": np.zeros(128)}, "(256,)"),
        ({"style": np.zeros((1, 256))}, "(256,)"),
        ({"content": np.zeros((3, WIDTH))}, "(14, 512)"),
        ({"content": np.zeros((14, 7))}, "(14, 512)"),
        ({"content": np.full((14, WIDTH), np.inf)}, "infinite"),
        ({"content": np.zeros((14, WIDTH)), "content_share": 1.5}, "content_share"),
        ({"voice": "nobody"}, "nobody"),
        ({"speed": 0.0}, "speed"),
        ({"speed": float("nan")}, "speed"),
        ({"pitch": 9.0}, "pitch"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(speaker, options, word):
    assert word in bad(speaker, **options)


def test_weights_without_voices_want_a_style():
    speaker = Speaker(ToyVoice(), KOKORO, VoiceTable({}), Letters())
    assert "style vector" in bad(speaker)
    assert len(speaker.say("hello.", style=np.zeros(256)).samples)


def test_weights_without_style_encoders_or_diffusion_say_so(speaker):
    with pytest.raises(UserError, match="no style encoders"):
        speaker.style_of(np.ones(48_000))
    assert "diffusion" in bad(speaker, sampling=Sampling())
    for options in ({"steps": 1}, {"alpha": 2.0}, {"carry": float("nan")}):
        with pytest.raises(UserError, match="expected"):
            Sampling(**options)


def hum(seconds: float, rate: int = 24_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * 150 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_a_reference_may_be_stereo_or_telephone_quality_with_silence_around_it():
    mono = prepare_reference(hum(2.2))
    assert mono.shape == (48_000,)  # whole half seconds
    np.testing.assert_allclose(prepare_reference(np.stack([hum(2.2)] * 2, 1)), mono, atol=1e-6)
    assert prepare_reference(hum(2.2, 8_000), 8_000).shape == mono.shape
    quiet = np.zeros(24_000, np.float32)
    assert prepare_reference(np.concatenate([quiet, hum(2.2), quiet])).shape == mono.shape


@pytest.mark.parametrize(
    ("before", "hummed", "after", "kept"),
    [(10_000, 30_000, 9_000, (9_216, 40_960)), (0, 30_000, 5_000, (0, 31_232)), (700, 48_000, 0, (0, 48_700))],
)
def test_silence_around_the_words_ends_where_librosa_ends_it(before, hummed, after, kept):
    """`kept` is what `librosa.effects.trim(wave, top_db=30)` of librosa 0.11 gave."""
    fading = hum(hummed / 24_000) * np.linspace(1, 0.1, hummed, dtype=np.float32)
    wave = np.concatenate([np.zeros(before, np.float32), fading, np.zeros(after, np.float32)])
    np.testing.assert_array_equal(without_silence_around(wave), wave[slice(*kept)])


@pytest.mark.parametrize(
    "wave,word",
    [
        (np.zeros(48_000), "silent"),
        (np.zeros(0), "silent"),
        (hum(0.1), "0.10 s"),
        (np.concatenate([np.zeros(48_000), hum(0.5)]), "0.5"),
        (np.full(48_000, np.nan), "NaN"),
        (np.zeros((2, 3, 4)), "shape"),
    ],
)
def test_recordings_that_are_no_reference_are_refused(wave, word):
    with pytest.raises(UserError, match=word):
        prepare_reference(wave)


@pytest.mark.parametrize("ids", [[], [[1, 2]], [0.5], [500], [-1]])
def test_token_ids_that_are_none_are_refused(speaker, ids):
    with pytest.raises(UserError, match="token ids"):
        speaker.content_frames(np.array(ids))


def test_pieces_of_an_open_table_start_with_a_pad_only():
    speaker = Speaker(ToyVoice(), STYLETTS2, toy_voices(), Letters())
    speech = speaker.say(TEXT)
    assert [piece[0] for piece in STYLETTS2.pieces(speech.token_ids)] == [0] * len(list(speaker.passages(TEXT)))
    assert len(speaker.content_frames(speech.token_ids)) == len(speech.token_ids)


def test_a_text_is_the_same_bits_whatever_was_said_before():
    short, long = "Yes.", "and so it goes on and on " * 12
    alone = {text: Speaker(ToyVoice(), STYLETTS2, toy_voices(), Letters()).say(text).samples for text in (short, TEXT)}
    speaker = Speaker(ToyVoice(), STYLETTS2, toy_voices(), Letters())
    compiled = []
    for text in (long, TEXT, short, long, TEXT):
        samples = speaker.say(text).samples
        compiled.append(speaker.compilations)
        if text in alone:
            np.testing.assert_array_equal(samples, alone[text])
    assert compiled[0] < compiled[2] == compiled[-1]  # the shorter ones had programs of their own, once


# --- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, speaker, tmp_path):
    monkeypatch.setattr(command.weights, "find", lambda name: name)
    monkeypatch.setattr(command.Speaker, "load", lambda folder, phonemizer: speaker)

    def go(*arguments):
        return command.main([*arguments, f"--output={tmp_path / 'x.wav'}"])

    return go


def test_the_command_writes_what_say_gives(run, speaker, tmp_path, capsys):
    assert run(TEXT, "--voice=high", "--seed=5") == 0
    written, rate = soundfile.read(tmp_path / "x.wav", dtype="float32")
    assert rate == 24_000
    np.testing.assert_allclose(written, speaker.say(TEXT, voice="high", seed=5).samples, atol=1 / 32768)
    assert "x.wav" in capsys.readouterr().out
    assert run("--voices") == 0
    assert capsys.readouterr().out.split() == ["low", "high"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("",),
        ("🙂",),
        ("hello", "--voice=nobody"),
        ("hello", "--voice=low", "--profile=young,male,mild"),
        ("hello", "--profile=young"),
        ("hello", "--profile=baby,male,mild"),
        ("hello", "--speed=100"),
        ("hello", "--reference=/nowhere.wav"),
        ("你", "--ipa"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(run, tmp_path, capsys, arguments):
    assert run(*arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
