import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from uda.errors import UserError
from uda.probes import linear
from uda.probes.linear import (
    REGULARIZATIONS,
    LinearProbe,
    fit_linear,
    held_out_rows,
)


def blobs(
    n: int, classes: int = 4, dim: int = 8, seed: int = 0, spread: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centers[labels] + spread * torch.randn(n, dim, generator=generator), labels


def accuracy(probe: LinearProbe, features: torch.Tensor, labels: torch.Tensor) -> float:
    return float((probe.predict(features) == labels).double().mean())


@pytest.mark.parametrize("regularization", [1.0, 1e-2, 1e-3])
@pytest.mark.parametrize(("standardize", "classes"), [(True, 4), (False, 4), (True, 2)])
def test_it_is_scikit_learns_logistic_regression(regularization: float, standardize: bool, classes: int) -> None:
    x, y = blobs(200, classes, spread=1.5)
    x = x.double() * torch.linspace(0.5, 2, 8) + 3
    probe = fit_linear(x, y, classes, regularization, standardize)
    scaler = StandardScaler(with_mean=standardize, with_std=standardize).fit(x)
    # for two classes scikit-learn has one weight vector w, and ±w/2 here: half the penalty, as at twice its C
    cost = (2 if classes == 2 else 1) / (regularization * 200)
    reference = LogisticRegression(C=cost, tol=1e-9, max_iter=5000).fit(scaler.transform(x), y)
    queries, _ = blobs(50, classes, seed=1, spread=3)
    queries = queries.double()
    expected = reference.predict_proba(scaler.transform(queries))
    assert np.abs(probe.probabilities(queries).numpy() - expected).max() < 1e-3
    assert probe.regularization == regularization
    assert probe.held_out == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(61, spread=2)
    whole = fit_linear(x.double(), y, 4, 1e-2)
    monkeypatch.setattr(linear, "_CELLS", 40)  # ten images at once
    assert torch.allclose(fit_linear(x.double(), y, 4, 1e-2).weight, whole.weight, atol=1e-6)


def test_the_regularization_is_the_best_on_held_out_training_images() -> None:
    # 60 images in 100 dimensions of which 8 say anything: the weakest regularization overfits.
    x, y = blobs(60, spread=0.8)
    x = torch.cat([x, 4 * torch.randn(60, 92, generator=torch.Generator().manual_seed(5))], 1)
    probe = fit_linear(x, y, 4)
    held = held_out_rows(y, 0)
    kept = torch.ones(60, dtype=torch.bool).index_fill_(0, held, False)
    scores = []
    mean, scale = x.mean(0), x.std(0, correction=0)
    for value in REGULARIZATIONS:
        part = fit_linear((x[kept] - mean) / scale, y[kept], 4, value, standardize=False)
        logits = part.logits((x[held] - mean) / scale)
        scores.append(((logits.argmax(1) == y[held]).double().mean().item(), -F.cross_entropy(logits, y[held]).item()))
    assert probe.regularization == REGULARIZATIONS[scores.index(max(scores))]
    assert probe.held_out == 12
    assert probe.regularization > 1e-4
    assert torch.allclose(probe.weight, fit_linear(x, y, 4, probe.regularization).weight, atol=1e-3)


def test_the_seed_alone_decides() -> None:
    x, y = blobs(100, spread=2)
    assert torch.equal(fit_linear(x, y, 4, seed=3).weight, fit_linear(x.clone(), y.numpy(), 4, seed=3).weight)
    one, other = (held_out_rows(y, seed) for seed in (0, 1))
    assert not torch.equal(one, other)


def test_one_image_of_each_class_is_enough() -> None:
    x, y = blobs(4)
    probe = fit_linear(x, y, 4)
    assert (probe.held_out, probe.regularization) == (0, 1e-2)
    assert probe.predict(x).tolist() == [0, 1, 2, 3]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 100))
def test_a_fifth_of_each_class_is_held_out(labels: list[int], seed: int) -> None:
    y = torch.tensor(labels)
    held = held_out_rows(y, seed)
    assert len(held.unique()) == len(held)
    for label in set(labels):
        count, taken = labels.count(label), int((y[held] == label).sum())
        assert taken == (0 if count == 1 else max(1, int(count * 0.2 + 0.5)))


def test_without_a_group_to_spare_in_every_class_nothing_is_chosen() -> None:
    x, y = blobs(40, 2)
    fine = fit_linear(x, y, 2, groups=np.arange(40) // 4)  # ten groups hold images of both classes
    assert fine.held_out == 8
    lone = np.where(y.numpy() == 0, 0, 1 + np.arange(40) // 4)  # all of the first class belong together
    assert fit_linear(x, y, 2, groups=lone).held_out == 0
    assert fit_linear(x, y, 2, groups=lone).regularization == 1e-2


def test_classes_without_training_images_are_never_predicted() -> None:
    x, y = blobs(40, classes=2)
    probe = fit_linear(x, y * 3, 5, 1e-2)
    assert accuracy(probe, x, y * 3) > 0.9
    assert probe.weight.shape == (5, 8)
    found = probe.probabilities(x)
    assert bool((found[:, [1, 2, 4]] == 0).all())
    assert torch.allclose(found.sum(1), torch.ones(40), atol=1e-5)


def test_a_constant_dimension_and_a_large_offset_do_no_harm() -> None:
    x, y = blobs(80, spread=0.3)
    x = torch.cat([x + 100, torch.full((80, 1), 0.1), torch.zeros(80, 1)], 1)
    probe = fit_linear(x, y, 4)
    assert accuracy(probe, x, y) > 0.95
    assert probe.weight[:, 8:].abs().max() < 1e-3
    assert torch.isfinite(probe.weight).all()


def test_ten_thousand_features_take_seconds() -> None:
    x, y = blobs(10_000, classes=10, dim=512, spread=6)
    start = time.process_time()
    probe = fit_linear(x, y, 10)
    assert time.process_time() - start < 15  # about 3 s on an idle core
    test, truth = blobs(2000, classes=10, dim=512, seed=1, spread=6)
    assert accuracy(probe, test, truth) > 0.9


def test_what_the_user_can_get_wrong() -> None:
    x, y = blobs(8)
    with pytest.raises(UserError, match="at least 2 classes to train on"):
        fit_linear(x, y * 0, 4)
    with pytest.raises(UserError, match="not finite"):
        fit_linear(x * torch.inf, y, 4)
    with pytest.raises(UserError, match="regularization=0: give a positive"):
        fit_linear(x, y, 4, 0)
