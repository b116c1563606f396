import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.svm import LinearSVC

from uda.errors import UserError
from uda.probes import svm
from uda.probes.svm import COSTS, fit_svm


def blobs(
    n: int, classes: int = 4, dim: int = 8, seed: int = 0, spread: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    return centers[labels] + spread * torch.randn(n, dim, generator=generator), labels


def test_the_grid_is_the_published_one() -> None:
    assert COSTS == (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)


def test_a_margin_by_hand() -> None:
    # Two unit images at right angles, one per class. By symmetry w₁ = a·(1, −1), bias 0, margins a each, and
    # ½·2a² + C·2·(1 − a)² is least at 2a = 4C(1 − a): a = 2C/(1 + 2C) = 2/3 for C = 1; class 0's is the opposite.
    probe = fit_svm(torch.tensor([[0.0, 7.0], [2.0, 0.0]]), torch.tensor([0, 1]), 2, cost=1.0)
    assert probe.weight[1].tolist() == pytest.approx([2 / 3, -2 / 3], abs=1e-2)
    assert probe.weight[0].tolist() == pytest.approx([-2 / 3, 2 / 3], abs=1e-2)
    assert probe.bias.tolist() == pytest.approx([0, 0], abs=1e-2)
    assert probe.predict(torch.tensor([[1.0, 5.0], [5.0, 1.0]])).tolist() == [0, 1]


@pytest.mark.parametrize("classes", [2, 4])
def test_it_predicts_as_scikit_learns_machine(classes: int) -> None:
    x, y = blobs(80, classes, spread=1.5)
    queries, _ = blobs(200, classes, seed=1, spread=1.5)
    reference = LinearSVC(C=5.0, dual=False).fit(F.normalize(x.double()).numpy(), y.numpy())
    expected = reference.decision_function(F.normalize(queries.double()).numpy())
    probe = fit_svm(x, y, classes, cost=5.0)
    found = probe.scores(queries).numpy()
    assert np.abs((found[:, 1] if classes == 2 else found) - expected).max() < 1e-6
    assert np.array_equal(probe.predict(queries).numpy(), reference.predict(F.normalize(queries.double()).numpy()))


def test_the_cost_is_chosen_on_the_training_features() -> None:
    x, y = blobs(120, spread=1.5)
    probe = fit_svm(x, y, 4)
    tried = dict(probe.cross_validated)
    assert list(tried) == list(COSTS[: len(tried)])
    assert tried[probe.cost] == max(tried.values())
    assert all(value < tried[probe.cost] for cost, value in tried.items() if cost < probe.cost)
    assert len(tried) == len(COSTS) or COSTS.index(probe.cost) == len(tried) - 1 - 3  # three without gain end it
    assert probe.converged
    test, truth = blobs(400, seed=1, spread=1.5)
    assert float((probe.predict(test) == truth).double().mean()) > 0.7


def test_every_image_is_held_out_once_and_its_class_stays() -> None:
    y = np.repeat([0, 1, 2, 3], [1, 2, 3, 30])
    fold = svm._folds(y, seed=0)
    assert fold[0] == -1
    for label, counts in ((1, [1, 1, 0]), (2, [1, 1, 1]), (3, [10, 10, 10])):
        assert np.bincount(fold[y == label], minlength=3).tolist() == counts


def test_large_sets_choose_on_as_many_of_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = blobs(400, spread=1.5)
    monkeypatch.setattr(svm, "_SEARCHED", 40)
    probe = fit_svm(x, y, 4, seed=1)
    # every accuracy is a share of the 40 images that choose
    assert all((value * 40) == pytest.approx(round(value * 40)) for _, value in probe.cross_validated)
    again = fit_svm(x, y.numpy(), 4, seed=1)
    assert torch.equal(again.weight, probe.weight)
    assert again.cross_validated == probe.cross_validated


def test_fewer_images_than_dimensions_and_few_of_a_class_raise_no_warning() -> None:
    x, y = blobs(21, classes=5, dim=300, spread=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = fit_svm(x, y, 5)
        hard = fit_svm(x, y, 5, cost=1000.0)
    assert probe.converged
    assert hard.converged
    assert torch.equal(hard.predict(x), y)


def test_one_image_of_each_class_is_enough() -> None:
    x, y = blobs(4)
    probe = fit_svm(x, y, 4)
    assert (probe.cost, probe.cross_validated) == (1.0, ())
    assert torch.equal(probe.predict(x), y)


def test_classes_without_training_images_are_never_predicted() -> None:
    x, y = blobs(40, classes=2)
    probe = fit_svm(x, y * 3, 5, cost=1.0)
    assert set(probe.predict(x).tolist()) == {0, 3}
    assert bool((probe.scores(x)[:, [1, 2, 4]] == -torch.inf).all())


def test_lengths_count_only_without_normalization() -> None:
    x, y = blobs(60, spread=1.5)
    factor = torch.linspace(0.1, 10, 60)[:, None]
    assert torch.allclose(fit_svm(x, y, 4, 1.0).weight, fit_svm(x * factor, y, 4, 1.0).weight, atol=1e-6)
    raw = fit_svm(x, y, 4, 1.0, normalize=False)
    assert not torch.allclose(raw.weight, fit_svm(x * factor, y, 4, 1.0, normalize=False).weight, atol=1e-2)


def test_what_the_user_can_get_wrong() -> None:
    x, y = blobs(8)
    with pytest.raises(UserError, match="linear SVM needs images of at least 2 classes"):
        fit_svm(x, y * 0, 4)
    with pytest.raises(UserError, match="C=0: give a positive number"):
        fit_svm(x, y, 4, cost=0)
    with pytest.raises(UserError, match="not finite"):
        fit_svm(x * torch.nan, y, 4)


def test_no_fold_divides_a_group() -> None:
    # Every feature twice with labels that chance gave: a copy in another fold would name it, and C would be large.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 120, generator=generator).repeat_interleave(2, dim=0)
    y = torch.randint(0, 2, (60,), generator=generator).repeat_interleave(2)
    groups = np.arange(60).repeat(2)
    divided, whole = (dict(fit_svm(x, y, 2, groups=g).cross_validated) for g in (None, groups))
    assert max(divided.values()) > 0.8
    assert max(whole.values()) < 0.7


def test_a_fold_that_holds_all_of_a_class_is_learned_from() -> None:
    x, y = blobs(24, 2)
    groups = np.where(y.numpy() == 0, 0, 1 + np.arange(24) % 4)  # class 0 is one group
    assert fit_svm(x, y, 2, groups=groups).cost in COSTS
    mixed = np.repeat([0, 1], [20, 4])
    assert fit_svm(x, (torch.arange(24) > 20).long(), 2, groups=mixed).cost == svm._FALLBACK
