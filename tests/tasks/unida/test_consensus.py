import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.unida.small import run, small_task
from uda.clock import Clock
from uda.tasks.unida import Consensus, Features, Look, Setup
from uda.tasks.unida.consensus import neighbors_answers


def test_the_nearest_others_are_asked() -> None:
    # On the circle: images 0 and 1 lie together, 2 and 3 opposite. With one neighbor each hears its twin; with two,
    # image 0 also hears the nearer of 2 and 3, which is 2 (170° against 180°).
    angles = torch.tensor([0.0, 5.0, 170.0, 180.0]).deg2rad()
    features = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [3.0], [2.0], [5.0]])
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(9)], [0.0, 0.0]])
    said = logits.softmax(1)
    one = neighbors_answers(features, features, said, 1, themselves=True)
    # softmax: (.5, .5), (.75, .25), (.1, .9), (.5, .5)
    assert torch.allclose(one, torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]))
    two = neighbors_answers(features, features, said, 2, themselves=True)
    assert torch.allclose(two[0], torch.tensor([(0.75 + 0.1) / 2, (0.25 + 0.9) / 2]))


@given(n=st.integers(2, 12), neighbors=st.integers(1, 20), seed=st.integers(0, 1000))
def test_answers_are_distributions_and_follow_the_images(n: int, neighbors: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features, logits = torch.randn(n, 5, generator=generator), torch.randn(n, 3, generator=generator)
    said = logits.softmax(1)
    answers = neighbors_answers(features, features, said, neighbors, themselves=True)
    assert torch.allclose(answers.sum(1), torch.ones(n), atol=1e-5)
    order = torch.randperm(n, generator=generator)
    moved = neighbors_answers(features[order], features[order], said[order], neighbors, themselves=True)
    assert torch.allclose(moved, answers[order], atol=1e-5)
    # Alone an image has the answer that it has among the others.
    alone = neighbors_answers(3 * features[:1], features, said, neighbors, themselves=False)
    assert torch.allclose(alone, answers[:1], atol=1e-5)


def test_where_there_is_nobody_to_ask_an_image_keeps_its_answer() -> None:
    said = torch.tensor([[0.2, 0.8]])
    assert torch.equal(neighbors_answers(torch.ones(1, 4), torch.ones(1, 4), said, 32, themselves=True), said)


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
