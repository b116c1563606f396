import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from tests.ssl.functional.draws import normal
from uda.ssl.functional.contrastive import (
    hard_negative_nt_xent,
    info_nce,
    margin_contrastive,
    n_pair,
    nce,
    nt_xent,
    supervised_contrastive,
    triplet,
)

E1, E2 = [1.0, 0.0], [0.0, 1.0]


def cosine(x: Tensor, y: Tensor) -> float:
    return (x @ y / (x.norm() * y.norm())).item()


# NT-Xent


def test_nt_xent_by_hand() -> None:
    # lengths do not count; each of the 4 has its positive at cosine 1 and two negatives at 0: log(e + 2) − 1
    a, b = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([E1, E2])
    assert nt_xent(a, b, 1.0).item() == pytest.approx(0.551445, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_is_lightlys(temperature: float) -> None:
    lightly = pytest.importorskip("lightly.loss")
    a, b = normal(7, 5), normal(7, 5, seed=1)
    assert nt_xent(a, b, temperature).item() == pytest.approx(lightly.NTXentLoss(temperature)(a, b).item(), rel=1e-13)


def test_collapsed_features_have_the_logarithm_of_the_others() -> None:
    same = torch.ones(5, 3)
    assert nt_xent(same, same, 0.1).item() == pytest.approx(math.log(9), abs=1e-5)
    assert hard_negative_nt_xent(same, same, 0.1, 0.1, 1.0).item() == pytest.approx(math.log(9), abs=1e-5)


def test_two_views_must_fit() -> None:
    with pytest.raises(ValueError, match=r"two views do not fit: \(3, 2\) and \(4, 2\)"):
        nt_xent(torch.ones(3, 2), torch.ones(4, 2), 0.5)


# InfoNCE


def test_info_nce_by_hand() -> None:
    query, positive = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    negatives = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    # cosines 24/25 = .96, .6 and −.8, each ÷ 0.5: log(1 + (e^1.2 + e^−1.6) / e^1.92) = log(1 + 3.522013 / 6.820958)
    assert info_nce(query, positive, negatives, 0.5).item() == pytest.approx(0.416307, abs=1e-6)


def test_info_nce_without_an_excluded_negative() -> None:
    query, positive = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    negatives = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    # as above with the second alone: log(1 + e^−1.6 / e^1.92) = log(1 + e^−3.52)
    exclude = torch.tensor([[True, False]])
    expected = math.log(1 + math.exp(-3.52))
    assert info_nce(query, positive, negatives, 0.5, exclude).item() == pytest.approx(expected, abs=1e-6)


def test_info_nce_is_lightlys_moco_loss() -> None:
    lightly = pytest.importorskip("lightly.loss")
    query, key, bank = normal(6, 4), normal(6, 4, seed=1), normal(9, 4, seed=2)
    oracle = lightly.NTXentLoss(0.2, memory_bank_size=(9, 4))
    oracle.memory_bank.bank = bank / bank.norm(dim=1, keepdim=True)
    assert info_nce(query, key, bank, 0.2).item() == pytest.approx(oracle(query, key).item(), rel=1e-13)


# hard negatives


def slow_hcl(a: Tensor, b: Tensor, t: float, tau: float, beta: float) -> float:
    """The paper's formula, anchor by anchor, without any care for overflow."""
    z = list(torch.cat([a, b]))
    losses = []
    for i, anchor in enumerate(z):
        other = (i + len(a)) % len(z)
        positive = math.exp(cosine(anchor, z[other]) / t)
        negatives = [cosine(anchor, z[j]) / t for j in range(len(z)) if j not in (i, other)]
        n = len(negatives)
        weights = [math.exp(beta * s) for s in negatives]
        reweighted = sum(w * math.exp(s) for w, s in zip(weights, negatives, strict=True)) / (sum(weights) / n)
        corrected = max((reweighted - tau * n * positive) / (1 - tau), n * math.exp(-1 / t))
        losses.append(-math.log(positive / (positive + corrected)))
    return sum(losses) / len(losses)


def test_hcl_by_hand() -> None:
    a = torch.tensor([E1, E2])
    # T = .5: positive e², two negatives of 1, all weights equal: (2 − .1·2·7.389056)/.9 = .580210,
    # log((7.389056 + .580210)/7.389056)
    assert hard_negative_nt_xent(a, a, 0.5, 0.1, 1.0).item() == pytest.approx(0.075592, abs=1e-6)
    # τ⁺ = .2: 2 − .4·7.389056 < 0, so the floor 2·e^−2 = .270671 stands: log(1 + .270671/7.389056)
    assert hard_negative_nt_xent(a, a, 0.5, 0.2, 1.0).item() == pytest.approx(0.035976, abs=1e-6)


@pytest.mark.parametrize(("t", "tau", "beta"), [(0.5, 0.1, 1.0), (0.5, 0.3, 2.0), (0.2, 0.05, 0.5), (1.0, 0.0, 1.0)])
def test_hcl_is_the_formula(t: float, tau: float, beta: float) -> None:
    a, b = normal(5, 3), normal(5, 3, seed=1)
    assert hard_negative_nt_xent(a, b, t, tau, beta).item() == pytest.approx(slow_hcl(a, b, t, tau, beta), rel=1e-12)


def test_hcl_without_its_two_corrections_is_nt_xent() -> None:
    a, b = normal(6, 4), normal(6, 4, seed=1)
    for t in (0.05, 0.5):
        assert hard_negative_nt_xent(a, b, t, 0.0, 0.0).item() == pytest.approx(nt_xent(a, b, t).item(), rel=1e-13)


def test_hcl_does_not_overflow_at_low_temperatures() -> None:
    a, b = normal(6, 4).float().requires_grad_(), normal(6, 4, seed=1).float()
    loss = hard_negative_nt_xent(a, b, 0.01, 0.1, 1.0)  # e^100 is no float32
    loss.backward()
    assert loss.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()


# supervised


def test_supervised_by_hand() -> None:
    features = torch.tensor([E1, [2.0, 0.0], E2])
    labels = torch.tensor([0, 0, 1])
    # anchors 0 and 1: −log(e / (e + 1)); the third has no positive and does not count
    assert supervised_contrastive(features, labels, 1.0).item() == pytest.approx(0.313262, abs=1e-6)


def test_unused_positives_are_in_no_denominator() -> None:
    features, labels = torch.tensor([E1, E1, E1, E2]), torch.tensor([0, 0, 0, 1])
    # all positives: −log(e / (2e + 1)) for each; one of them, whichever it is: −log(e / (e + 1))
    assert supervised_contrastive(features, labels, 1.0).item() == pytest.approx(0.861995, abs=1e-6)
    assert supervised_contrastive(features, labels, 1.0, positives=1).item() == pytest.approx(0.313262, abs=1e-6)


def test_as_many_positives_as_there_are_is_all_of_them() -> None:
    features, labels = normal(9, 4), torch.arange(9) % 3
    every = supervised_contrastive(features, labels, 0.1)
    assert torch.equal(supervised_contrastive(features, labels, 0.1, positives=2), every)
    assert torch.equal(supervised_contrastive(features, labels, 0.1, positives=50), every)


def test_the_generator_decides_which_positives() -> None:
    features, labels = normal(40, 4), torch.zeros(40, dtype=torch.int64)

    def drawn(seed: int) -> float:
        return supervised_contrastive(features, labels, 0.1, 6, torch.Generator().manual_seed(seed)).item()

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) == 5


