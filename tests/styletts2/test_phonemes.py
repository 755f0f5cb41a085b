"""Phonemes in StyleTTS2's spelling, symbol tables, sentences of bounded length."""

from __future__ import annotations

import numpy as np
import pytest
from kokoro_symbols import KOKORO

from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.phonemes import phonemizer
from empatheia_jax.styletts2.sentences import bucket, split_long, split_sentences
from empatheia_jax.styletts2.symbols import STYLETTS2, SymbolTable
from empatheia_jax.styletts2.text import normalise


@pytest.fixture(scope="module")
def gruut():
    pytest.importorskip("gruut", reason="needs the extra demo")
    pytest.importorskip("gruut_lang_en", reason="needs the extra demo")
    return phonemizer("gruut")


@pytest.fixture(scope="module")
def reference(shared):
    with np.load(shared / "parity/kokoro/kokoro_ref.npz") as arrays:
        voices = ("af_heart", "am_michael")
        return [{key: arrays[f"{voice}.{key}"] for key in ("text", "phonemes", "tokens")} for voice in voices]


def edits(ours: str, theirs: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(theirs) + 1))
    for i, a in enumerate(ours, 1):
        previous, row = row, [i]
        for j, b in enumerate(theirs, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
    return row[-1]


# --- phonemes ---------------------------------------------------------------------------------------------------


def test_espeak_gives_the_reference_phonemes_exactly(reference):
    pytest.importorskip("phonemizer", reason="needs the extra espeak (GPL-3)")
    pytest.importorskip("espeakng_loader", reason="needs the extra espeak (GPL-3)")
    espeak = phonemizer("espeak")
    for case in reference:
        assert espeak(normalise(str(case["text"]))) == str(case["phonemes"])


def test_gruut_differs_from_the_reference_phonemes_in_at_most_one_symbol_of_twenty(gruut, reference):
    theirs = [str(case["phonemes"]) for case in reference]
    ours = [gruut(normalise(str(case["text"]))) for case in reference]
    assert sum(map(edits, ours, theirs)) <= sum(map(len, theirs)) / 20


@pytest.mark.parametrize(
    "text,ipa",
    [
        ("water, pretty", "wˈɔːɾɚ, pɹˈɪɾi"),  # flap
        ("roses wanted", "ɹˈoʊzᵻz wˈɔntᵻd"),  # weak endings
        ("about the news", "ɐbˌaʊt ðə nˈuːz"),  # reduced first vowel, function word, no yod
        ("first bird", "fˈɜːst bˈɜːd"),
        ("talk, job", "tˈɔːk, dʒˈɑːb"),
        ("I", "aɪ"),
        ("FBI", "ˈɛf bˈiː aɪ"),
    ],
)
def test_gruut_is_respelled_as_espeak_writes(gruut, text, ipa):
    assert gruut(text).replace("ɐbˈaʊt", "ɐbˌaʊt") == ipa


def test_punctuation_stays_where_it_was(gruut):
    assert gruut("Yes; no: oh, well! Really? Yes…").translate({ord(c): None for c in "ˈˌː"}) == (
        "jɛs; noʊ: oʊ, wɛl! ɹɪli? jɛs…"
    )
    assert gruut('"Yes—no," (she) said.').count('"') == 2


def test_words_nobody_knows_are_guessed(gruut):
    assert len(gruut("Zyxthorp flibbered")) > 10


@pytest.mark.parametrize("text", list("abcdefghijklmnopqrstuvwxyz") + ["The quick brown fox jumps over the lazy dog."])
def test_both_tables_know_every_symbol_of_english(gruut, text):
    ipa = gruut(text)
    for table in (STYLETTS2, KOKORO):
        assert table.decode(table.encode(ipa)) == ipa


def test_unknown_phonemizer_is_refused():
    with pytest.raises(UserError, match="auto, gruut or espeak"):
        phonemizer("festival")


def test_without_any_phonemizer_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install"):
        phonemizer()


# --- symbol tables ----------------------------------------------------------------------------------------------


def test_kokoro_tokens_of_the_reference(reference):
    for case in reference:
        assert KOKORO.encode(str(case["phonemes"])) == case["tokens"][0].tolist()


def test_sizes_and_differences_of_the_tables():
    assert (STYLETTS2.size, KOKORO.size) == (178, 178)
    assert len(KOKORO.numbers) == 114
    assert STYLETTS2.encode("a b") == [0, 43, 16, 44] and KOKORO.encode("a b") == [0, 43, 16, 44, 0]
    different = [s for s, number in KOKORO.numbers.items() if STYLETTS2.numbers.get(s) != number]
    assert len(different) == 11
    assert STYLETTS2.numbers["'"] == 176 and STYLETTS2.numbers["ᵻ"] == 177  # the doubled apostrophe shifts the last


def test_symbols_outside_the_table_are_replaced_or_refused():
    assert KOKORO.fit("gɫɝ") == "ɡlɜɹ"
    with pytest.raises(UserError, match="你"):
        KOKORO.encode("h你ə")
    with pytest.raises(UserError, match="no phonemes"):
        KOKORO.encode("\u0329")
    with pytest.raises(UserError, match="no phonemes"):
        KOKORO.encode("")


@pytest.mark.parametrize("table", [STYLETTS2, KOKORO])
def test_pieces_of_a_text_can_be_told_apart(table):
    pieces = [table.encode(text) for text in ("ab", "c", "a b c")]
    found = table.pieces(np.concatenate(pieces))
    assert [piece.tolist() for piece in found] == pieces


def test_each_table_spells_punctuation_as_its_model_was_trained():
    assert STYLETTS2.spell("wˈɛl, jˈɛs!") == "wˈɛl , jˈɛs !"
    assert KOKORO.spell("wˈɛl, jˈɛs!") == "wˈɛl, jˈɛs!"


def test_the_pad_is_no_symbol_of_a_text():
    with pytest.raises(UserError, match="\\$"):
        STYLETTS2.encode("a$b")


def test_a_broken_vocabulary_is_refused():
    with pytest.raises(UserError, match="single symbols"):
        SymbolTable.from_vocab("x", {"ab": 1})
    with pytest.raises(UserError, match="single symbols"):
        SymbolTable.from_vocab("x", {})


# --- sentences --------------------------------------------------------------------------------------------------


def test_sentences_are_split_after_their_marks():
    text = normalise('Dr. Lee paid $3.50. "Really?" Yes… I did! And then')
    assert split_sentences(text) == [
        "Doctor Lee paid three dollars and fifty cents.",
        '"Really?"',
        "Yes…",
        "I did!",
        "And then",
    ]
    assert split_sentences("") == split_sentences("... !") == []


@pytest.mark.parametrize("limit", [1, 7, 20, 64, 500])
def test_pieces_are_bounded_and_lose_nothing(limit):
    random = np.random.default_rng(limit)
    for _ in range(50):
        text = "".join(random.choice(list("abcdef ,;—."), 300))
        pieces = list(split_long(text, limit))
        assert all(0 < len(piece) <= limit for piece in pieces)
        assert "".join("".join(pieces).split()) == "".join(text.split())


def test_long_sentences_are_cut_at_a_clause_before_a_word():
    assert list(split_long("one two, three four five", 16)) == ["one two,", "three four five"]
    assert list(split_long("one two three four five", 16)) == ["one two three", "four five"]
    assert list(split_long("abcdefgh", 3)) == ["abc", "def", "gh"]


def test_buckets():
    assert [bucket(n, (16, 32)) for n in (1, 16, 17, 32)] == [16, 16, 32, 32]
    with pytest.raises(ValueError):
        bucket(33, (16, 32))
