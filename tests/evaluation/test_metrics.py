"""The metrics against their reference implementations, and against pictures and replies whose order is known."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.parity.networks import metrics
from empatheia_jax.errors import UserError
from evaluation import accuracy, lip_sync, opinion, separation, sharpness, similarity, text
from evaluation.frames import nearest_in_time, to_gray

ROOT = Path(__file__).resolve().parents[2]


def failures(results):
    return [f"{each.file} {each.array}: {each.max_abs:.2e} > {each.bound:.0e}" for each in results if not each.passed]


def test_text_opinions_and_embeddings_equal_their_references(vectors):
    results = list(metrics.run(vectors / "metrics", 0, False))
    assert len(results) > 40
    assert not failures(results)


@pytest.mark.parametrize("file", ["cpbd.npz", "ssim.npz"])
def test_sharpness_and_similarity_equal_their_references(shared, file):
    results = list(metrics._CHECKS[file](shared / "parity" / "metrics" / file, 0, False))
    assert len(results) > 40
    assert not failures(results)


AS_FOR_A_USER = """
import sys
from pathlib import Path
from converters.parity.networks import metrics
results = list(metrics._CHECKS["syncnet.npz"](Path(sys.argv[1]), 0, False))
print(*(each.array for each in results))
sys.exit([f"{each.array}: {each.max_abs:.2e} > {each.bound:.0e}" for each in results if not each.passed] or 0)
"""


def test_syncnet_and_its_arithmetic_equal_their_reference(shared):
    # A process of its own without the flags of the tests: their programs are quick to make and round in another order, and the
    # distances stand close to their bound.
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", AS_FOR_A_USER, str(shared / "parity" / "metrics" / "syncnet.npz")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {"mfcc", "lip_embed", "audio_embed", "conf"} <= set(done.stdout.split())


def test_one_normaliser_makes_contractions_and_case_equal():
    assert text.normalise("I DON’T know, can't say.") == text.normalise("i do not know , can not say .")
    replies = [text.normalise("I am sorry."), text.normalise("I'm sorry.")]
    assert text.distinct_corpus(replies, 1) == 4 / 8


def test_a_reply_without_a_label_is_a_wrong_prediction():
    found = accuracy.emotion_accuracy([3, 4, 4], [3, -1, 4])
    assert found.accuracy == pytest.approx(2 / 3) and found.count == 3
    with pytest.raises(UserError, match="one prediction per label"):
        accuracy.emotion_accuracy([1, 2], [1])


@pytest.mark.parametrize(
    "values, message",
    [([[1, 6]], "a rating is 6"), ([[1, 2], [1]], "same number"), ([[None]], "no rating"), ([[float("inf")]], "inf")],
)
def test_a_rating_outside_the_scale_or_the_table_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        opinion.ratings(values)


def test_holm_keeps_the_order_and_never_lowers_a_p_value():
    assert opinion.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert opinion.holm([0.9, 0.8]) == [1.0, 1.0]


def test_equal_systems_do_not_differ():
    scores = opinion.ratings([[1, 2, 3, 4], [2, 2, 3, 5]])
    assert opinion.paired(scores, scores).wilcoxon_p == 1.0


def blur(picture: np.ndarray, passes: int) -> np.ndarray:
    values = picture.astype(float)
    for _ in range(passes):
        values = (np.roll(values, 1, axis=1) + values + np.roll(values, -1, axis=1)) / 3
    return values.astype(np.uint8)


def test_blur_noise_and_shift_lower_the_similarity_and_blur_the_sharpness():
    rng = np.random.default_rng(0)
    grid = 40 + 170 * (np.add.outer(np.arange(128) // 11, np.arange(128) // 13) % 2)
    # A step between two pixels has no single strongest place, so the sharp picture has ramps of three.
    picture = blur(np.repeat(grid[..., None], 3, axis=2) + rng.integers(0, 3, (128, 128, 1)), 1)
    noisy = np.clip(picture + rng.normal(0, 25, picture.shape), 0, 255).astype(np.uint8)
    for window in ("gauss11", "uniform7"):
        assert similarity.ssim(picture[None], picture[None], window)[0] == pytest.approx(1.0, abs=1e-6)
        for each in (blur(picture, 6), np.roll(picture, 2, axis=0), noisy):
            assert similarity.ssim(picture[None], each[None], window)[0] < 0.98
    assert sharpness.cpbd(to_gray(picture)) > sharpness.cpbd(to_gray(blur(picture, 6))) + 0.3


def test_sound_that_is_late_is_found_with_its_lag():
    rng = np.random.default_rng(1)
    feature = rng.normal(size=(60, 16))
    found = lip_sync.score(feature[4:44], feature[1:41])
    assert found.offset == -3 and found.confidence > 1
    assert lip_sync.score(feature[:40], rng.normal(size=(40, 16))).confidence < found.confidence / 2


def test_a_clip_that_is_too_short_is_one_line():
    with pytest.raises(UserError, match="more than 5 frames"):
        lip_sync.windows(5, 16_000)


def test_labels_that_separate_score_higher_than_shuffled_ones():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], 20)
    x = rng.normal(size=(60, 8)) + 4 * np.eye(8)[labels]
    true, shuffled = separation.separation(x, labels), separation.separation(x, rng.permutation(labels))
    assert true.silhouette_cosine > 0.5 > shuffled.silhouette_cosine
    assert true.knn_purity > 0.95 > shuffled.knn_purity
    assert separation.frechet(x, x) == pytest.approx(0.0, abs=1e-6) and separation.frechet(x, x + 1) == pytest.approx(
        8.0
    )


def test_a_film_is_brought_to_another_length_by_nearest_frames():
    assert nearest_in_time(np.arange(10), 5).tolist() == [1, 3, 5, 7, 9]
    assert nearest_in_time(np.arange(2), 4).tolist() == [0, 0, 1, 1]
