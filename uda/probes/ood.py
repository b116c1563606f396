"""Unknown-scores (N,) of images from what a network says of them: higher means more unknown, in float64.

Each is a pure function; `unknown_scores` gives all that the network's outputs allow, by name. Logits and features are
detached; UserError where they are not finite. `uda.metrics.ood_metrics` measures what a score is worth.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from uda.errors import UserError
from uda.probes.features import checked, finite
from uda.probes.knn import neighbors
from uda.ssl import functional


def max_softmax(logits: Tensor) -> Tensor:
    """Return −maxₖ pₖ, (N, K) → (N,) in [−1, −1/K] (Hendrycks and Gimpel, ICLR 2017, section 2)."""
    return -_exact(logits).softmax(1).amax(1)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return −T · log Σₖ exp(zₖ / T), (N, K) → (N,) (Liu et al., NeurIPS 2020, equation 4)."""
    if not temperature > 0:
        raise UserError(f"energy with temperature={temperature}: give a positive temperature, such as 1")
    return -temperature * (_exact(logits) / temperature).logsumexp(1)


def entropy(logits: Tensor) -> Tensor:
    """Return −Σₖ pₖ log pₖ in nats, (N, K) → (N,) in [0, log K]."""
    return functional.entropy(_exact(logits))


@dataclass(frozen=True)
class ClassGaussians:
    """One Gaussian a class, with a covariance that all share.

    means: (K, D) of the classes that have images; covariance: (D, D), positive definite; shrinkage: the
    share of a multiple of the identity in it, 0 if the empirical covariance was used as it is.
    """

    means: Tensor
    covariance: Tensor
    shrinkage: float


def fit_class_gaussians(features: Tensor, labels: Tensor | np.ndarray, n_classes: int) -> ClassGaussians:
    """Fit each class's mean and the covariance about them, tied over classes (Lee et al., NeurIPS 2018, equation 1).

    features: (N, D) with labels (N,) in 0 … n_classes − 1; classes without images have no Gaussian. The covariance is
    divided by N. Where it is singular (fewer images than dimensions, dimensions that are always the same), it is shrunk
    toward a multiple of the identity by as much as Ledoit and Wolf (2004) find best, as scikit-learn computes it.
    Raises UserError where no image differs from its class's mean; other errors as `uda.probes.features.checked`.
    """
    features, truth = checked(features, labels, n_classes)
    features = features.double()
    there, row = truth.unique(return_inverse=True)
    counts = torch.bincount(row, minlength=len(there))[:, None]
    means = torch.zeros(len(there), features.shape[1], dtype=features.dtype, device=features.device)
    means = means.index_add_(0, row, features) / counts
    centered = features - means[row]
    covariance, shrinkage = centered.T @ centered / len(features), 0.0
    if not bool(covariance.diagonal().sum() > 0):
        raise UserError(
            "every image has the features of its class's mean, which leaves no covariance: give more images"
        )
    if int(torch.linalg.matrix_rank(covariance, hermitian=True)) < len(covariance):
        shrunk, share = ledoit_wolf(centered.cpu().numpy(), assume_centered=True)
        covariance, shrinkage = torch.as_tensor(shrunk, device=features.device), float(share)
    return ClassGaussians(means, covariance, shrinkage)


