"""An image that stands twice in a batch is not told from itself, whichever objective compares images."""

import dataclasses

import pytest
import torch

from tests.ssl import small
from tests.ssl.functional.draws import normal
from uda.batch import Batch
from uda.ssl import OBJECTIVES
from uda.ssl.functional.contrastive import hard_negative_nt_xent, n_pair, nt_xent, other_images


def twice(batch: Batch) -> Batch:
    """Return the batch with every image standing in it twice."""
    return dataclasses.replace(batch, images=batch.images.repeat(2, 1, 1, 1), index=batch.index.repeat(2))


@pytest.mark.parametrize("name", ["simclr", "hcl", "npair"])
def test_a_batch_of_one_image_twice_has_nothing_to_tell_apart(name: str) -> None:
    network = small.encoder()
    options = {"norm_penalty": 0.0} if name == "npair" else {}
    objective = small.made(OBJECTIVES[name], network, **options)
    loss = objective(network, twice(small.batch(1, labels=False)), small.CLOCK).value
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", ["siamese", "triplet"])
def test_the_other_image_is_another(name: str) -> None:
    network = small.encoder()
    objective = small.made(OBJECTIVES[name], network, margin=1.0)
    # Images 0, 0, 1, 1: the neighbor of every second one is its copy. With features that differ by image and not by
    # view, pairs of one image are at 0 and those of two at √2 on the sphere (triplet), or 2 apart: beyond the margin.
    views = dataclasses.replace(objective.views(twice(small.batch(2)), small.CLOCK), ids=torch.tensor([0, 0, 1, 1]))
    with torch.no_grad():
        objective.projector.weight.copy_(torch.eye(*objective.projector.weight.shape))
        objective.projector.bias.zero_()
    features = torch.zeros(8, network.dim)
    features[[0, 1, 4, 5], 0] = features[[2, 3, 6, 7], 1] = 2.0
    assert objective.loss(features, views).value.item() == 0


def test_other_images_by_hand() -> None:
    assert other_images(torch.arange(4)).tolist() == [3, 0, 1, 2]  # one back, around
    # row 1's neighbor 0 is its image again, and one further back, around, so is 4: row 3 it is
    assert other_images(torch.tensor([7, 7, 8, 9, 7])).tolist() == [3, 3, 1, 2, 3]


def test_copies_are_left_out_of_the_sums_by_hand() -> None:
    a, b = normal(3, 4), normal(3, 4, seed=1)
    images = torch.tensor([5, 6, 5])
    t = 0.5
    z = torch.nn.functional.normalize(torch.cat([a, b]))
    s = (z @ z.T / t).exp()
    expected = 0.0
    for i in range(6):
        positive = s[i, (i + 3) % 6]
        others = sum(s[i, j] for j in range(6) if images[j % 3] != images[i % 3])
        expected += -(positive / (positive + others)).log().item() / 6
    assert nt_xent(a, b, t, images=images).item() == pytest.approx(expected, rel=1e-9)
    # without hardness and debiasing it is the same sum
    assert hard_negative_nt_xent(a, b, t, 0.0, 0.0, images).item() == pytest.approx(expected, rel=1e-9)
    # N counts those that are left: the first image's views have 2 negatives each, the second's 4
    tau = 0.05
    hard = 0.0
    for i in range(6):
        positive = s[i, (i + 3) % 6]
        others = [s[i, j] for j in range(6) if images[j % 3] != images[i % 3]]
        weights = [w / sum(others) for w in others]  # β = 1: in proportion to e^(s/T)
        n = len(others)
        corrected = n * (sum(w * o for w, o in zip(weights, others, strict=True)) - tau * positive) / (1 - tau)
        corrected = max(corrected.item(), n * torch.tensor(-1 / t).exp().item())
        hard += -(positive / (positive + corrected)).log().item() / 6
    assert hard_negative_nt_xent(a, b, t, tau, 1.0, images).item() == pytest.approx(hard, rel=1e-6)
    raw = (a @ b.T).exp()
    pairs = sum(
        -(raw[i, i] / (raw[i, i] + sum(raw[i, j] for j in range(3) if images[j] != images[i]))).log().item() / 3
        for i in range(3)
    )
    assert n_pair(a, b, images=images).item() == pytest.approx(pairs, rel=1e-9)


def test_without_copies_nothing_changes_to_the_last_bit() -> None:
    a, b = normal(9, 5).float(), normal(9, 5, seed=1).float()
    images = torch.arange(9) + 40
    assert torch.equal(nt_xent(a, b, 0.1), nt_xent(a, b, 0.1, images=images))
    assert torch.equal(hard_negative_nt_xent(a, b), hard_negative_nt_xent(a, b, images=images))
    assert torch.equal(n_pair(a, b), n_pair(a, b, images=images))
