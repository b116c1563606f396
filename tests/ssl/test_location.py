import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.ssl import small
from uda.errors import UserError
from uda.ssl.location import ClassViews, Location
from uda.ssl.objective import Views
from uda.ssl.placebo import placebo
from uda.ssl.tiles import lattice, standardized


def test_center_first_then_the_eight_around_it_row_by_row() -> None:
    objective = Location(small.encoder(size=48), small.info(size=48), gap=0.0, gray=0.0)
    batch = small.batch(4, size=48)
    views = objective.views(batch, small.CLOCK)
    tiles = standardized(lattice(objective.info.augment(batch, small.CLOCK), 3))
    order = [4, 0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.allclose(views.images, tiles[:, order].transpose(0, 1).flatten(0, 1), atol=1e-6)
    assert views.targets is not None
    assert views.targets.tolist() == [side for side in range(8) for _ in range(4)]


def test_each_neighbor_is_paired_with_the_center_of_its_own_image() -> None:
    objective = Location(small.encoder(), small.info())
    pairs: list[Tensor] = []
    objective.head.register_forward_pre_hook(lambda _, given: pairs.append(given[0]))
    features = torch.arange(18.0)[:, None].expand(18, 128)
    objective.loss(features, objective.views(small.batch(2), small.CLOCK))
    # two images: centers are rows 0 and 1, neighbors 2 … 17
    assert pairs[0][:, 0].tolist() == [0, 1] * 8
    assert pairs[0][:, 128].tolist() == list(range(2, 18))


def test_patches_have_the_published_size() -> None:
    objective = Location(small.encoder(size=96), small.info(size=96))
    assert objective.tile_size == 32  # 24 pixels, the next multiple of 16
    assert Location(small.encoder(size=96), small.info(size=96), tile_size=24).tile_size == 24


def test_a_head_that_knows_nothing_has_the_loss_of_chance() -> None:
    objective = Location(small.encoder(), small.info())
    for parameter in objective.head.parameters():
        torch.nn.init.zeros_(parameter)
    loss = objective(small.encoder(), small.batch(), small.CLOCK)
    assert loss.value.item() == pytest.approx(math.log(8), abs=1e-6) == loss.chance


def test_the_encoder_learns_and_the_loss_falls() -> None:
    encoder = small.encoder()
    objective = Location(encoder, small.info(), hidden=64)
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(8), steps=25)
    assert last < 0.6 * first
    assert small.gradient_reaches(encoder)


def test_a_copy_goes_on_exactly() -> None:
    assert small.continues_exactly(Location, small.batch(), hidden=16)


def test_the_placebo_has_other_answers_to_the_same_pairs() -> None:
    encoder = small.encoder().eval()
    real, fake = (kind(encoder, small.info()) for kind in (Location, placebo(Location)))
    fake.load_state_dict(real.state_dict())
    a, b = (o.views(small.batch(), small.CLOCK) for o in (real, fake))
    assert torch.equal(a.images, b.images)
    assert a.targets is not None
    assert b.targets is not None
    assert a.targets.bincount().tolist() == b.targets.bincount().tolist() == [16] * 8
    assert (a.targets == b.targets).float().mean() < 0.3
    assert real.loss(encoder(a.images), a).value != fake.loss(encoder(b.images), b).value


def test_the_class_is_told_by_the_mean_of_nine_patches() -> None:
    objective = Location(small.encoder(), small.info(), patch_class=0.5)
    plain = Location(small.encoder(), small.info())
    plain.load_state_dict(objective.state_dict(), strict=False)
    views = objective.views(small.batch(2), small.CLOCK)
    assert isinstance(views, ClassViews)
    assert views.classes is not None
    assert views.classes.tolist() == [0, 1]
    features = torch.zeros(18, 128)
    features[::2, 0] = torch.arange(9.0)  # the first image's patches, mean (4, 0, 0, …)
    features[1::2, 1] = 3.0
    objective.classifier.weight.data.zero_()[:2, :2] = torch.eye(2)
    both, sides = objective.loss(features, views), plain.loss(features, views_without_classes(views))
    # Both images have cosine 1 to their own row, 0 to one other and to the two empty ones, at a scale of 10.
    by_hand = math.log(1 + 3 * math.exp(-10))
    assert both.value.item() == pytest.approx(sides.value.item() + 0.5 * by_hand, abs=1e-5)
    assert both.chance is None


def views_without_classes(views: ClassViews) -> Views:
    return Views(views.images, targets=views.targets)


def test_images_without_a_label_are_left_out_of_the_classes() -> None:
    encoder = small.encoder().eval()
    objective = Location(encoder, small.info(), patch_class=1)
    views = objective.views(small.batch(4), small.CLOCK)
    assert isinstance(views, ClassViews)
    features = encoder(views.images)
    none = replace(views, classes=torch.full((4,), -1))
    sides = objective.loss(features, views_without_classes(views)).value
    assert objective.loss(features, none).value == sides
    one = objective.loss(features, replace(views, classes=torch.tensor([2, -1, -1, -1]))).value - sides
    alone = objective.classifier(features[::4].mean(0, keepdim=True)).log_softmax(1)[0, 2]
    assert one.item() == pytest.approx(-alone.item(), abs=1e-5)


def test_classes_without_labels_are_refused() -> None:
    with pytest.raises(UserError, match=r"objectives.location.patch_class=1 classifies patches, and there are no lab"):
        Location(small.encoder(), small.info(n_classes=0), patch_class=1)
    objective = Location(small.encoder(), small.info(), patch_class=1)
    with pytest.raises(UserError, match="no labels"):
        objective.views(small.batch(labels=False), small.CLOCK)


def test_the_placebo_keeps_the_classes() -> None:
    objective = placebo(Location)(small.encoder(), small.info(), patch_class=1)
    views = objective.views(small.batch(), small.CLOCK)
    assert isinstance(views, ClassViews)
    assert torch.equal(views.classes, small.batch().labels)
