"""How well embeddings separate by a label (Figure 7), and the Fréchet distance of two sets.

Scores are taken on the original embeddings, never on a t-SNE layout of them, whose distances mean little.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg
from sklearn import metrics
from sklearn.neighbors import NearestNeighbors

from empatheia_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Separation:
    """Higher is better for all but Davies-Bouldin. knn_purity: share of the 5 nearest neighbours with the same label."""

    silhouette_euclidean: float
    silhouette_cosine: float
    davies_bouldin: float
    calinski_harabasz: float
    knn_purity: float
    nearest_accuracy: float


def neighbours(x: Float[np.ndarray, "N D"], count: int) -> Int[np.ndarray, "N K"]:
    """Indices of each row's nearest other rows."""
    found = NearestNeighbors(n_neighbors=count + 1).fit(x).kneighbors(return_distance=False)
    return np.asarray(found)[:, :count]


def separation(x: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> Separation:
    """Separation of `x` by `labels`.

    Raises:
        UserError: fewer than two labels, or a number of labels that does not fit.
    """
    if len(x) != len(labels) or len(set(labels.tolist())) < 2 or len(x) < 7:
        raise UserError(
            f"{len(x)} embeddings with {len(set(labels.tolist()))} labels; expected 7 or more with 2 or more labels"
        )
    near = labels[neighbours(x, 5)]
    return Separation(
        float(metrics.silhouette_score(x, labels)),
        float(metrics.silhouette_score(x, labels, metric="cosine")),
        float(metrics.davies_bouldin_score(x, labels)),
        float(metrics.calinski_harabasz_score(x, labels)),
        float((near == labels[:, None]).mean()),
        float((near[:, 0] == labels).mean()),
    )


def frechet(a: Float[np.ndarray, "N D"], b: Float[np.ndarray, "M D"]) -> float:
    """Squared Fréchet distance of two sets as Gaussians: |μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½), covariances by n − 1."""
    mean = a.mean(axis=0) - b.mean(axis=0)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(first @ second)
    return float(mean @ mean + np.trace(first + second - 2 * np.real(root)))


def probe_accuracy(x: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], folds: int = 5) -> tuple[float, float]:
    """What a linear probe reads out of embeddings: (its accuracy in cross-validation, that of always saying the most frequent
    label).

    For leakage: emotions read from P, profiles read from E. Labels with fewer than `folds` samples are left out.

    Raises:
        UserError: fewer than two labels have enough samples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(labels)
    kept = counts[labels] >= folds
    x, labels = x[kept], labels[kept]
    if len(set(labels.tolist())) < 2:
        raise UserError(f"fewer than two labels have {folds} samples or more; nothing can be probed")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    cut = StratifiedKFold(folds, shuffle=True, random_state=0)
    scores = cross_val_score(probe, x, labels, cv=cut)
    return float(scores.mean()), float(np.bincount(labels).max() / len(labels))
