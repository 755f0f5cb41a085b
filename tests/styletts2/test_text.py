"""Text is read the way a person reads it aloud; what cannot be spoken is dropped; nothing makes it fail."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from empatheia_jax.styletts2 import numerals
from empatheia_jax.styletts2.text import PUNCTUATION, normalise

DIGITS = frozenset(numerals.digits("0123456789").split())

SPOKEN = {
    # money
    "It cost $3.50.": "It cost three dollars and fifty cents.",
    "$1, $0.99, £1.01, ¥500": "one dollar, ninety nine cents, one pound and one penny, five hundred yen",
    "a $1.2 million house": "a one point two million dollar house",
    "1,234,567 people": "one million two hundred thirty four thousand five hundred sixty seven people",
    # dates
    "on 3/4/2021": "on March fourth, twenty twenty one",
    "2020-01-05": "January fifth, twenty twenty",
    "January 5, 2020": "January fifth, twenty twenty",
    "the 4th of July": "the fourth of July",
    "born in 1999, in the 1990s": "born in nineteen ninety nine, in the nineteen nineties",
    "In 2005 and 1905": "In two thousand five and nineteen oh five",
    # times
    "at 3:05pm or 15:30": "at three oh five P M or fifteen thirty",
    "at 10:00, at 7 a.m. sharp": "at ten o'clock, at seven A M sharp",
    "24/7 support": "twenty four seven support",
    # verses, which look like times
    "Psalm 23:4": "Psalm twenty three, verse four",
    "Matthew 5:3–12 says it.": "Matthew five, verses three to twelve says it.",
    "I read 1 Cor. 13:4-7 there.": "I read First Corinthians thirteen, verses four to seven there.",
    "Quran 2:286": "Quran two, verse two hundred eighty six",
    "I met John 10:30 at the gate": "I met John ten thirty at the gate",
    "John 3:16": "John three, verse sixteen",
    "James 1:2-4": "James one, verses two to four",
    "Meet Mark at 10:30, not Mark 5:15 pm": "Meet Mark at ten thirty, not Mark five fifteen P M",
    # numbers that people call, without a word of calling before them
    "13 14 50": "one three, one four, five zero",
    "12 13 14 15 were the pages": "twelve thirteen fourteen fifteen were the pages",
    "In an emergency 999, 112 or 911.": "In an emergency nine nine nine, one one two or nine one one.",
    "911 or 112": "nine one one or one one two",
    "pages 111, 112 and 119": "pages one hundred eleven, one hundred twelve and one hundred nineteen",
    "112 is the number in Europe.": "one one two is the number in Europe.",
    "The number here is 112.": "The number here is one one two.",
    "1 (800) 273-TALK": "one, eight hundred, two seven three talk",
    # ordinals, fractions, decimals, measures
    "the 21st century, 112th": "the twenty first century, one hundred twelfth",
    "½ cup, 2 1/2 cups, 3¾ cups": "one half cup, two and a half cups, three and three quarters cups",
    "3.14 and .5": "three point one four and zero point five",
    "20°C, -5° outside": "twenty degrees Celsius, minus five degrees outside",
    "a 5km run at 6 km/h": "a five kilometer run at six kilometers per hour",
    "50% off": "fifty percent off",
    "10-20 people": "ten to twenty people",
    "I'm 5'6\" tall": "I'm five foot six tall",
    # telephone, codes
    "Call 555-123-4567.": "Call five five five, one two three, four five six seven.",
    "Room 007": "Room zero zero seven",
    "COVID-19, B2B": "Covid nineteen, B two B",
    # abbreviations
    "Dr. Lee and Mrs. Jones vs. Mr. Smith": "Doctor Lee and Missus Jones versus Mister Smith",
    "St. John lives on Main St.": "Saint John lives on Main Street.",
    "e.g. tea, juice, etc. We": "for example tea, juice, et cetera. We",
    "The U.S.A. is big. I like the U.S. She agrees.": "The U S A is big. I like the U S. She agrees.",
    "World War II": "World War two",
    # links and markup
    "See https://www.example.com/help?x=1.": "See example dot com slash help.",
    "Write to a.b@site.org!": "Write to a dot b at site dot org!",
    "**Bold**, _soft_ and `code`": "Bold, soft and code",
    "<emo> sad </emo>": "sad",
    "- first\n- second": "first second",
    "A heading\n\nIts text.": "A heading. Its text.",
    # the numbers of a list do not run into what is dialled
    "1) Call 988\n2) Text HOME to 741741": (
        "one. Call nine eight eight. two. Text home to seven four one, seven four one"
    ),
    "- Call 988\n- Rest a bit\n- Eat": "Call nine eight eight. Rest a bit. Eat",
    "numbers: 988\n741741": "numbers: nine eight eight. seven four one, seven four one",
    # feeling
    "So sad 😢💔": "So sad",
    "Hi :) I love it <3": "Hi I love it",
    "I AM SO SORRY!!! Soooo sad... hmmm": "I am so sorry! So sad… hmm",
    "What?!?! No!!!": "What? No!",
    "i know": "I know",
    # signs
    "salt & pepper, and/or he/she": "salt and pepper, and or he or she",
    "well-known — really -- yes – no": "well known—really—yes—no",
    "“It’s fine”": "“It's fine”",
}


TABLE = [
    tuple(line.split("\t"))
    for line in (Path(__file__).parents[1] / "data" / "spoken_english.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith("# ")
]
"""Written and spoken, as a careful speaker of English reads it; one pair a line, `#` heads a group."""


@pytest.mark.parametrize("written,spoken", [*SPOKEN.items(), *TABLE])
def test_is_read_aloud_as(written, spoken):
    assert normalise(written) == spoken


def test_other_numbers_that_are_called_and_dates_that_are_not():
    assert normalise("NHS 111, option 2") == "N H S one one one, option two"
    assert normalise("1800RESPECT") == "one eight zero zero respect"
    assert normalise("call 555-0100 ext. 45") == "call five five five, zero one zero zero, extension four five"
    for date in ("01-02-2024", "01.02.2024", "01/02/2024"):
        assert "zero one" not in normalise(f"born on {date}"), date


def test_the_table_is_large():
    assert len(dict(TABLE)) >= 300


@pytest.mark.parametrize(
    "number",
    ["911", "988", "1-800-273-8255", "(555) 123-4567", "+44 20 7946 0958", "116 123", "741741", "0800 1111"]
    + [
        "(02) 9876 5432",
        "(020) 7946 0958",
        "01 42 68 53 00",
        "06 12345678",
        "030-1234567",
        "030/1234567",
        "0049 30 123456",
    ]
    + ["0345 90 90 90", "1800 737 732", "116 000", "+81-3-1234-5678", "+91 98765 43210"],
)
@pytest.mark.parametrize(
    "sentence", ["Call {}.", "Please call {} now!", "You can reach help at {}, day and night.", "{}"]
)
def test_no_digit_of_a_number_that_people_call_is_lost(sentence, number):
    wanted = [numerals.digits(digit) for digit in number if digit.isdigit()]
    said = [word for word in re.findall(r"\w+", normalise(sentence.format(number))) if word in DIGITS]
    assert said == wanted


@pytest.mark.parametrize("text", ["", "   \n\t ", "🙂", "🙂🙂 ❤️👨‍👩‍👧", "…", "?!", "***", "你好", "\x00\u200b"])
def test_what_nobody_can_say_becomes_the_empty_string(text):
    assert normalise(text) == ""


def test_plain_sentences_are_left_alone():
    for text in ("I'm so sorry you're going through this.", 'She said, "Come in"; then: silence…', "Well, yes!"):
        assert normalise(text) == text


def test_any_characters_whatever_give_only_speakable_ones():
    random = np.random.default_rng(0)
    pool = [
        chr(point) for point in [*range(0, 0x250), *range(0x2000, 0x2070), *range(0x1F600, 0x1F640), 0x4F60, 0x0663]
    ]
    for _ in range(300):
        text = normalise("".join(random.choice(pool, 40)))
        strange = [c for c in text if not (c.isalpha() or c in PUNCTUATION + "' ")]
        assert not strange, (text, strange)
        assert text == text.strip() and "  " not in text


def test_normalising_twice_changes_nothing():
    for written, _ in [*SPOKEN.items(), *TABLE]:
        once = normalise(written)
        assert normalise(once) == once


@pytest.mark.parametrize(
    "number,words",
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (101, "one hundred one"),
        (1_000_001, "one million one"),
        (-7, "minus seven"),
        (10**15, "one" + " zero" * 15),
    ],
)
def test_cardinals(number, words):
    assert numerals.cardinal(number) == words


def test_ordinals_years_and_romans():
    assert [numerals.ordinal(n) for n in (1, 2, 3, 5, 8, 9, 12, 20, 22, 100)] == (
        [
            "first",
            "second",
            "third",
            "fifth",
            "eighth",
            "ninth",
            "twelfth",
            "twentieth",
            "twenty second",
            "one hundredth",
        ]
    )
    assert [numerals.year(n) for n in (1066, 1900, 2000, 2009, 2010, 1805)] == [
        "ten sixty six",
        "nineteen hundred",
        "two thousand",
        "two thousand nine",
        "twenty ten",
        "eighteen oh five",
    ]
    assert [numerals.roman(numeral) for numeral in ("I", "IV", "IX", "XIV", "XL")] == [1, 4, 9, 14, 40]


@pytest.mark.parametrize("unit", ["1 000 ", "@ 5.30 ", "1-", "1.2", "0800 ", "a@", "18yo ", "Mon. "])
def test_the_time_grows_with_the_length_and_not_with_its_square(unit):
    def seconds(length: int) -> float:
        text, began = (unit * length)[:length], time.process_time()
        normalise(text)
        return time.process_time() - began

    seconds(100)
    short = min(seconds(1000) for _ in range(3))
    assert seconds(8000) < 24 * short + 0.05
