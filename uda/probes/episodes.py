"""Few-shot episodes on features computed once: thousands at a time, the same ones for every model."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.errors import UserError, unknown_name
from uda.probes.features import finite
from uda.random import hash_bits

_CELLS = 1 << 24  # numbers of features gathered at once: 64 MiB in float32
_LAST_63_BITS = (1 << 63) - 1


@dataclass(frozen=True)
class Episodes:
    """Rows of the features that each of E episodes takes: support (E, ways, shots) and query (E, ways, queries) int64.

    classes: (E, ways) int64 are the labels of an episode's ways; unlabelled: (E, ways, m) further images of them whose
    labels a semi-supervised classifier does not look at, m is 0 for others.
    """

    classes: Tensor
    support: Tensor
    query: Tensor
    unlabelled: Tensor

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class EpisodeAccuracy:
    """Accuracy over episodes: per_episode (E,) float64, their mean, and ci95 = 1.96 · std / √E (None for one episode).

    per_way: (E, ways) float64, of each way's queries. Two models on the same episodes are compared by
    `uda.metrics.paired_difference` of their per_episode.
    """

    per_episode: np.ndarray
    mean: float
    ci95: float | None
    per_way: np.ndarray

    def per_class(self, classes: Tensor) -> dict[int, float]:
        """Return the mean accuracy of each class over the episodes that it is in; classes: those of the episodes."""
        numbers, accuracies = classes.cpu().numpy().ravel(), self.per_way.ravel()
        return {int(number): float(accuracies[numbers == number].mean()) for number in np.unique(numbers)}


def sample_episodes(
    labels: Tensor | np.ndarray,
    n_episodes: int,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    seed: int = 0,
    unlabelled: int = 0,
) -> Episodes:
    """Return episodes: classes uniformly without replacement, then their images uniformly without replacement.

    labels: (N,), −1 is never drawn, and neither are classes with fewer than shots + queries + unlabelled images.
    Episode e depends on (labels, ways, those numbers, seed, e) alone: the same for every model, and the first of more.
    Raises UserError where too few classes have enough images.
    """
    if min(n_episodes, shots, queries, unlabelled + 1) < 1 or ways < 2:
        raise UserError(
            f"{n_episodes} episodes of {ways} ways, {shots} shots and {queries} queries: give at least 2 ways and at "
            "least 1 of the others"
        )
    given = torch.as_tensor(labels).cpu().to(torch.int64)
    order = given.argsort(stable=True)
    order = order[given[order] >= 0]
    present, counts = given[order].unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    images = shots + queries + unlabelled
    enough = counts >= images
    if int(enough.sum()) < ways:
        raise UserError(
            f"{ways}-way episodes of {shots} shots and {queries} queries need {ways} classes with {images} images "
            f"each, and there are {int(enough.sum())}; lower ways, shots or queries"
        )
    present, counts, starts = present[enough], counts[enough], starts[enough]
    episode = torch.arange(n_episodes)
    chosen = _without_replacement(torch.full((n_episodes,), len(present)), ways, seed, episode, "episode classes")
    way = torch.arange(n_episodes * ways)
    rows = _without_replacement(counts[chosen].reshape(-1), images, seed, way, "episode images")
    rows = order[starts[chosen].reshape(-1, 1) + rows].view(n_episodes, ways, images)
    support, query, further = rows.split([shots, queries, unlabelled], dim=2)
    return Episodes(present[chosen], support, query, further)


def _without_replacement(sizes: Tensor, m: int, seed: int, index: Tensor, purpose: str) -> Tensor:
    """Return for each entry of sizes (B,) m different numbers below it in random order, (B, m) int64.

    Floyd's algorithm (Bentley and Floyd, Communications of the ACM 1987) for all at once, then a shuffle: it draws m
    numbers however large the classes are.
    """
    words = hash_bits(seed, 0, index, purpose, 2 * m)
    chosen = torch.full((len(sizes), m), -1)
    for i in range(m):
        last = sizes - m + i
        drawn = (words[:, i] & _LAST_63_BITS) % (last + 1)
        taken = (chosen[:, :i] == drawn[:, None]).any(1)
        chosen[:, i] = torch.where(taken, last, drawn)
    return chosen.gather(1, words[:, m:].argsort(dim=1, stable=True))


@torch.no_grad()
def evaluate_episodes(
    features: Tensor, episodes: Episodes, classifier: str = "cosine", normalize: bool | None = None
) -> EpisodeAccuracy:
    """Return the accuracy of one of `CLASSIFIERS` on the queries of every episode.

    features: (N, D), on whose device everything is computed, in blocks of episodes; L2-normalized first or not; None:
    for all but "euclidean", whose distances are those that prototypical networks learn. A tie counts for the way that
    comes first. Raises UserError for an unknown classifier or features that are not finite.
    """
    if classifier not in CLASSIFIERS:
        raise unknown_name("episode classifier", classifier, CLASSIFIERS, "one of these classifies the queries")
    x = finite(features)
    normalize = classifier != "euclidean" if normalize is None else normalize
    x = F.normalize(x, dim=1) if normalize else x
    (n, ways, shots), queries, further = episodes.support.shape, episodes.query.shape[2], episodes.unlabelled.shape[2]
    block = max(1, _CELLS // (ways * (shots + queries + further) * max(1, x.shape[1])))
    true = torch.arange(ways, device=x.device).repeat_interleave(queries)
    right = []
    for first in range(0, n, block):
        part = slice(first, first + block)
        support, query, more = (
            x[rows[part].to(x.device)] for rows in (episodes.support, episodes.query, episodes.unlabelled)
        )
        if further:
            support = refined(support, more.flatten(1, 2))
        logits = CLASSIFIERS[classifier](support, query.flatten(1, 2))
        right.append((logits.argmax(2) == true).double().unflatten(1, (ways, queries)).mean(2))
    per_way = torch.cat(right).cpu().numpy()
    accuracy = per_way.mean(1)
    ci95 = 1.96 * float(accuracy.std(ddof=1)) / math.sqrt(n) if n > 1 else None
    return EpisodeAccuracy(accuracy, float(accuracy.mean()), ci95, per_way)


def refined(support: Tensor, unlabelled: Tensor, scale: float = 10.0) -> Tensor:
    """Return one prototype a way that unlabelled images have moved, (E, ways, 1, D) (Ren et al., ICLR 2018, eq. 3).

    support: (E, ways, shots, D), unlabelled: (E, U, D), all of the episode's classes. One step of soft k-means: each
    unlabelled image belongs to the ways by the softmax of `scale` times its cosine to their prototypes.
    """
    shares = (scale * cosine_logits(support, unlabelled)).softmax(2)  # (E, U, ways)
    total = support.sum(2) + shares.transpose(1, 2) @ unlabelled
    return (total / (support.shape[2] + shares.sum(1)[..., None]))[:, :, None]


def cosine_logits(support: Tensor, query: Tensor) -> Tensor:
    """Return the cosine of each query and each way's prototype, the mean of its support (Gidaris et al., ICCV 2019).

    support: (E, ways, shots, D), query: (E, Q, D) → (E, Q, ways); so for the other classifiers.
    """
    prototypes = F.normalize(support.mean(2), dim=2)
    return F.normalize(query, dim=2) @ prototypes.transpose(1, 2)


def euclidean_logits(support: Tensor, query: Tensor) -> Tensor:
    """Return minus the squared distance of each query and each way's mean (Snell et al., NeurIPS 2017)."""
    prototypes = support.mean(2)
    # ‖q − p‖² without ‖q‖², which no comparison of ways depends on
    return 2 * query @ prototypes.transpose(1, 2) - prototypes.square().sum(2)[:, None]


