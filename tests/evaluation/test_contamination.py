"""Words that were copied from the training set."""

from __future__ import annotations

import pytest

from evaluation import contamination


def test_copied_words_are_found():
    training = contamination.TrainingReplies(["I am so sorry to hear that you lost your dog today.", "Yes."])
    words = ["well", "i", "am", "so", "sorry", "to", "hear", "that", "you", "lost", "a", "cat"]
    assert training.copied(words) == pytest.approx(9 / 12) and training.verbatim(["yes", "."])
    assert training.copied(["yes"]) == 0.0 and not training.verbatim(words)
