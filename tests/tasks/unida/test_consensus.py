import pytest
import torch

from tests.tasks.unida.small import run, small_task
from uda.clock import Clock
from uda.tasks.unida import Consensus, Features, Look, Setup


def consensus(**options: float) -> Consensus:
    torch.manual_seed(0)
    return Consensus(Setup(dim=8, n_classes=3, n_target=10), **options)  # type: ignore[arg-type]


def step_features() -> Features:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(4, 8, generator=generator), torch.randn(5, 8, generator=generator)
    return Features(source, torch.tensor([0, 1, 2, 0]), target, torch.arange(5))


def test_neighbors_are_asked_at_the_start_of_each_round() -> None:
    method, asked = consensus(start=0.5, rounds=2), []
    for step in range(100):
        before = method.taught.clone()
        method.prepare(Clock(step, 100), lambda: Look(torch.randn(10, 8), torch.randn(10, 3)))
        if not torch.equal(before, method.taught):
            asked.append(step)
    assert asked == [50, 75]


def test_the_term_is_the_cross_entropy_with_the_answers_and_rises() -> None:
    method, features = consensus(start=0.0, ramp=0.5, consensus=2.0), step_features()
    method.taught.copy_(torch.softmax(torch.randn(10, 3), 1))
    assert features.target is not None
    logits = method.classifier(features.target)
    by_hand = -2.0 * sum((method.taught[i] * (logits[i] - logits[i].logsumexp(0))).sum() for i in range(5)) / 5
    by_hand = by_hand.item()  # type: ignore[union-attr]
    found = [method(features, Clock(step, 100))["consensus"].item() for step in (0, 25, 50, 99)]
    assert found == pytest.approx([0.0, 0.5 * by_hand, by_hand, by_hand], rel=1e-5, abs=1e-7)


def test_with_no_weight_and_no_ramp_it_is_dance() -> None:
    features, clock = step_features(), Clock(3, 10)
    ours, dance = consensus(start=0.0, ramp=0.0, consensus=0.0), small_task("dance").method.__class__
    torch.manual_seed(0)
    theirs = dance(Setup(dim=8, n_classes=3, n_target=10))
    losses, expected = ours(features, clock), theirs(features, clock)
    assert losses.pop("consensus").item() == 0
    assert {k: v.item() for k, v in losses.items()} == pytest.approx({k: v.item() for k, v in expected.items()})


def test_a_run_ends_with_every_term_in_its_history(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import pandas as pd

    run(small_task("consensus", start=0.5, neighbors=3), tmp_path, steps=6)
    history = pd.read_csv(tmp_path / "history.csv")
    assert history["consensus"].tolist()[:3] == [0.0, 0.0, 0.0]
    assert (history["consensus"][4:] > 0).all()