def mahalanobis(features: Tensor, gaussians: ClassGaussians) -> Tensor:
    """Return the squared Mahalanobis distance to the nearest class's mean, (N, D) → (N,) (Lee et al., equation 2).

    On the features of one layer, without the paper's input preprocessing and its weights for several layers, which both
    need unknown images to be tuned on.
    """
    root = torch.linalg.cholesky(gaussians.covariance)

    def whitened(points: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(root, points.T, upper=False).T

    points = _exact(features).to(gaussians.means.device)
    apart = torch.cdist(whitened(points), whitened(gaussians.means), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.amin(1) ** 2


def knn_distance(features: Tensor, bank: Tensor, k: int = 50) -> Tensor:
    """Return the distance to the k-th nearest training feature, all L2-normalized (Sun et al., ICML 2022, section 3).

    features: (N, D), bank: (M, D) → (N,) in [0, 2]; k is cut to M. The paper takes k = 50 for CIFAR-10, 200 for
    CIFAR-100 and 1,000 for ImageNet. Raises UserError for k below 1 or an empty bank.
    """
    if k < 1:
        raise UserError(f"distance to the neighbor k={k}: give a k of at least 1")
    if not len(bank):
        raise UserError("there are no training images to measure the distance to; check the folder")
    bank = _exact(bank)
    features = _exact(features).to(bank.device)
    cosines = [nearest[:, -1] for _, nearest, _ in neighbors(features, bank, k)]
    return (2 - 2 * torch.cat(cosines)).clamp_min(0).sqrt() if cosines else features.new_zeros(0)


def rotation_score(logits: Tensor, rotation_logits: Tensor) -> Tensor:
    """Return −KL(uniform ‖ p) plus the mean cross-entropy of the four rotations (Hendrycks et al., NeurIPS 2019, 4).

    logits: (N, K) of the upright image; rotation_logits: (N, 4, 4), in row r those of the image turned r times (see
    `by_image`) → (N,). An image is unknown where the classes are unsure and its turns are mistaken.
    """
    log_p = _exact(logits).log_softmax(1)
    divergence = -math.log(log_p.shape[1]) - log_p.mean(1)
    turns = torch.arange(rotation_logits.shape[1], device=rotation_logits.device)
    return one_class_score([rotation_logits], [turns]) / len(turns) - divergence


def one_class_score(logits: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Return −Σ log p(right transform), over all views and heads (Hendrycks et al., NeurIPS 2019, section 4).

    logits: of each head (N, V, C), of V transformed views of every image (see `by_image`); targets: of each head (V,)
    int64, what was done to the view → (N,). The paper's three heads tell rotation and two shifts apart.
    """
    total = None
    for head, right in zip(logits, targets, strict=True):
        n, views = head.shape[:2]
        losses = F.cross_entropy(_exact(head.flatten(0, 1)), right.to(head.device).repeat(n), reduction="none")
        score = losses.view(n, views).sum(1)
        total = score if total is None else total + score
    if total is None:
        raise ValueError("one_class_score needs the logits of at least one head")
    return total


def by_image(logits: Tensor, n_views: int) -> Tensor:
    """Return logits of whole batches in a row, as `rotate_four_ways` makes them, by image: (V · N, C) → (N, V, C)."""
    return logits.unflatten(0, (n_views, -1)).transpose(0, 1)


def unknown_scores(
    logits: Tensor,
    features: Tensor | None = None,
    train_features: Tensor | None = None,
    train_labels: Tensor | np.ndarray | None = None,
    rotation_logits: Tensor | None = None,
    k: int = 50,
) -> dict[str, Tensor]:
    """Return by name every score (N,) that the arguments allow.

    logits (N, K): max_softmax, energy, entropy; features (N, D) and train_features (M, D): knn; train_labels (M,) too:
    mahalanobis; rotation_logits (N, 4, 4): rotation.
    """
    scores = {"max_softmax": max_softmax(logits), "energy": energy(logits), "entropy": entropy(logits)}
    if features is not None and train_features is not None:
        scores["knn"] = knn_distance(features, train_features, k)
        if train_labels is not None:
            fitted = fit_class_gaussians(train_features, train_labels, logits.shape[1])
            scores["mahalanobis"] = mahalanobis(features, fitted)
    if rotation_logits is not None:
        scores["rotation"] = rotation_score(logits, rotation_logits)
    return scores


def _exact(values: Tensor) -> Tensor:
    """Return finite values in float64: float32 cannot tell a softmax of 1 − 1e-8 from 1, and ties cost ranks."""
    return finite(values).double()
