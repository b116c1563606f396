import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.tasks.unida import Look, Setup, Vote
from uda.tasks.unida.vote import neighbors_answers


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


def vote(**options: int) -> Vote:
    return Vote(Setup(dim=3, n_classes=2, n_target=4), **options)  # type: ignore[arg-type]


def test_the_root_of_the_images_vote_unless_the_user_says_how_many() -> None:
    assert Vote(Setup(dim=2, n_classes=2, n_target=50)).neighbors == 7  # √50 = 7.07
    assert Vote(Setup(dim=2, n_classes=2, n_target=1)).neighbors == 1
    assert vote(neighbors=3).neighbors == 3


def test_an_image_gets_its_neighbors_answer_and_the_entropy_of_it() -> None:
    # Two pairs of images; each hears its twin, whose logits (0, log 3) are (1/4, 3/4) with the entropy
    # log 4 − 3/4 · log 3.
    features = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.01, 0.0], [0.0, 0.0, 1.0], [0.0, 0.01, 1.0]])
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3)], [0.0, math.log(3)], [0.0, 0.0]])
    method = vote(neighbors=1)
    method.remember(Look(features, logits))
    probabilities, scores = method.answers(features, logits, of_target=True)
    expected = torch.tensor([[0.25, 0.75], [0.5, 0.5], [0.5, 0.5], [0.25, 0.75]])
    assert torch.allclose(probabilities, expected)
    assert scores.tolist() == pytest.approx(
        [math.log(4) - 0.75 * math.log(3), math.log(2), math.log(2), math.log(4) - 0.75 * math.log(3)]
    )


def test_images_that_come_later_ask_the_target() -> None:
    features = torch.eye(3)[[0, 1, 2, 2]] + torch.tensor([0.0, 0.0, 0.0, 0.1])[:, None]
    logits = torch.tensor([[5.0, 0.0], [0.0, 0.0], [0.0, 5.0], [0.0, 5.0]])
    method = vote(neighbors=1)
    method.remember(Look(features, logits))
    stranger = torch.tensor([[0.9, 0.2, 0.1]])
    probabilities, _ = method.answers(stranger, torch.tensor([[0.0, 9.0]]), of_target=False)
    assert torch.allclose(probabilities, logits[:1].softmax(1))
