import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from sklearn.neighbors import NearestNeighbors

from uda.errors import UserError
from uda.metrics import ood_metrics
from uda.probes.ood import (
    by_image,
    energy,
    entropy,
    fit_class_gaussians,
    knn_distance,
    mahalanobis,
    max_softmax,
    one_class_score,
    rotation_score,
    unknown_scores,
)
from uda.ssl.rotation import rotate_four_ways

HALF = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])  # probabilities (1/2, 1/2) and (3/4, 1/4)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def blobs(n: int, dim: int = 4, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(n) % classes
    return 3 * random(classes, dim, seed=99)[labels] + random(n, dim, seed=seed), labels


def test_scores_of_logits_by_hand() -> None:
    assert max_softmax(HALF).tolist() == pytest.approx([-0.5, -0.75])
    # log(1 + 1) and log(3 + 1); at temperature 2, 2 log 2 and 2 log(√3 + 1).
    assert energy(HALF).tolist() == pytest.approx([-math.log(2), -math.log(4)])
    assert energy(HALF, 2.0).tolist() == pytest.approx([-2 * math.log(2), -2 * math.log(math.sqrt(3) + 1)])
    quarter = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert entropy(HALF).tolist() == pytest.approx([math.log(2), quarter])


@pytest.mark.parametrize("score", [max_softmax, energy, entropy])
def test_the_unsure_score_higher(score) -> None:
    sure, unsure = 8 * torch.eye(5), 0.5 * torch.eye(5)
    assert float(score(unsure).min()) > float(score(sure).max())


def test_great_certainties_are_still_told_apart() -> None:
    # In float32 both softmaxes are exactly 1.
    first, second = max_softmax(torch.tensor([[20.0, 0.0], [25.0, 0.0]]))
    assert float(first) > float(second)
    assert max_softmax(torch.tensor([[1e4, -1e4]])).tolist() == [-1.0]
    assert entropy(torch.tensor([[1e4, -1e4]])).tolist() == [0.0]
    assert energy(torch.tensor([[1e4, -1e4]])).tolist() == [-1e4]


