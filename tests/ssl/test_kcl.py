import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tests.ssl import small
from uda.errors import UserError
from uda.ssl.functional.contrastive import k_positive_contrastive, supervised_contrastive
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


def test_with_a_queue_the_positives_are_earlier_keys_of_the_class() -> None:
    network, batch = small.encoder(), small.batch(4)
    objective = small.made(KCL, network, queue=6, positives=1, temperature=0.3)
    assert batch.labels is not None
    views = objective.views(batch, small.CLOCK)
    assert views.teacher is not None
    loss = objective.loss(network(views.images), views)
    # The queue starts with random rows of no class: nothing but the own key is a positive.
    keys = objective.slow_projector(objective.slow_encoder(views.teacher))
    query = objective.projector(network(views.images))
    none = torch.zeros(4, 6, dtype=torch.bool)
    expected = k_positive_contrastive(query, keys, objective.queue.rows, none, 0.3, 1)
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-4)
    objective.after_step(loss.carry)
    assert objective.queue_classes[:4].tolist() == batch.labels.tolist()
    objective.after_step(loss.carry)  # four more rows: the oldest two are written over
    assert objective.queue_classes.tolist() == [
        *batch.labels[2:].tolist(),
        *batch.labels[2:].tolist(),
        *batch.labels[:2].tolist(),
    ]


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_with_a_queue_images_of_a_class_come_together(compat: str) -> None:
    network, batch = small.encoder(), small.batch()
    objective = small.made(KCL, network, queue=64, momentum=0.9, compat=compat)
    assert batch.labels is not None
    same = batch.labels[:, None] == batch.labels[None]
    apart = ~same
    same.fill_diagonal_(False)

    def gap() -> float:
        z = F.normalize(objective.projector(network(objective.views(batch, small.CLOCK).images)))
        return ((z @ z.T)[same].mean() - (z @ z.T)[apart].mean()).item()

    first = gap()
    optimizer = torch.optim.SGD([*network.parameters(), *objective.projector.parameters()], lr=0.05)
    for number in range(30):
        small.step(objective, network, batch, optimizer, small.Clock(number, 30, 1, 16, 16))
    assert gap() > first + 0.1
    assert all(p.grad is None for p in objective.slow_encoder.parameters())


def test_a_copy_with_a_queue_continues_exactly() -> None:
    assert small.continues_exactly(KCL, small.batch(), queue=40)


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"compat": "official"}])
def test_options_of_the_queue_mean_nothing_without_one(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="has no effect without queue=4096"):
        small.made(KCL, small.encoder(), **options)
