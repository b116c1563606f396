import math

import pytest
import torch

from tests.ssl import small
from tests.ssl.assigning import assign, continues_exactly
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import TimmEncoder
from uda.ssl.deepercluster import DeeperCluster
from uda.ssl.placebo import placebo
from uda.ssl.rotation import rotate_four_ways
from uda.ssl.views import to_float

START = Clock(0, 10, 1, 16, 32)


def make(encoder: TimmEncoder, kind: type[DeeperCluster] = DeeperCluster, **options: int) -> DeeperCluster:
    torch.manual_seed(1)
    return kind(encoder, small.info(32), **({"super_clusters": 2, "sub_clusters": 3} | options))


def test_targets_are_rotation_times_cluster_and_the_sub_class_in_that_rotation() -> None:
    objective, batch = make(small.encoder()), small.batch(3)
    objective.clusters[:3] = torch.tensor([0, 1, 0])
    objective.sub_classes[:3] = torch.tensor([[0, 1, 2, 0], [1, 1, 1, 1], [2, 2, 0, 1]])
    views = objective.views(batch, small.CLOCK)
    assert torch.equal(views.images, rotate_four_ways(small.random_view(batch, small.CLOCK, "a"))[0])
    assert views.targets is not None
    # rotation by rotation: super-class 4 · cluster + turns
    assert views.targets[:, 0].tolist() == [0, 4, 0, 1, 5, 1, 2, 6, 2, 3, 7, 3]
    assert views.targets[:, 1].tolist() == [0, 1, 2, 1, 1, 2, 2, 1, 0, 0, 1, 1]


def test_the_loss_by_hand() -> None:
    encoder = small.encoder()
    objective, batch = make(encoder), small.batch(2)
    objective.clusters[:2] = torch.tensor([0, 1])
    for head in (objective.super_head, objective.sub_head):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    views = objective.views(batch, small.CLOCK)
    features = torch.randn(8, encoder.dim)
    found = objective.loss(features, views)
    # nothing known: log 8 super-classes + log 3 sub-classes
    assert found.value.item() == pytest.approx(math.log(8) + math.log(3))
    assert found.chance == pytest.approx(math.log(24))
    with torch.no_grad():
        objective.sub_head.bias.view(8, 3)[5] = torch.tensor([math.log(2), 0, 0])
    # the second image's first turn (super-class 4 + 1) has its sub-class 0 with p = ½ instead of ⅓: one of 8 views
    expected = math.log(8) + (7 * math.log(3) + math.log(2)) / 8
    assert objective.loss(features, views).value.item() == pytest.approx(expected)


def test_every_super_class_is_clustered_by_features_in_its_own_rotation() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    restarted = assign(objective, encoder, batch, START)
    wanted = [*objective.super_head.parameters(), *objective.sub_head.parameters()]
    assert [id(p) for p in restarted] == [id(p) for p in wanted]
    assert objective.clusters.unique().tolist() == [0, 1]
    assert torch.equal(objective.sampling_labels, objective.clusters)
    for cluster in range(2):
        for turn in range(4):
            members = objective.sub_classes[objective.clusters == cluster, turn]
            assert members.unique().tolist() == list(range(min(3, len(members))))
    # an assignment over images that were turned before is the same one, turn by turn
    turned = small.batch(32)
    turned.images[:] = torch.rot90(batch.images, 2, dims=(2, 3))
    encoder.eval()
    with torch.no_grad():
        upside_down = encoder(to_float(turned.images))
        third = encoder(torch.rot90(to_float(batch.images), 2, dims=(2, 3)))
    assert torch.allclose(upside_down, third)


def test_small_clusters_have_fewer_sub_classes() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder, super_clusters=8, sub_clusters=16)
    assign(objective, encoder, batch, START)
    sizes = torch.bincount(objective.clusters, minlength=8)
    assert sizes.min() < 16
    for cluster, size in enumerate(sizes.tolist()):
        assert objective.sub_classes[objective.clusters == cluster].max() == min(16, size) - 1


def test_due_every_three_epochs() -> None:
    objective = make(small.encoder())
    assert [step for step in range(14) if objective.assign_due(Clock(step, 20, 1, 16, 32))] == [0, 6, 12]


def test_the_encoder_learns_rotations_and_clusters() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assign(objective, encoder, batch, START)
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(12), steps=12, lr=0.2)
    assert small.gradient_reaches(encoder)
    assert last < 0.7 * first


def test_a_restored_copy_continues_exactly() -> None:
    clocks = [Clock(step, 4, 1, 96, 32) for step in range(4)]
    assert continues_exactly(DeeperCluster, small.batch(32), clocks, super_clusters=2, sub_clusters=3)


def test_the_placebo_learns_the_classes_of_other_views() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    right, wrong = (make(encoder, kind) for kind in (DeeperCluster, placebo(DeeperCluster)))
    for objective in (right, wrong):
        assign(objective, encoder, batch, START)
    views, other = right.views(batch, START), wrong.views(batch, START)
    assert views.targets is not None
    assert other.targets is not None
    assert not torch.equal(views.targets, other.targets)
    assert sorted(map(tuple, views.targets.tolist())) == sorted(map(tuple, other.targets.tolist()))
    # turns too: each is right for a quarter of the views by chance, and by the true signal for all
    turns = torch.arange(4).repeat_interleave(32)
    assert (other.targets[:, 0] % 4 == turns).float().mean() < 0.5
    features = encoder(views.images)
    assert right.loss(features, views).value.item() != right.loss(features, other).value.item()


def test_more_clusters_than_images_are_refused() -> None:
    with pytest.raises(UserError, match="set its option super_clusters to at most 32"):
        make(small.encoder(), super_clusters=33)
