"""Pseudo-labels from k-means: what the clustering objectives share."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from uda.clock import Clock
from uda.errors import UserError

_ITERATIONS = 20  # as the published DeepCluster code


def default_clusters(n_images: int) -> int:
    """Return one cluster for every 128 images, as DeepCluster's 10,000 on ImageNet: at least 10, at most 10,000."""
    return min(n_images, max(10, min(10_000, n_images // 128)))


def check_clusters(objective: str, option: str, clusters: int, n_images: int) -> int:
    """Return `clusters`; UserError where there are fewer images than clusters."""
    if clusters > n_images:
        raise UserError(
            f"objective '{objective}' cannot make {clusters} clusters of {n_images} images; "
            f"set its option {option} to at most {n_images}"
        )
    return clusters


def due_every(epochs: float, clock: Clock) -> bool:
    """Return whether a multiple of so many epochs has been passed with the last step; True at step 0."""
    if clock.step == 0:
        return True
    before = replace(clock, step=clock.step - 1)
    return int(clock.epoch / epochs) > int(before.epoch / epochs)


def all_features(encode: Callable[[Tensor], Tensor], views: Callable[[], Iterator[Tensor]]) -> Tensor:
    """Return what `encode` gives for all views one after the other, (N, …) float32."""
    return torch.cat([encode(part).float() for part in views()])


def whitened(features: Tensor, components: int = 256) -> Tensor:
    """Return features on their first principal components, each scaled to variance 1, then L2-normalized by row.

    (N, D) → (N, at most components). Directions with next to no variance are left out: whitening would blow their
    rounding errors up.
    """
    centered = features - features.mean(0)
    variances, directions = torch.linalg.eigh((centered.T @ centered / len(centered)).double())
    variances, directions = variances.flip(0)[:components], directions.flip(1)[:, :components]
    kept = variances > 1e-6 * variances[0]
    kept[0] = True  # features that have collapsed to a point
    scaled = directions[:, kept] / variances[kept].clamp_min(1e-12).sqrt()
    return F.normalize(centered @ scaled.to(features.dtype))


def k_means(features: Tensor, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return labels (N,) int64 and centers (clusters, D) float32 of k-means, on the features' device.

    By scikit-learn on the CPU, in float64: the order in which its threads sum then changes no label. A cluster that
    stays empty is split off another one, so each has a member; needs N ≥ clusters. The same seed gives the same result.
    """
    rows = features.double().cpu().numpy()
    found = KMeans(clusters, init="random", n_init=1, max_iter=_ITERATIONS, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters: seen to below
        labels = found.fit(rows).labels_.astype(np.int64)
    labels = fill_empty(rows, labels, clusters, seed)
    members = torch.from_numpy(labels)
    centers = torch.zeros(clusters, rows.shape[1], dtype=torch.float64).index_add_(0, members, torch.from_numpy(rows))
    centers /= torch.bincount(members, minlength=clusters)[:, None]
    return members.to(features.device), centers.float().to(features.device)


def fill_empty(rows: np.ndarray, labels: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return labels (N,) in which every cluster has a member: empty ones are split off others (Caron et al., 2018).

    The center of a non-empty cluster, drawn at random, is perturbed along a random direction both ways and its members
    go to the nearer of the two; where all members are the same point, half of them go. rows: (N, D).
    """
    labels = labels.copy()
    generator = np.random.default_rng(seed)
    for empty in np.flatnonzero(np.bincount(labels, minlength=clusters) == 0):
        split = generator.choice(np.flatnonzero(np.bincount(labels, minlength=clusters) > 1))
        members = np.flatnonzero(labels == split)
        along = (rows[members] - rows[members].mean(0)) @ generator.standard_normal(rows.shape[1])
        below = int((along < 0).sum()) if np.ptp(along) > 1e-12 else len(members) // 2
        labels[members[np.argsort(along, kind="stable")[:below]]] = empty
    return labels


@torch.no_grad()
def restart(linear: nn.Linear, seed: int) -> list[nn.Parameter]:
    """Draw a linear layer's weights anew as DeepCluster does (normal, σ 0.01, no bias); return its parameters."""
    generator = torch.Generator().manual_seed(seed)
    linear.weight.copy_(0.01 * torch.randn(linear.weight.shape, generator=generator))
    if linear.bias is not None:
        linear.bias.zero_()
    return list(linear.parameters())