def test_mahalanobis_by_hand() -> None:
    # Class 0 lies at (±2, 0), (0, ±1) about the origin, class 1 the same about (10, 0): variances 2 and 1/2.
    cross = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    features = torch.cat([cross, cross + torch.tensor([10.0, 0.0])])
    fitted = fit_class_gaussians(features, torch.arange(8) // 4, 2)
    assert fitted.means.tolist() == [[0, 0], [10, 0]]
    assert torch.allclose(fitted.covariance, torch.tensor([[2.0, 0.0], [0.0, 0.5]], dtype=torch.float64))
    assert fitted.shrinkage == 0
    # (4, 0): 16/2 from class 0, 36/2 from class 1. (10, 3): 9/0.5 from class 1. (10, 0): its mean.
    queries = torch.tensor([[4.0, 0.0], [10.0, 3.0], [10.0, 0.0]])
    assert mahalanobis(queries, fitted).tolist() == pytest.approx([8.0, 18.0, 0.0])


def test_mahalanobis_equals_scikit_learn() -> None:
    features, labels = blobs(60)
    queries = blobs(20, seed=5)[0]
    fitted = fit_class_gaussians(features, labels, 3)
    means = np.stack([features[labels == c].double().numpy().mean(0) for c in range(3)])
    reference = EmpiricalCovariance(assume_centered=True).fit(features.double().numpy() - means[labels])
    apart = [reference.mahalanobis(queries.double().numpy() - mean) for mean in means]
    assert mahalanobis(queries, fitted).numpy() == pytest.approx(np.min(apart, axis=0))


def test_a_singular_covariance_is_shrunk() -> None:
    for features, labels in (blobs(9, dim=20), (torch.nn.functional.pad(blobs(60)[0], (0, 1)), blobs(60)[1])):
        fitted = fit_class_gaussians(features, labels, 3)
        assert fitted.shrinkage > 0
        centered = features.double() - fitted.means[labels]
        reference = LedoitWolf(assume_centered=True).fit(centered.numpy())
        assert fitted.shrinkage == pytest.approx(reference.shrinkage_)
        assert np.allclose(fitted.covariance, reference.covariance_)
        assert bool(torch.isfinite(mahalanobis(features, fitted)).all())


def test_classes_without_images_are_nobodys_nearest() -> None:
    features, labels = blobs(60)
    expected = mahalanobis(features, fit_class_gaussians(features, labels, 3))
    labels = torch.tensor([0, 4, 7])[labels]  # the means at 0 of the classes between would be near
    assert torch.allclose(mahalanobis(features, fit_class_gaussians(features, labels, 9)), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_mahalanobis_does_not_care_for_the_axes(seed: int) -> None:
    features, labels = blobs(40)
    matrix = random(4, 4, seed=seed).double() + 4 * torch.eye(4)
    turned = features.double() @ matrix.T + 7
    expected = mahalanobis(features, fit_class_gaussians(features, labels, 3))
    assert torch.allclose(mahalanobis(turned, fit_class_gaussians(turned, labels, 3)), expected)


def test_distance_to_the_kth_neighbor_by_hand() -> None:
    # On the unit circle: (1, 0), (0, 1), (−1, 0); from (3, 0) these are 0, √2 and 2 away.
    bank = torch.tensor([[0.0, 5.0], [2.0, 0.0], [-1.0, 0.0]])
    query = torch.tensor([[3.0, 0.0]])
    distances = [float(knn_distance(query, bank, k)) for k in (1, 2, 3, 50)]
    assert distances == pytest.approx([0, math.sqrt(2), 2, 2], abs=1e-7)


@pytest.mark.parametrize("k", [1, 7, 50])
def test_distance_equals_scikit_learn(k: int) -> None:
    bank, queries = blobs(80)[0].double(), blobs(30, seed=3)[0].double()
    unit = [(x / x.norm(dim=1, keepdim=True)).numpy() for x in (bank, queries)]
    expected = NearestNeighbors(n_neighbors=k).fit(unit[0]).kneighbors(unit[1])[0][:, -1]
    assert knn_distance(queries, bank, k).numpy() == pytest.approx(expected, abs=1e-7)


def test_rotation_score_by_hand() -> None:
    # p = (3/4, 1/4): KL(U‖p) = ½ log(½ / ¾) + ½ log(½ / ¼) = ½ log(4/3). Of the four turns, one head knows nothing
    # (log 4 each), the other gives the right one 1/2 and each wrong one 1/6 (log 2 each).
    nothing, half = torch.zeros(4, 4), math.log(3) * torch.eye(4)
    scores = rotation_score(HALF[[1, 1, 0]], torch.stack([nothing, half, half]))
    divergence = 0.5 * math.log(4 / 3)
    expected = [math.log(4) - divergence, math.log(2) - divergence, math.log(2)]
    assert scores.tolist() == pytest.approx(expected)


def test_one_class_score_by_hand() -> None:
    # Two views and two heads: −log ½ − log ¾ of the first, −log ¼ − log ½ of the second.
    first, second = HALF[None], HALF.flip(0)[None]
    score = one_class_score([first, second], [torch.tensor([1, 0]), torch.tensor([1, 0])])
    assert score.tolist() == pytest.approx([math.log(2) + math.log(4 / 3) + math.log(4) + math.log(2)])
    with pytest.raises(ValueError, match="at least one head"):
        one_class_score([], [])


def test_views_are_gathered_by_image() -> None:
    # A head that tells the turn and the image: logits (turn, image).
    images = torch.zeros(3, 1, 2, 2)
    turned, turns = rotate_four_ways(images)
    logits = torch.stack([turns, torch.arange(3).repeat(4)], dim=1)
    gathered = by_image(logits, 4)
    assert gathered[..., 0].tolist() == [[0, 1, 2, 3]] * 3
    assert gathered[..., 1].tolist() == [[0] * 4, [1] * 4, [2] * 4]
    assert len(turned) == len(logits)


def test_every_score_by_name_tells_other_blobs_from_known_ones() -> None:
    train, labels = blobs(200)
    known, unknown = blobs(50, seed=1)[0], random(50, 4, seed=2) - 4
    weights = 0.3 * torch.stack([train[labels == c].mean(0) for c in range(3)])

    def scores(features):
        return unknown_scores(features @ weights.T, features, train, labels, random(50, 4, 4), k=10)

    inside, outside = scores(known), scores(unknown)
    assert set(inside) == {"max_softmax", "energy", "entropy", "knn", "mahalanobis", "rotation"}
    for name in inside:
        assert inside[name].shape == (50,)
        assert bool(torch.isfinite(inside[name]).all())
    for name in ("knn", "mahalanobis"):
        assert ood_metrics(inside[name], outside[name])["auroc"] > 0.95
    assert set(unknown_scores(HALF)) == {"max_softmax", "energy", "entropy"}
    assert "mahalanobis" not in unknown_scores(known @ weights.T, known, train)


def test_no_image_is_no_score() -> None:
    features, labels = blobs(30)
    scores = unknown_scores(torch.zeros(0, 3), features[:0], features, labels, torch.zeros(0, 4, 4))
    assert {name: tuple(values.shape) for name, values in scores.items()} == dict.fromkeys(scores, (0,))


def test_what_the_user_can_get_wrong() -> None:
    features, labels = blobs(6)
    with pytest.raises(UserError, match="give a positive temperature"):
        energy(HALF, 0)
    with pytest.raises(UserError, match="not finite"):
        max_softmax(HALF / 0)
    with pytest.raises(UserError, match="k=0: give a k of at least 1"):
        knn_distance(features, features, 0)
    with pytest.raises(UserError, match="no training images"):
        knn_distance(features, features[:0])
    with pytest.raises(UserError, match="leaves no covariance"):
        fit_class_gaussians(features[:3], labels[:3], 3)
