import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uda.clock import Clock
from uda.errors import UserError
from uda.ssl.kmeans import check_clusters, default_clusters, due_every, fill_empty, k_means, restart, whitened


def blobs(n: int = 60, dim: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three far-apart groups of points and which group each is in."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.arange(n) % 3
    return 10 * torch.eye(dim)[groups] + 0.1 * torch.randn(n, dim, generator=generator), groups


def test_one_cluster_for_128_images() -> None:
    # 1,281,167 ÷ 128 = 10,009; 50,000 ÷ 128 = 390
    assert [default_clusters(n) for n in (1_281_167, 50_000, 1797, 200, 7)] == [10_000, 390, 14, 10, 7]


def test_too_many_clusters_are_refused() -> None:
    assert check_clusters("deepcluster", "clusters", 5, 5) == 5
    with pytest.raises(UserError, match="cannot make 6 clusters of 5 images; set its option clusters to at most 5"):
        check_clusters("deepcluster", "clusters", 6, 5)


def test_due_at_the_start_and_whenever_so_many_epochs_are_through() -> None:
    def due(epochs: float) -> list[int]:
        return [step for step in range(12) if due_every(epochs, Clock(step, 12, 0, 4, 10))]

    # 0.4 epochs a step: 1, 2, 3, 4 are reached at steps 3 (1.2), 5 (2.0), 8 (3.2), 10 (4.0)
    assert due(1) == [0, 3, 5, 8, 10]
    assert due(2) == [0, 5, 10]
    assert due(0.1) == list(range(12))


def test_whitened_features_are_uncorrelated_and_of_unit_length() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 3, generator=generator) @ torch.tensor([[3.0, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0.1, 0]])
    rows = whitened(features + 100, 4)
    assert rows.shape == (4000, 3)  # the fourth direction has no variance
    assert rows.norm(dim=1).tolist() == pytest.approx([1.0] * 4000, abs=1e-5)
    # of normal points made round and put on the sphere: covariance 1/3 in every direction
    assert torch.allclose(rows.T @ rows / 4000, torch.eye(3) / 3, atol=0.03)
    assert whitened(features, 2).shape == (4000, 2)
    assert whitened(torch.ones(10, 4)).isfinite().all()


def test_k_means_finds_groups_and_their_centers_and_is_fixed_by_its_seed() -> None:
    features, groups = blobs()
    # of random starts some are stuck in a local optimum; this one is not
    labels, centers = k_means(features, 3, seed=1)
    for group in range(3):
        assert len(labels[groups == group].unique()) == 1
        label = labels[groups == group][0]
        assert torch.allclose(centers[label], features[groups == group].mean(0), atol=1e-5)
    again, same = k_means(features, 3, seed=1)
    assert torch.equal(again, labels)
    assert torch.equal(same, centers)
    assert (k_means(features, 20, seed=2)[0] != k_means(features, 20, seed=3)[0]).any()


@given(seed=st.integers(0, 2**63 - 1), clusters=st.integers(1, 12), distinct=st.integers(1, 12))
@settings(max_examples=25)
def test_every_cluster_has_a_member_even_of_equal_points(seed: int, clusters: int, distinct: int) -> None:
    features = (torch.arange(12) % distinct).float()[:, None].repeat(1, 3)
    labels, centers = k_means(features, clusters, seed)
    assert torch.bincount(labels, minlength=clusters).min() >= 1
    assert len(torch.bincount(labels)) == clusters
    assert centers.isfinite().all()


def test_an_empty_cluster_is_split_off_along_a_line() -> None:
    rows = np.array([[0.0], [1.0], [2.0], [10.0], [50.0]])
    labels = fill_empty(rows, np.array([0, 0, 0, 0, 2]), 3, seed=0)
    # about the center 3.25 of cluster 0: {0, 1, 2} and {10}, whichever is called the new one
    assert labels[4] == 2
    assert labels[0] == labels[1] == labels[2]
    assert {labels[0], labels[3]} == {0, 1}
    # equal points: half of them go
    assert np.bincount(fill_empty(np.zeros((6, 2)), np.zeros(6, dtype=np.int64), 2, seed=0)).tolist() == [3, 3]


def test_a_restarted_layer_depends_on_the_seed_alone() -> None:
    first, second = nn.Linear(50, 40), nn.Linear(50, 40)
    parameters = restart(first, 5)
    restart(second, 5)
    assert [id(p) for p in parameters] == [id(first.weight), id(first.bias)]
    assert torch.equal(first.weight, second.weight)
    assert first.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert first.bias.abs().max() == 0
    restart(second, 6)
    assert not torch.equal(first.weight, second.weight)