def test_every_positive_is_equally_likely() -> None:
    # class 0 of 4: the anchor at angle 0, three positives whose cosines tell which one was drawn
    angles = torch.tensor([0.0, 0.5, 1.0, 1.5, 3.0], dtype=torch.float64)
    features, labels = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 0, 0, 1])
    generator = torch.Generator().manual_seed(0)
    mean = sum(supervised_contrastive(features, labels, 1.0, 1, generator).item() for _ in range(3000)) / 3000
    cos = (angles[:, None] - angles[None]).cos()
    # each of 4 anchors, each of its 3 positives with probability 1/3, against the one negative
    pairs = [math.log(1 + math.exp(cos[i, 4] - cos[i, j])) for i in range(4) for j in range(4) if i != j]
    assert mean == pytest.approx(sum(pairs) / len(pairs), abs=0.01)


def test_another_view_of_the_image_is_always_a_positive() -> None:
    a, b = normal(5, 3), normal(5, 3, seed=1)
    features, labels, images = torch.cat([a, b]), torch.arange(5).repeat(2), torch.arange(5).repeat(2)
    # every image its own class: one positive, the other view, and that is NT-Xent
    value = supervised_contrastive(features, labels, 0.5, 1, images=images)
    assert value.item() == pytest.approx(nt_xent(a, b, 0.5).item(), rel=1e-13)
    # one class, no further positive drawn: the rest is in no denominator, so that nothing is left to get wrong
    assert supervised_contrastive(features, labels * 0, 0.5, 0, images=images).item() == pytest.approx(0, abs=1e-12)


