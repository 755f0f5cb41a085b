"""The evaluation's metrics: text, opinions, embeddings, sharpness, similarity, and SyncNet with its arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from converters.parity.result import Result, bound_of, compare
from converters.parity.seeded_network import seeded_network
from converters.tables.syncnet import table
from evaluation import accuracy, cepstra, lip_sync, opinion, separation, sharpness, similarity, syncnet, text
from evaluation.frames import to_gray

EXACT, OPINION, PICTURES, SYNC = 1e-12, 1e-9, 1e-6, 1e-4
PIXELS_OF_A_PIXEL = 8
"""The frames of SyncNet's vectors are stored at an eighth of their height and width."""


def matches(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CHECKS)


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    for name, check in _CHECKS.items():
        if (folder / name).is_file():
            yield from check(folder / name, seed, float64)


def _texts(path: Path, seed: int, float64: bool) -> Iterator[Result]:
    vectors = json.loads(path.read_text())
    words = [each.split() for each in vectors["texts"]]
    variants: dict[str, tuple[Callable[..., float], list[list[str]]]] = {
        "corpus_nltk": (text.distinct_corpus, vectors["nltk_tokens"]),
        "corpus_whitespace_joined_bigrams": (text.distinct_corpus_joined, words),
        "macro_whitespace_joined_bigrams": (text.distinct_macro_joined, words),
        "corpus_whitespace_bigrams_over_unigram_count": (text.distinct_over_words, words),
        "sentence_mean_lower_whitespace": (
            text.distinct_sentence_mean,
            [each.lower().split() for each in vectors["texts"]],
        ),
    }
    for name, (distinct, tokens) in variants.items():
        for measure, expected in vectors[name].items():
            ours = distinct(tokens, int(measure.removeprefix("dist")))
            yield compare(path.name, f"{name}/{measure}", ours, expected, EXACT)
    emotion = vectors["emotion"]
    pair = emotion["labels"], emotion["predictions"]
    yield compare(path.name, "emotion/accuracy", accuracy.emotion_accuracy(*pair).accuracy, emotion["accuracy"], EXACT)
    batches = "mean_of_batch_accuracies_batch16"
    yield compare(path.name, f"emotion/{batches}", accuracy.accuracy_of_batches(*pair, 16), emotion[batches], EXACT)


def _opinions(path: Path, seed: int, float64: bool) -> Iterator[Result]:
    vectors = json.loads(path.read_text())
    complete, missing = opinion.ratings(vectors["ratings"]), opinion.ratings(vectors["ratings_missing"])
    summaries = {
        "pooled": opinion.pooled(complete),
        "pooled_missing": opinion.pooled(missing),
        "utterance_means_first": opinion.by_item(missing),
        "rater_means_first": opinion.by_rater(missing),
    }
    for name, each in summaries.items():
        numbers: dict[str, Any] = {
            "n": each.n,
            "mean": each.mean,
            "std": each.std,
            "sem": each.sem,
            "ci95_normal_halfwidth": each.normal_halfwidth,
            "ci95_t": each.t_interval,
            "ci95_t_halfwidth": each.t_halfwidth,
        }
        for key, expected in vectors[name].items():
            yield compare(path.name, f"{name}/{key}", numbers[key], expected, OPINION)
    agreement = {
        "fleiss_kappa": opinion.fleiss_kappa(complete),
        "randolph_kappa": opinion.randolph_kappa(complete),
        "cohen_kappa_raters01": opinion.cohen_kappa(complete[0], complete[1]),
        "cohen_kappa_quadratic_raters01": opinion.cohen_kappa(complete[0], complete[1], weights="quadratic"),
    }
    for level in ("nominal", "ordinal", "interval"):
        agreement[f"krippendorff_alpha_{level}"] = opinion.krippendorff_alpha(complete, level)
        agreement[f"krippendorff_alpha_{level}_missing"] = opinion.krippendorff_alpha(missing, level)
    for name, ours in agreement.items():
        yield compare(path.name, name, ours, vectors[name], OPINION)
    found = opinion.paired(complete, opinion.ratings(vectors["paired_system_b_ratings"]))
    tests = {
        "mean_difference": found.mean_difference,
        "ttest_t": found.t,
        "ttest_p": found.t_p,
        "wilcoxon_statistic": found.wilcoxon,
        "wilcoxon_p": found.wilcoxon_p,
    }
    for name, expected in vectors["paired"].items():
        yield compare(path.name, f"paired/{name}", tests[name], expected, OPINION)


