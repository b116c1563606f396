"""How much of the target is unknown, without its labels."""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from uda.datasets.sampling import spread

_MOST = 5000


@dataclass(frozen=True)
class UnknownShare:
    """A share of images in [0, 1] with its 95 % interval."""

    estimate: float
    low: float
    high: float


def unknown_share(
    features: np.ndarray, rejected: np.ndarray, n_classes: int, seed: int = 0, resamples: int = 2000
) -> UnknownShare:
    """Return the share of rejected images, with a bootstrap interval over clusters of images.

    features: (N, D), L2-normalized inside; rejected: (N,) bool; n_classes: K, the source's.
    A class is taken for known or unknown as a whole, so that mistakes come by classes too, and an interval over single
    images would be far too narrow. The unit that is resampled is therefore a cluster of k-means with 3K clusters. Where
    all clusters agree the bootstrap has no width: then the exact bound for m clusters of one kind stands in, at which
    the chance of such agreement is 5 % (1 − 0.05^(1/m); Clopper and Pearson, Biometrika 1934, one-sided). Of more than
    5,000 images an even sample is clustered.
    """
    estimate = float(rejected.mean())
    sample = spread(len(features), _MOST)
    features, rejected = features[sample], rejected[sample]
    rows = features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    m = min(3 * n_classes, len(np.unique(rows, axis=0)))
    cluster = KMeans(m, n_init=3, random_state=seed % 2**32).fit_predict(rows)  # scikit-learn takes 32 bits
    size = np.bincount(cluster, minlength=m).astype(float)
    unknown = np.bincount(cluster, weights=rejected.astype(float), minlength=m)
    picked = np.random.default_rng(seed).integers(0, m, (resamples, m))
    shares = unknown[picked].sum(1) / size[picked].sum(1)
    low, high = (float(bound) for bound in np.quantile(shares, [0.025, 0.975]))
    bound = 1 - 0.05 ** (1 / m)
    if not rejected.any():
        high = bound
    if rejected.all():
        low = 1 - bound
    return UnknownShare(estimate, min(low, estimate), max(high, estimate))