def test_without_any_positive_the_loss_is_zero_and_so_is_its_gradient() -> None:
    features = normal(4, 3).requires_grad_()
    loss = supervised_contrastive(features, torch.arange(4), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert features.grad.abs().sum() == 0


# NCE


def test_nce_by_hand() -> None:
    positive, negative = torch.tensor([math.log(6.0)]), torch.tensor([[math.log(2.0), 0.0]])
    # z = 20: P = .3, .1, .05; K/n = 2/10 = .2: −log(.3/.5) − log(.2/.3) − log(.2/.25) = .510826 + .405465 + .223144
    assert nce(positive, negative, 10, 20.0).item() == pytest.approx(1.139434, abs=1e-6)
    assert nce(positive, negative, 10, torch.tensor(20.0)).item() == pytest.approx(1.139434, abs=1e-6)


def test_nce_is_a_mean_over_the_batch_and_a_sum_over_the_noise() -> None:
    positive, negative = normal(4), normal(4, 6, seed=1)
    apart = [nce(positive[i : i + 1], negative[i : i + 1], 50, 70.0) for i in range(4)]
    assert nce(positive, negative, 50, 70.0).item() == pytest.approx(torch.stack(apart).mean().item(), rel=1e-13)


# what all of them have


def negatives(like: Tensor) -> Tensor:
    return normal(7, 3, seed=5).to(torch.promote_types(like.dtype, torch.float32))


PAIRED = {
    "nt_xent": lambda a, b: nt_xent(a, b, 0.5),
    "hcl": lambda a, b: hard_negative_nt_xent(a, b, 0.5, 0.1, 1.0),
    "info_nce": lambda a, b: info_nce(a, b, negatives(a), 0.2),
    "supervised": lambda a, b: supervised_contrastive(torch.cat([a, b]), torch.arange(len(a)).repeat(2) % 2, 0.3),
    "margin": lambda a, b: margin_contrastive(a, b, torch.arange(len(a)) % 2, 3.0),
    "triplet": lambda a, b: triplet(a, b, b.roll(1, 0), 1.0),
    "n_pair": lambda a, b: n_pair(a, b, negatives(a)),
    "n_pair of the batch": n_pair,
    "nce": lambda a, b: nce((a * b).sum(1), (a[:, None] * negatives(a)).sum(2), 20, 25.0),
}
NORMALIZED = ("nt_xent", "hcl", "info_nce", "supervised")


@pytest.mark.parametrize("name", PAIRED)
def test_gradients_are_the_numerical_ones(name: str) -> None:
    a, b = normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()
    assert gradcheck(PAIRED[name], (a, b))


@pytest.mark.parametrize("name", [name for name in PAIRED if name not in ("margin", "supervised", "triplet")])
@given(seed=st.integers(0, 1000), n=st.integers(2, 8))
@settings(max_examples=15)
def test_the_order_of_the_images_does_not_count(name: str, seed: int, n: int) -> None:
    a, b = normal(n, 3, seed=seed), normal(n, 3, seed=seed + 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    assert PAIRED[name](a[order], b[order]).item() == pytest.approx(PAIRED[name](a, b).item(), rel=1e-10)


@pytest.mark.parametrize("name", NORMALIZED)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
@settings(max_examples=15)
def test_lengths_do_not_count(name: str, seed: int, scale: float) -> None:
    a, b = normal(4, 3, seed=seed), normal(4, 3, seed=seed + 1)
    assert PAIRED[name](scale * a, b / scale).item() == pytest.approx(PAIRED[name](a, b).item(), rel=1e-10)


@pytest.mark.parametrize("name", ["nt_xent", "hcl"])
@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_both_views_are_alike(name: str, seed: int) -> None:
    a, b = normal(4, 3, seed=seed), normal(4, 3, seed=seed + 1)
    assert PAIRED[name](a, b).item() == pytest.approx(PAIRED[name](b, a).item(), rel=1e-12)


@pytest.mark.parametrize("name", PAIRED)
def test_autocast_costs_no_precision(name: str) -> None:
    a, b = normal(4, 3).float(), normal(4, 3, seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        cast = PAIRED[name](a, b)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, PAIRED[name](a, b))


@pytest.mark.parametrize("name", [name for name in PAIRED if name != "nce"])
def test_half_precision_is_compared_in_single(name: str) -> None:
    a, b = normal(4, 3).bfloat16(), normal(4, 3, seed=1).bfloat16()
    assert torch.equal(PAIRED[name](a, b), PAIRED[name](a.float(), b.float()))