def nearest_logits(support: Tensor, query: Tensor) -> Tensor:
    """Return the largest cosine of each query and any support image of each way."""
    ways, shots = support.shape[1:3]
    similarity = F.normalize(query, dim=2) @ F.normalize(support, dim=3).flatten(1, 2).transpose(1, 2)
    return similarity.unflatten(2, (ways, shots)).amax(3)


def logistic_logits(support: Tensor, query: Tensor, cost: float = 1.0, steps: int = 200) -> Tensor:
    """Return the logits of a logistic regression fitted to each episode: ½‖W‖² + cost · Σ cross-entropy, bias free.

    The classifier of Tian et al. (ECCV 2020) with scikit-learn's C 1 (2 for two ways, where it has one weight vector);
    its L2-normalized features are the caller's. All episodes are fitted together by Nesterov's accelerated gradient.
    W = Aᵀ · support, since gradients lie in the span of the support images: a step costs no more for long features
    than for short ones.
    """
    n, ways, shots, _ = support.shape
    x = support.flatten(1, 2)
    gram = x @ x.transpose(1, 2)
    target = torch.eye(ways, dtype=x.dtype, device=x.device).repeat_interleave(shots, 0)
    # The Hessian of cross-entropy in the logits is at most ½; Gershgorin bounds the Gram matrix with a column of ones.
    largest = 1 + cost / 2 * (gram.abs().sum(2).amax(1) + ways * shots).view(n, 1, 1)
    momentum = (largest.sqrt() - 1) / (largest.sqrt() + 1)
    a, bias = x.new_zeros(n, ways * shots, ways), x.new_zeros(n, 1, ways)
    ahead_a, ahead_bias = a, bias
    for _ in range(steps):
        error = cost * ((gram @ ahead_a + ahead_bias).softmax(2) - target)
        next_a = ahead_a - (ahead_a + error) / largest
        next_bias = ahead_bias - error.sum(1, keepdim=True) / largest
        ahead_a, ahead_bias = next_a + momentum * (next_a - a), next_bias + momentum * (next_bias - bias)
        a, bias = next_a, next_bias
    return query @ (x.transpose(1, 2) @ a) + bias


