from pathlib import Path

import pytest
import torch

from tests.tasks.unida.clusters import clustered_task, trained_answer
from uda.clock import Clock
from uda.ssl.functional import hard_negative_one_vs_all, open_set_entropy
from uda.tasks.unida import Features, OvaNet, Setup


def ovanet(**options: float) -> OvaNet:
    torch.manual_seed(0)
    return OvaNet(Setup(2, 2, 4), **options)  # type: ignore[arg-type]


def test_terms_carry_their_weights() -> None:
    method, (source, target) = ovanet(one_vs_all=2.0, open_set=3.0), torch.randn(2, 4, 2)
    labels = torch.tensor([0, 1, 0, 1])
    losses = method(Features(source, labels, target, torch.arange(4)), Clock(0, 1))
    expected = 2 * hard_negative_one_vs_all(method.binary(source), labels)
    assert losses["one_vs_all"].item() == pytest.approx(expected.item())
    assert losses["open_set_entropy"].item() == pytest.approx(3 * open_set_entropy(method.binary(target)).item())


def test_the_score_is_that_of_the_predicted_classes_binary_classifier() -> None:
    method = ovanet(temperature=1.0)
    with torch.no_grad():
        method.binary.pairs.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # binary logits (1 − (−1), 0 − 0) = (2, 0); the first image is of class 0, the second of class 1
    probabilities, scores = method.answers(features, torch.tensor([[3.0, 0.0], [0.0, 3.0]]), of_target=False)
    assert scores.tolist() == pytest.approx([1 - 1 / (1 + 2.718282**-2), 0.5])
    assert probabilities.argmax(1).tolist() == [0, 1]
    assert method.fixed_threshold == 0.5


def test_on_clusters_the_private_ones_are_less_like_any_class(tmp_path: Path) -> None:
    answer, private = trained_answer(clustered_task("ovanet"), tmp_path)
    assert (answer.closed[~private] == [0] * 15 + [1] * 15).mean() > 0.95
    assert answer.scores[private].mean() > answer.scores[~private].mean() + 0.2
