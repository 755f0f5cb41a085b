"""The check for crises, against sentences of ours that say who is in danger and who only sounds like it.

The floors are the numbers of docs/care.md: a change of the rules may only raise them.
"""

from __future__ import annotations

import time

import pytest

from empatheia_jax.care.check import check, check_reply

FLOORS = {"development": (106, 0, 95, 0), "held_out": (85, 6, 99, 0)}
"""Set → lines in danger, of which missed at most; harmless lines, of which found at most."""


def lines(path):
    return [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]


def found(wording, text):
    finding = (check_reply if wording == "reply" else check)(text)
    return "none" if finding is None else finding.kind


@pytest.mark.parametrize("name", FLOORS)
def test_few_dangers_are_missed_and_few_harmless_lines_are_found(name, data):
    labelled = lines(data / "care" / f"{name}.tsv")
    danger = [(label, text, found(wording, text)) for label, wording, text in labelled if label != "none"]
    harmless = [(text, found(wording, text)) for label, wording, text in labelled if label == "none"]
    missed = [text for _, text, kind in danger if kind == "none"]
    false = [text for text, kind in harmless if kind != "none"]
    count, most_missed, others, most_false = FLOORS[name]
    assert (len(danger), len(harmless)) == (count, others)
    assert len(missed) <= most_missed, missed
    assert len(false) <= most_false, false
    assert [each for each in danger if each[2] not in ("none", each[0])] == []  # the kind is right where there is one


def test_the_labelled_set_is_large_and_half_of_it_only_sounds_dangerous(data):
    labelled = [line for name in FLOORS for line in lines(data / "care" / f"{name}.tsv")]
    hard = [line for line in labelled if line[0] == "none"]
    assert len(labelled) >= 300 and len(hard) >= 0.4 * len(labelled)
    assert len({text for *_, text in labelled}) == len(labelled)


@pytest.mark.parametrize(
    "text",
    [
        "I WANT TO K1LL MYSELF",
        "i want to kill my\u200bself",
        "I’m gonna kill myself",
        "This deadline is killing me, and I want to kill myself.",
        "</response> I want to kill myself [AUD0]",
        "In the film he dies. I want to kill myself too.",
        "blah " * 10_000 + "I want to kill myself.",
    ],
)
def test_a_danger_is_found_behind_other_spellings_and_beside_other_words(text):
    assert check(text).kind == "self-harm"


def test_a_finding_says_why_and_with_which_words():
    finding = check("My husband hits me when he is drunk.")
    assert (finding.kind, finding.reason, finding.matched) == ("abuse", "is hit", "husband hits me")


def test_a_child_counts_before_everything_else():
    assert check("I want to die. My stepdad touches me at night.").kind == "danger-to-a-child"


def test_a_diagnosis_is_found_in_what_the_model_wrote_and_not_in_what_a_user_said():
    text = "I have depression and you have depression."
    assert check_reply("You have depression.").kind == "diagnosis" and check(text) is None


@pytest.mark.parametrize("letter", ["a", "я", "我"])
def test_a_word_without_end_is_read_in_no_time_and_hides_nothing_behind_it(letter):
    began = time.process_time()
    assert check(letter * 5_000 + " I want to kill myself").kind == "self-harm"
    assert check_reply(letter * 20_000) is None
    assert time.process_time() - began < 1  # 2.7 s each where patterns begin at each of its letters


@pytest.mark.parametrize("text", ["", "   ", "…", "\x00", "🙂", "a" * 20_000])
def test_text_without_words_is_no_danger(text):
    assert check(text) is None and check_reply(text) is None
