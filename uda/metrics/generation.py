"""How alike two sets of images are by their features: generated ones and real ones, without pairing them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr
from scipy.stats import t as student_t

from uda.metrics.arrays import as_labels, as_matrix

_BLOCK = 1024  # rows compared at once
PARTS = 10
FEWEST = 2 * PARTS
"""Images of each kind that KID with its interval wants: two in each part."""
_MOST = 1000  # images of a disjoint part, as of the published subsets


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance over parts of the images: its mean, its spread over them, and the 95 % interval of the mean.

    std has n in its denominator, as published; ci95 is None where the parts overlap, for those say less than they are.
    """

    mean: float
    std: float
    ci95: tuple[float, float] | None = None


def frechet_distance(real: ArrayLike, fake: ArrayLike) -> float | None:
    """Return the Fréchet distance of the normal distributions fitted to features (N, D) and (M, D); 0 is best.

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½), covariances with n − 1 (FID: Heusel et al., NIPS 2017, equation 6). It is
    biased upwards, the more the fewer images there are and the wider the features: state both counts beside it. None
    with fewer than two images on a side.
    """
    x, y = _pair(real, fake)
    if min(len(x), len(y)) < 2:
        return None
    difference = x.mean(axis=0) - y.mean(axis=0)
    first, second = _covariance(x), _covariance(y)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    # Σ₁Σ₂ and Σ₁^½ Σ₂ Σ₁^½ have the same eigenvalues, and the latter is symmetric: no complex roots of rounding errors.
    cross = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(max(0.0, difference @ difference + np.trace(first) + np.trace(second) - 2 * cross))


def kernel_distance(real: ArrayLike, fake: ArrayLike) -> float | None:
    """Return the unbiased squared maximum mean discrepancy of (N, D) and (M, D), kernel (x·y/D + 1)³; 0 is best.

    The Kernel Inception Distance of all images at once (Bińkowski et al., ICLR 2018, section 4); it may be negative.
    None with fewer than two images on a side.
    """
    x, y = _pair(real, fake)
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return None
    within = [_kernel_sum(a, a) - float(((a * a).sum(1) / a.shape[1] + 1).__pow__(3).sum()) for a in (x, y)]
    return within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * _kernel_sum(x, y) / (n * m)


def kid(
    real: ArrayLike, fake: ArrayLike, subsets: int = 100, size: int = 1000, seed: int = 2020
) -> KernelDistance | None:
    """Return the Kernel Inception Distance as it is published: mean and spread over random subsets of both sides.

    real: (N, D), fake: (M, D); each subset is drawn without replacement, generated images first, and subsets may share
    images. None where a side has fewer than `size` images, or size < 2.
    """
    x, y = _pair(real, fake)
    if min(len(x), len(y)) < size or size < 2 or subsets < 1:
        return None
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        theirs = y[rng.choice(len(y), size, replace=False)]
        values.append(kernel_distance(x[rng.choice(len(x), size, replace=False)], theirs))
    found = np.array(values, dtype=np.float64)
    return KernelDistance(float(found.mean()), float(found.std()))


def kid_interval(real: ArrayLike, fake: ArrayLike, parts: int = PARTS, seed: int = 0) -> KernelDistance | None:
    """Return the Kernel Inception Distance over disjoint parts of both sides, with Student's t interval over them.

    real: (N, D), fake: (M, D), each cut at random into `parts`, or more where these would have over 1,000 images. Parts
    share no image, so their distances are independent and their mean is as unbiased as each (a block estimate after
    Zaremba et al., NIPS 2013). The interval is for these two sets of images; that another run would give others is
    not in it. None where a part would have fewer than two images.
    """
    x, y = _pair(real, fake)
    fewer, more = sorted((len(x), len(y)))
    parts = max(parts, -(-more // _MOST) if fewer // 2 >= -(-more // _MOST) else parts)
    if fewer < 2 * parts:
        return None
    rng = np.random.default_rng(seed)
    cuts = [np.array_split(side[rng.permutation(len(side))], parts) for side in (x, y)]
    found = np.array([kernel_distance(a, b) for a, b in zip(*cuts, strict=True)], dtype=np.float64)
    half = float(student_t.ppf(0.975, parts - 1) * found.std(ddof=1) / np.sqrt(parts))
    mean = float(found.mean())
    return KernelDistance(mean, float(found.std()), (mean - half, mean + half))


def precision_recall(real: ArrayLike, fake: ArrayLike, neighbors: int = 3) -> tuple[float, float] | tuple[None, None]:
    """Return improved precision and recall, both in 0 … 1 (Kynkäänniemi et al., NeurIPS 2019, section 2).

    Precision is the share of generated images (M, D) that lie within the ball of some real image (N, D), which reaches
    to its k-th nearest other real image; recall the share of real images within the balls of generated ones. Distances
    are Euclidean; the edge belongs to the ball. Both are None where a side has k images or fewer.
    """
    x, y = _pair(real, fake)
    if min(len(x), len(y)) <= neighbors:
        return None, None
    inside_real, inside_fake = (_covered(y, x, neighbors), _covered(x, y, neighbors))
    return float(inside_real.mean()), float(inside_fake.mean())


def effective_classes(labels: ArrayLike, n_classes: int) -> float | None:
    """Return exp of the entropy of how often each class occurs, 1 … n_classes: how many classes there are in effect.

    labels: (N,) in 0 … n_classes − 1. Of evenly frequent classes it is their number. None without images.
    """
    given = as_labels(labels, "labels")
    if not len(given):
        return None
    counts = np.bincount(given, minlength=n_classes)
    return float(np.exp(entr(counts / counts.sum()).sum()))


def _pair(real: ArrayLike, fake: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_matrix(real, "real"), as_matrix(fake, "fake")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"features of one extractor have one width, not {x.shape[1]} and {y.shape[1]}")
    return x, y


def _covariance(x: np.ndarray) -> np.ndarray:
    centered = x - x.mean(axis=0)
    return centered.T @ centered / (len(x) - 1)


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Return the sum of the kernel over all pairs of rows."""
    blocks = (x[start : start + _BLOCK] @ y.T for start in range(0, len(x), _BLOCK))
    return float(sum(((block / x.shape[1] + 1) ** 3).sum() for block in blocks))


def _covered(points: np.ndarray, centers: np.ndarray, neighbors: int) -> np.ndarray:
    """Return which points (M, D) lie in the ball of a center (N, D) that reaches to its k-th nearest other, (M,)."""
    nearest = (np.partition(block, neighbors, axis=1) for block in _squared_distances(centers, centers))
    radii = np.concatenate([block[:, neighbors].copy() for block in nearest])  # a view would keep the whole block
    return np.concatenate([(block <= radii).any(axis=1) for block in _squared_distances(points, centers)])


def _squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the squared distances of all rows to all rows, in blocks of rows of x: all of 50,000 would take 20 GB."""
    lengths = (y * y).sum(axis=1)
    for start in range(0, len(x), _BLOCK):
        rows = x[start : start + _BLOCK]
        yield np.maximum((rows * rows).sum(axis=1)[:, None] + lengths - 2 * rows @ y.T, 0.0)
