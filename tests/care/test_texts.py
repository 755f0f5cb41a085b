"""The texts of a crisis come from a file, word for word."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from empatheia_jax.care.rules import KINDS
from empatheia_jax.care.texts import FILE, KEYS, Texts
from empatheia_jax.errors import UserError


def test_every_locale_answers_every_kind():
    texts = Texts.read()
    for locale in (*texts.locales, "de", "en-AU", "", "tlh-XX"):
        for key in KEYS:
            assert texts.text(key, locale).strip()


def test_a_locale_has_its_own_numbers_and_else_those_of_its_language():
    texts = Texts.read()
    assert "988" in texts.text("self-harm", "en-US") and "988" in texts.text("self-harm", "en_us")
    assert "116 123" in texts.text("self-harm", "en-GB") and "116 123" in texts.text("self-harm", "en-IE")
    assert texts.text("self-harm", "en-AU") == texts.text("self-harm", "en")


def test_the_texts_that_come_along_say_that_nobody_has_verified_them():
    texts = Texts.read()
    for locale in texts.locales:
        for kind in KINDS:
            assert texts.verified_at(kind, locale).endswith("not verified by an institution")


def test_every_number_that_comes_along_stands_in_the_file_beside_its_source():
    text = resources.files("empatheia_jax.care").joinpath(FILE).read_text(encoding="utf-8")
    notes, _, said = text.partition("\n[en]\n")
    numbers = set(re.findall(r"\b(?:\d[\d -]{1,14}\d)\b", re.sub(r"verified_at = .*", "", said)))
    assert {"988", "911", "112", "999", "116 123", "1-800-799-7233"} <= numbers
    assert all(
        re.search(rf"^#.*\b{number}\b.*\b\w+\.\w+|^# {number}.*Childhelp", notes, re.MULTILINE) for number in numbers
    )


def test_an_institution_s_file_takes_the_place_of_ours(tmp_path):
    own = tmp_path / "ours.toml"
    text = resources.files("empatheia_jax.care").joinpath(FILE).read_text(encoding="utf-8")
    text = re.sub(r'verified_at = ".*"', 'verified_at = "2026-11-20 by the clinic"', text, count=1)
    own.write_text(
        re.sub(r'(?s)self-harm = """.*?"""', 'self-harm = "Call the ward: 4711."', text, count=1), encoding="utf-8"
    )
    texts = Texts.read(own)
    assert texts.text("self-harm", "en") == "Call the ward: 4711."
    assert texts.verified_at("self-harm") == "2026-11-20 by the clinic"


def test_a_file_that_is_older_than_a_text_without_numbers_says_ours(tmp_path):
    own = tmp_path / "ours.toml"
    text = resources.files("empatheia_jax.care").joinpath(FILE).read_text(encoding="utf-8")
    own.write_text(re.sub(r"(?m)^hurtful = .*\n", "", text), encoding="utf-8")
    assert Texts.read(own).text("hurtful", "en-GB") == Texts.read().text("hurtful")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"[en", "no TOML file"),
        (b"\xff\xfe", "no TOML file"),
        (b"en = 3", "no table"),
        (b'[en]\nverified_at = "x"\nsuicide = "y"', "unknown key 'suicide'"),
        (b'[en]\nself-harm = "x"', "lacks verified_at"),
        (b'[en]\nverified_at = "x"\nself-harm = ""', "must be a text"),
        (b'[en]\nverified_at = "x"', "every text must be there in English"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(content, message, tmp_path):
    path = tmp_path / "texts.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Texts.read(path)
    assert "\n" not in str(caught.value)
