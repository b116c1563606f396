"""Groups among images that fit no known class: candidates for new classes, found without labels."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from uda.datasets.sampling import spread

# On features of tf_efficientnet_lite0, images of one class of amazon or caltech10 reach .06 to .10 however they are
# divided, and those of two to seven classes .17 to .28.
SEPARATED = 0.12
_FEWEST = 10  # images that are divided at all


@dataclass(frozen=True)
class Groups:
    """M images in groups, the largest first.

    group: (M,) int64 from 0 on; distance: (M,) cosine distance to the group's center, in [0, 2]; rank: (M,) int64, 0
    for the image nearest to it. silhouette: how well the groups are separated, in [−1, 1]; None where there is one.
    """

    group: np.ndarray
    distance: np.ndarray
    rank: np.ndarray
    silhouette: float | None

    @property
    def sizes(self) -> np.ndarray:
        """The images of each group, (k,) int64, descending."""
        return np.bincount(self.group)

    def members(self, group: int) -> np.ndarray:
        """Return the rows of a group, those nearest to its center first."""
        rows = np.flatnonzero(self.group == group)
        return rows[np.argsort(self.rank[rows])]


def discover(features: np.ndarray, most: int = 20, sample: int = 2000) -> Groups:
    """Group features (M, D) by direction; neither labels nor a number of groups are needed.

    Ward's tree (JASA 1963) over the L2-normalized features is cut into 2, 3, …, `most` groups (at most √M: the same
    thing taken several times would be a group otherwise), and the cut with the highest silhouette (Rousseeuw, J.
    Comput. Appl. Math. 1987) is taken; where none reaches SEPARATED, nothing is divided. The tree is made of at most
    `sample` evenly spaced images, and all then join the nearest center, so that the time is bounded. Nothing is random.
    ValueError for features of another shape or that are not finite.
    """
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features must be finite and of two dimensions (M, D), not of shape {features.shape}")
    rows = spread(len(features), sample) if len(features) else np.arange(0)
    drawn = _directions(features[rows])
    labels, silhouette = _cut(drawn, min(most, math.isqrt(len(drawn))))
    centers = _directions(np.stack([drawn[labels == i].mean(0) for i in range(labels.max(initial=-1) + 1)] or [drawn]))
    group, distance = _nearest(features, centers)
    found, sizes = np.unique(group, return_counts=True)
    number = np.zeros(len(centers), dtype=np.int64)
    number[found[np.argsort(-sizes, kind="stable")]] = np.arange(len(found))
    group = number[group]
    order = np.lexsort((distance, group))
    rank = np.empty(len(group), dtype=np.int64)
    first = np.cumsum(np.bincount(group)) - np.bincount(group)
    rank[order] = np.arange(len(group)) - first[group[order]]
    return Groups(group, distance, rank, silhouette if len(found) > 1 else None)


def _cut(rows: np.ndarray, most: int) -> tuple[np.ndarray, float | None]:
    """Return labels (M,) of the chosen cut through Ward's tree over unit rows (M, D), and its silhouette."""
    one = np.zeros(len(rows), dtype=np.int64), None
    if most < 2 or len(rows) < _FEWEST:
        return one
    between = np.sqrt(np.clip(2 - 2 * rows @ rows.T, 0, None))
    np.fill_diagonal(between, 0)
    if between.max() < 1e-6:  # copies of one image
        return one
    tree = linkage(squareform(between, checks=False), "ward")
    cuts = [fcluster(tree, k, "maxclust").astype(np.int64) - 1 for k in range(2, most + 1)]
    scored = [
        (float(silhouette_score(between, labels, metric="precomputed")), labels) for labels in cuts if labels.max() > 0
    ]
    silhouette, labels = max(scored, key=lambda cut: cut[0], default=(0.0, one[0]))
    return (labels, silhouette) if silhouette >= SEPARATED else one


def _nearest(features: np.ndarray, centers: np.ndarray, chunk: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row of features (M, D) the nearest of unit centers (k, D), and the cosine distance to it."""
    group, distance = np.zeros(len(features), dtype=np.int64), np.zeros(len(features))
    for start in range(0, len(features), chunk):
        similarity = _directions(features[start : start + chunk]) @ centers.T
        group[start : start + chunk] = similarity.argmax(1)
        distance[start : start + chunk] = np.clip(1 - similarity.max(1), 0, 2)
    return group, distance


def _directions(rows: np.ndarray) -> np.ndarray:
    """Return rows (M, D) of length 1 in float64: sums then round too little for threads to change a label."""
    rows = rows.astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
