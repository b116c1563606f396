import dataclasses

import pytest
import torch

from tests.ssl import small
from uda.ssl.functional.contrastive import supervised_contrastive
from uda.ssl.kcl import KCL
from uda.ssl.objective import Need
from uda.ssl.placebo import placebo
from uda.ssl.seeded import SeededViews


@pytest.mark.parametrize("positives", [None, 2])
def test_both_views_of_a_class_are_positives(positives: int | None) -> None:
    network, batch = small.encoder(), small.batch()
    objective = small.made(KCL, network, positives=positives, temperature=0.3)
    views = objective.views(batch, small.CLOCK)
    assert isinstance(views, SeededViews)
    assert batch.labels is not None
    features = network(views.images)
    z, labels = objective.projector(features), torch.cat([batch.labels, batch.labels])
    images = torch.cat([torch.arange(16), torch.arange(16)])
    expected = supervised_contrastive(z, labels, 0.3, positives, views.generator(), images)
    assert torch.equal(objective.loss(features, views).value, expected)


def test_the_same_views_have_the_same_positives_and_another_step_others() -> None:
    network, batch = small.encoder().eval(), small.batch(32)
    objective = small.made(KCL, network, positives=1).eval()
    views = objective.views(batch, small.CLOCK)
    features = network(views.images)
    torch.manual_seed(5)
    first = objective.loss(features, views).value
    torch.manual_seed(6)
    assert torch.equal(objective.loss(features, views).value, first)
    later = dataclasses.replace(views, seed=objective.views(batch, small.Clock(4, 10, 1)).seed)
    assert not torch.equal(objective.loss(features, later).value, first)


def test_it_needs_labels() -> None:
    assert Need.LABELS in KCL.needs


@pytest.mark.parametrize("positives", [None, 6])
def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch(positives: int | None) -> None:
    network = small.encoder()
    objective = small.made(KCL, network, positives=positives)
    first, last = small.falls_on_fixed_batch(objective, network, small.batch())
    assert small.gradient_reaches(network)
    assert last < 0.8 * first


def test_the_placebo_has_other_classes_and_no_second_view_of_the_image() -> None:
    assert small.placebo_differs(KCL, small.batch())
    network, batch = small.encoder(), small.batch()
    real, other = (small.made(kind, network).views(batch, small.CLOCK) for kind in (KCL, placebo(KCL)))
    assert torch.equal(real.images[:16], other.images[:16])
    assert not any(torch.equal(a, b) for a, b in zip(real.images[16:], other.images[16:], strict=True))


def test_a_copy_of_an_image_without_a_label_is_no_negative() -> None:
    # The same image twice, of no known class: all four views are of one class, and there is nothing to be told from.
    objective = small.made(KCL, small.encoder())
    pair = small.batch(1)
    twice = dataclasses.replace(
        pair, images=pair.images.repeat(2, 1, 1, 1), index=torch.tensor([5, 5]), labels=torch.tensor([-1, -1])
    )
    views = objective.views(twice, small.CLOCK)
    assert views.targets is not None
    assert views.targets[0] == views.targets[1]


def test_a_copy_from_the_state_continues_exactly() -> None:
    assert small.continues_exactly(KCL, small.batch())
