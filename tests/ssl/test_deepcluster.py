import math

import pytest
import torch

from tests.ssl import small
from tests.ssl.assigning import assign, continues_exactly
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import TimmEncoder
from uda.ssl.deepcluster import DeepCluster
from uda.ssl.kmeans import k_means, whitened
from uda.ssl.placebo import placebo
from uda.ssl.views import to_float

START = Clock(0, 10, 1, 16, 32)


def make(encoder: TimmEncoder, kind: type[DeepCluster] = DeepCluster, **options: int) -> DeepCluster:
    torch.manual_seed(1)
    return kind(encoder, small.info(32), **({"clusters": 4} | options))


def test_assignments_are_k_means_of_whitened_features_in_the_order_of_the_table() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    head = objective.head.weight.detach().clone()
    restarted = assign(objective, encoder, batch, START)
    assert [id(p) for p in restarted] == [id(p) for p in objective.head.parameters()]
    assert not torch.equal(objective.head.weight, head)
    encoder.eval()
    with torch.no_grad():
        rows = whitened(encoder(to_float(batch.images)))
    labels = objective.assignments
    assert labels.unique().tolist() == [0, 1, 2, 3]
    # at a fixed point of k-means every image is nearest to the mean of its own cluster
    centers = torch.stack([rows[labels == k].mean(0) for k in range(4)])
    assert torch.equal(torch.cdist(rows, centers).argmin(1), labels)
    assert torch.equal(objective.sampling_labels, labels)


def test_clusters_are_new_each_time_and_the_same_each_time_over() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assign(objective, encoder, batch, START)
    labels, weight = objective.assignments.clone(), objective.head.weight.detach().clone()
    assign(objective, encoder, batch, Clock(2, 10, 1, 16, 32))
    assert not torch.equal(objective.head.weight, weight)
    assign(objective, encoder, batch, START)
    assert torch.equal(objective.assignments, labels)
    assert torch.equal(objective.head.weight, weight)


def test_due_every_epoch() -> None:
    objective = make(small.encoder())
    assert [step for step in range(7) if objective.assign_due(Clock(step, 10, 1, 16, 32))] == [0, 2, 4, 6]


def test_targets_are_looked_up_by_the_images_own_rows() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    objective.assignments.copy_(torch.arange(32) % 4)
    views = objective.views(small.batch(6), small.CLOCK)
    assert views.targets is not None
    assert views.targets.tolist() == [0, 1, 2, 3, 0, 1]
    torch.nn.init.zeros_(objective.head.weight)
    torch.nn.init.zeros_(objective.head.bias)
    loss = objective.loss(torch.randn(6, encoder.dim), views)
    assert loss.value.item() == pytest.approx(math.log(4))
    assert loss.chance == pytest.approx(math.log(4))
    assert loss.accuracy == pytest.approx(2 / 6)  # all zeros: argmax says cluster 0


def test_the_encoder_learns_its_clusters() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assign(objective, encoder, batch, START)
    first, last = small.falls_on_fixed_batch(objective, encoder, batch, lr=0.2)
    assert small.gradient_reaches(encoder)
    assert last < 0.5 * first


def test_a_restored_copy_continues_exactly() -> None:
    clocks = [Clock(step, 8, 1, 16, 32) for step in range(8)]
    assert continues_exactly(DeepCluster, small.batch(32), clocks, clusters=4)


def test_the_placebo_learns_the_clusters_of_other_images() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    right, wrong = (make(encoder, kind) for kind in (DeepCluster, placebo(DeepCluster)))
    for objective in (right, wrong):
        assign(objective, encoder, batch, START)
    assert torch.equal(right.assignments, wrong.assignments)
    views, other = right.views(batch, START), wrong.views(batch, START)
    features = encoder(views.images)
    assert right.loss(features, views).value.item() != right.loss(features, other).value.item()


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(UserError, match="objective 'deepcluster' cannot make 33 clusters of 32 images"):
        make(small.encoder(), clusters=33)


def test_all_images_alike_still_make_clusters() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    batch = small.batch(32)
    batch.images[:] = 128
    assign(objective, encoder, batch, START)
    assert torch.bincount(objective.assignments).min() >= 1
    assert len(k_means(torch.zeros(32, 1), 4, 0)[0].unique()) == 4