def _embeddings(path: Path, seed: int, float64: bool) -> Iterator[Result]:
    arrays = np.load(path)
    found = separation.separation(arrays["x"], arrays["labels"])
    names = {
        "silhouette_euclidean": found.silhouette_euclidean,
        "silhouette_cosine": found.silhouette_cosine,
        "davies_bouldin": found.davies_bouldin,
        "calinski_harabasz": found.calinski_harabasz,
        "knn5_purity": found.knn_purity,
        "loo_1nn_accuracy": found.nearest_accuracy,
        "frechet": separation.frechet(arrays["frechet_a"], arrays["frechet_b"]),
    }
    for name, ours in names.items():
        yield compare(path.name, name, ours, arrays[name], OPINION)


def _blur(path: Path, seed: int, float64: bool) -> Iterator[Result]:
    arrays = np.load(path)
    for key in arrays.files:
        name, _, what = key.partition("/")
        if what != "gray":
            continue
        gray = arrays[key]
        yield compare(path.name, f"{name}/cpbd", sharpness.cpbd(gray), arrays[f"{name}/cpbd"], PICTURES)
        if f"{name}/widths" not in arrays.files:
            continue
        values = gray.astype(float)
        edges = sharpness.sobel_edges(values)
        for kind, ours in (("canny", sharpness.canny_edges(values)), ("sobel", edges)):
            yield compare(path.name, f"{name}/{kind}", np.packbits(ours), arrays[f"{name}/{kind}"], 0.0)
        yield compare(path.name, f"{name}/widths", sharpness.edge_widths(edges, values), arrays[f"{name}/widths"], 0.0)


def _similarity(path: Path, seed: int, float64: bool) -> Iterator[Result]:
    arrays = np.load(path)
    for key in arrays.files:
        if not key.endswith("/img"):
            continue
        name = key.removesuffix("/img")
        pair = [arrays[f"{name.partition('/')[0]}/ref"][None], arrays[key][None]]
        for colour, pictures in (("rgb", pair), ("gray", [to_gray(each)[..., None] for each in pair])):
            for window in ("gauss11", "uniform7"):
                expected = arrays[f"{name}/ssim_{colour}_{window}"]
                ours = similarity.ssim(pictures[0], pictures[1], window)[0]
                yield compare(path.name, f"{name}/ssim_{colour}_{window}", ours, expected, PICTURES)
        if f"{name}/psnr_rgb" in arrays.files:
            yield compare(path.name, f"{name}/psnr_rgb", similarity.psnr(*pair)[0], arrays[f"{name}/psnr_rgb"], OPINION)


def _sync(path: Path, seed: int, float64: bool) -> Iterator[Result]:
    manifest = path.parent / "syncnet.manifest.json"
    arrays, file, config = np.load(path), path.name, syncnet.SyncNetConfig()
    yield compare(file, "mfcc", cepstra.mfcc(arrays["audio"]), arrays["mfcc"], OPINION)
    for prefix, count, shift in (("synth", None, lip_sync.SHIFT), ("short", 9, 10)):
        found = lip_sync.score(arrays["synth_feat1"][:count], arrays["synth_feat2"][:count], shift)
        numbers: dict[str, Any] = {"offset": found.offset, "conf": found.confidence, "min_dist": found.distance}
        for name, ours in numbers.items():
            yield compare(file, f"{prefix}_{name}", ours, arrays[f"{prefix}_{name}"], OPINION)
    if not manifest.is_file():
        return
    network = seeded_network(syncnet.SyncNet, config, table(config), json.loads(manifest.read_text()), seed, float64)
    frames = arrays["frames28"].repeat(PIXELS_OF_A_PIXEL, axis=1).repeat(PIXELS_OF_A_PIXEL, axis=2)
    lips, audio = lip_sync.Judge(network).embed(frames, arrays["audio"])
    # Embeddings reach 200: float32 rounds them at 2e-5, so the bound follows the largest value there. In float64 ours are rounded
    # as the stored ones are.
    for name, ours in (("lip_embed", lips), ("audio_embed", audio)):
        bound = bound_of(float64, SYNC * max(1.0, float(np.abs(arrays[name]).max()) / 100))
        yield compare(file, name, ours.astype(arrays[name].dtype), arrays[name], bound)
    found = lip_sync.score(lips, audio)
    for name, value in (("offset", found.offset), ("conf", found.confidence), ("min_dist", found.distance)):
        yield compare(file, name, value, arrays[name], SYNC)


_CHECKS: dict[str, Callable[[Path, int, bool], Iterator[Result]]] = {
    "text.json": _texts,
    "human.json": _opinions,
    "embedding.npz": _embeddings,
    "cpbd.npz": _blur,
    "ssim.npz": _similarity,
    "syncnet.npz": _sync,
}
