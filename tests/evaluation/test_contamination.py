"""Words that were copied from the training set."""

from __future__ import annotations

import pytest

from empatheia_jax.conversation import schema
from evaluation import contamination, text


def test_copied_words_are_found():
    training = contamination.TrainingReplies(["I am so sorry to hear that you lost your dog today.", "Yes."])
    words = ["well", "i", "am", "so", "sorry", "to", "hear", "that", "you", "lost", "a", "cat"]
    assert training.copied(words) == pytest.approx(9 / 12) and training.verbatim(["yes", "."])
    assert training.copied(["yes"]) == 0.0 and not training.verbatim(words)


def test_all_files_of_training_count(data):
    first, second = (schema.read(data / f"{split}.json") for split in ("train", "test"))
    both = contamination.TrainingReplies.of([data / "train.json", data / "test.json"])
    for each in (*first, *second):
        assert all(both.verbatim(text.normalise(turn.response)) for turn in each.turns if turn.response)
