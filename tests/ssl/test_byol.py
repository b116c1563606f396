import copy

import pytest
import torch
from torch import Tensor

from tests.ssl import small
from uda.clock import Clock
from uda.nn.encoder import TimmEncoder
from uda.ssl.byol import BYOL
from uda.ssl.functional.distillation import byol
from uda.ssl.objective import Objective
from uda.ssl.placebo import placebo

SMALL = {"hidden": 32, "width": 16}


def make(encoder: TimmEncoder, **options: float) -> BYOL:
    torch.manual_seed(1)
    return BYOL(encoder, small.info(), **(SMALL | options))  # type: ignore[arg-type]


def test_the_teacher_starts_as_a_copy_and_gets_no_gradient() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(objective.teacher(images), objective.projector(encoder(images)))
    assert not any(p.requires_grad for p in objective.teacher.parameters())
    small.step(objective, encoder, small.batch(), small.optimizer_of(objective, encoder))
    assert small.gradient_reaches(encoder)
    assert all(p.grad is None for p in objective.teacher.parameters())


def test_the_loss_is_the_sum_of_both_directions_across_views() -> None:
    encoder = small.encoder()
    objective, batch = make(encoder), small.batch()
    views = objective.views(batch, small.CLOCK)
    a, b = (small.random_view(batch, small.CLOCK, view) for view in "ab")
    assert torch.equal(views.images, torch.cat([a, b]))
    features = encoder(views.images)
    p = objective.predictor(objective.projector(features))
    z = objective.projector(features)  # the teacher is still the same network
    expected = byol(p[:16], z[16:]) + byol(p[16:], z[:16])
    assert objective.loss(features, views).value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_teacher_follows_before_each_step_and_stops_at_the_end() -> None:
    encoder = small.encoder()
    objective = make(encoder, momentum=0.9)
    before = copy.deepcopy(objective.teacher.state_dict())
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *objective.projector.parameters()):
            parameter.add_(1)

    def moved() -> list[Tensor]:
        after = dict(objective.teacher.named_parameters())
        return [after[name] - before[name] for name in after]

    objective.before_step(encoder, Clock(10, 10))  # momentum 1
    assert all((m == 0).all() for m in moved())
    objective.before_step(encoder, Clock(5, 10))  # half way: momentum 0.95
    assert all(torch.allclose(m, torch.tensor(0.05), atol=1e-5) for m in moved())


def test_the_loss_falls_on_a_fixed_batch() -> None:
    encoder = small.encoder()
    first, last = small.falls_on_fixed_batch(make(encoder), encoder, small.batch())
    assert last < 0.5 * first


def test_a_restored_copy_continues_exactly() -> None:
    assert small.continues_exactly(BYOL, small.batch(), **SMALL)


def test_the_placebo_predicts_other_images() -> None:
    encoder, kinds = small.encoder(), (BYOL, placebo(BYOL))
    losses = []
    for kind in kinds:
        torch.manual_seed(1)
        objective: Objective = kind(encoder, small.info(), hidden=32, width=16)
        losses.append(objective(encoder, small.batch(), small.CLOCK).value.item())
    assert losses[0] != losses[1]