def finetuned_logits(support: Tensor, query: Tensor, scale: float = 10.0, steps: int = 100, lr: float = 0.05) -> Tensor:
    """Return the logits of a cosine classifier that starts from the prototypes and is trained on the support images.

    Cross-entropy of `scale` times the cosine by `steps` steps of gradient descent on the rows, kept at unit length; all
    episodes at once. After the fine-tuning baseline of Chen et al. (ICLR 2019), here on features that do not move.
    """
    ways, shots = support.shape[1:3]
    x = F.normalize(support.flatten(1, 2), dim=2)
    # Rows are sums of support images and gradients are too: row = A · x, so that all is done with the Gram matrix.
    gram = x @ x.transpose(1, 2)
    target = torch.eye(ways, dtype=x.dtype, device=x.device).repeat_interleave(shots, 0)
    a = (target / shots).T * support.norm(dim=3).flatten(1)[:, None]
    a = a / ((a @ gram) * a).sum(2, keepdim=True).sqrt().clamp_min(1e-12)
    for _ in range(steps):
        ascent = scale * (target - (scale * gram @ a.transpose(1, 2)).softmax(2)).transpose(1, 2) / (ways * shots)
        ascent = ascent - ((ascent @ gram) * a).sum(2, keepdim=True) * a  # the length of a row counts for nothing
        a = a + lr * ascent
        a = a / ((a @ gram) * a).sum(2, keepdim=True).sqrt().clamp_min(1e-12)
    return F.normalize(query, dim=2) @ (a @ x).transpose(1, 2)


CLASSIFIERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cosine": cosine_logits,
    "euclidean": euclidean_logits,
    "nearest": nearest_logits,
    "logistic": logistic_logits,
    "finetune": finetuned_logits,
}
