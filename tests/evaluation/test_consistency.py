"""Do text, voice and face agree: the probes, the shuffled pairs, and the best of several samples."""

from __future__ import annotations

import numpy as np

from evaluation import consistency, rerank


def people(count, seed=0):
    """Replies whose voice and face tell the gender; the expression stands in the voice alone."""
    rng, observed, labels = np.random.default_rng(seed), {}, {}
    for k in range(count):
        gender, sad = k % 2, k // 2 % 2
        pitch = [200 - 90 * gender + rng.normal(0, 8), 3 + 3 * sad + rng.normal(0, 0.4), -20, 10, 0.5, 3]
        face = [*(100 + 40 * gender + rng.normal(0, 5, 4))]
        observed[f"{k}_0"] = consistency.Observed(pitch, face)
        labels[f"{k}_0"] = {"gender": ("female", "male")[gender], "expression": ("happy", "sad")[sad]}
    return observed, labels


def test_voice_and_face_of_one_person_agree_and_of_two_do_not():
    probes, (observed, labels) = consistency.Probes(*people(60)), people(40, seed=1)
    names = list(observed)

    def score(a, b):
        return consistency.agreement(probes.read("voice", observed[a].voice), probes.read("face", observed[b].face))

    true = [score(a, a) for a in names]
    other = [score(a, b) for a, b in zip(names, names[1:] + names[:1])]  # the next one has the other gender
    assert np.mean(np.array(true) > np.array(other)) > 0.95
    found = [consistency.style(probes.read("voice", observed[a].voice), labels[a]) for a in names]
    assert np.mean(found) > 0.85
    assert consistency.style({}, labels[names[0]]) is None and consistency.agreement({}, {}) is None


def test_pairs_are_shuffled_across_dialogues_only():
    dialogues = {f"{d}_{t}": str(d) for d in range(3) for t in range(2)}
    found = consistency.partner(list(dialogues), dialogues)
    assert len(found) == 6 and all(dialogues[a] != dialogues[b] for a, b in found.items())
    assert consistency.partner(["1_0", "1_1"], {"1_0": "1", "1_1": "1"}) == {}


def test_the_best_sample_is_the_one_that_agrees_most():
    scores = {"a": {"VCA": 3.0, "MSC": 0.5, "SCA": 1.0}, "b": {"VCA": 9.0, "MSC": 0.9}, "c": {"VCA": 1.0, "MSC": 0.8}}
    assert rerank.best(scores) == "b"
    assert rerank.best({"a": {"VCA": 1.0}, "b": {"VCA": 1.0}}) == "a"
