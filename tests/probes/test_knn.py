import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.errors import UserError
from uda.probes import knn as module
from uda.probes.knn import knn, knn_leave_one_out


def blobs(
    n: int, classes: int = 4, dim: int = 8, seed: int = 0, spread: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centers[labels] + spread * torch.randn(n, dim, generator=generator), labels


def test_votes_by_hand() -> None:
    # Cosines of the query (1, 0) with the bank: 1, 0.6, 0.8, −1. The three nearest at temperature 0.5:
    # class 0 has exp(1/0.5) = e², class 1 has exp(0.6/0.5) + exp(0.8/0.5).
    bank = torch.tensor([[2.0, 0.0], [3.0, 4.0], [0.4, -0.3], [-1.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 2])
    found = knn(torch.tensor([[5.0, 0.0]]), bank, labels, 3, k=3, temperature=0.5)
    zero, one = math.exp(2), math.exp(1.2) + math.exp(1.6)
    assert found.probabilities[0].tolist() == pytest.approx([zero / (zero + one), one / (zero + one), 0.0], abs=1e-6)
    assert found.predictions.tolist() == [1]  # 7.39 < 8.27
    # At temperature 0.1 the nearest outweighs both others: e¹⁰ against e⁶ + e⁸.
    assert knn(torch.tensor([[5.0, 0.0]]), bank, labels, 3, k=3, temperature=0.1).predictions.tolist() == [0]


@pytest.mark.parametrize(("k", "temperature"), [(200, 0.1), (200, 0.07), (10, 0.07), (1, 0.1)])
def test_predictions_equal_lightlys(k: int, temperature: float) -> None:
    reference = pytest.importorskip("lightly.utils.benchmarking.knn", reason="lightly is not installed").knn_predict
    bank, labels = blobs(300, spread=2.0)
    queries, _ = blobs(100, seed=1, spread=2.0)
    bank, queries = bank.double(), queries.double()
    expected = reference(F.normalize(queries, dim=1), F.normalize(bank, dim=1).T, labels, 4, k, temperature)[:, 0]
    found = knn(queries, bank, labels, 4, k, temperature).predictions
    assert torch.equal(found, expected)
    assert len(found.unique()) == 4


def test_k_is_cut_to_the_bank() -> None:
    bank, labels = blobs(12)
    everything = knn(bank, bank, labels, 4, k=12).probabilities
    assert torch.equal(knn(bank, bank, labels, 4, k=200).probabilities, everything)
    assert not torch.equal(knn(bank, bank, labels, 4, k=11).probabilities, everything)


def test_leaving_one_out_equals_a_bank_without_it() -> None:
    features, labels = blobs(31, spread=2.0)
    found = knn_leave_one_out(features, labels, 4, k=5).probabilities
    for row in (0, 13, 30):
        others = torch.arange(31) != row
        expected = knn(features[row : row + 1], features[others], labels[others], 4, k=5).probabilities[0]
        assert torch.allclose(found[row], expected, atol=1e-5)
    # all the others, though k is larger: class 0 has 8 members, each of which sees the 7 others
    even = knn_leave_one_out(features, labels, 4, k=500, temperature=1e9).probabilities
    assert even[0].tolist() == pytest.approx([7 / 30, 8 / 30, 8 / 30, 7 / 30], abs=1e-6)


@pytest.mark.parametrize("cells", [1, 40, 200, 10_000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    features, labels = blobs(41, spread=2.0)
    queries, _ = blobs(17, seed=3)
    whole, alone = knn(queries, features, labels, 4, k=7), knn_leave_one_out(features, labels, 4, k=7)
    monkeypatch.setattr(module, "_CELLS", cells)
    assert torch.allclose(knn(queries, features, labels, 4, k=7).probabilities, whole.probabilities, atol=1e-5)
    assert torch.allclose(knn_leave_one_out(features, labels, 4, k=7).probabilities, alone.probabilities, atol=1e-5)


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 70), st.floats(0.01, 10), st.integers(0, 1000), st.floats(0.1, 100))
def test_shares_sum_to_one_and_lengths_do_not_matter(
    n: int, k: int, temperature: float, seed: int, factor: float
) -> None:
    bank, labels = blobs(n, seed=seed)
    queries, _ = blobs(5, seed=seed + 1)
    first = knn(queries, bank, labels, 4, k, temperature).probabilities
    assert torch.allclose(first.sum(1), torch.ones(5), atol=1e-5)
    assert bool((first >= 0).all())
    scaled = knn(queries * factor, bank * factor, labels, 4, k, temperature).probabilities
    assert torch.allclose(first, scaled, atol=1e-3)


def test_a_tiny_temperature_is_the_nearest_neighbor_and_does_not_overflow() -> None:
    bank, labels = blobs(50, spread=2.0)
    queries, _ = blobs(20, seed=5, spread=2.0)
    sharp = knn(queries, bank, labels, 4, k=50, temperature=1e-6).probabilities
    assert torch.isfinite(sharp).all()
    assert torch.equal(sharp.argmax(1), knn(queries, bank, labels, 4, k=1).predictions)


def test_half_precision_and_lists_of_labels_are_taken() -> None:
    bank, labels = blobs(20)
    found = knn(bank.bfloat16(), bank.bfloat16(), np.asarray(labels), 4, k=1)
    assert found.probabilities.dtype == torch.float32
    assert torch.equal(found.predictions, labels)
    assert knn(bank[:0], bank, labels, 4).probabilities.shape == (0, 4)


def test_what_the_user_can_get_wrong() -> None:
    bank, labels = blobs(6)
    with pytest.raises(UserError, match="k=0: give a k of at least 1"):
        knn(bank, bank, labels, 4, k=0)
    with pytest.raises(UserError, match="temperature=0: give a positive"):
        knn(bank, bank, labels, 4, temperature=0)
    with pytest.raises(UserError, match="no labelled images"):
        knn(bank, bank[:0], labels[:0], 4)
    with pytest.raises(UserError, match="at least 2 labelled images"):
        knn_leave_one_out(bank[:1], labels[:1], 4)
    with pytest.raises(UserError, match="not finite: take weights"):
        knn(bank / 0, bank, labels, 4)


def test_arguments_that_do_not_fit_are_refused() -> None:
    bank, labels = blobs(6)
    with pytest.raises(ValueError, match="8 dimensions and the bank 7"):
        knn(bank, bank[:, :7], labels, 4)
    with pytest.raises(ValueError, match=r"6 features, but labels of the shape \(5,\)"):
        knn(bank, bank, labels[:5], 4)
    for wrong in (labels - 1, labels + 1):
        with pytest.raises(ValueError, match="within 4 classes"):
            knn(bank, bank, wrong, 4)
    with pytest.raises(ValueError, match="two dimensions"):
        knn(bank[0], bank, labels, 4)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_votes_each_time() -> None:
    bank, labels = blobs(5000, spread=2.0)
    queries, _ = blobs(1000, seed=1, spread=2.0)
    host = knn(queries, bank, labels, 4)
    device = [knn(queries.cuda(), bank.cuda(), labels, 4).probabilities for _ in range(2)]
    assert torch.equal(device[0], device[1])
    assert torch.allclose(device[0].cpu(), host.probabilities, atol=1e-3)
