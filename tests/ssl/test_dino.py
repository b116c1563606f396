import copy
import math

import pytest
import torch
from torch import Tensor

from tests.ssl import small
from uda.clock import Clock
from uda.nn.encoder import Encoder, TimmEncoder
from uda.ssl.dino import DINO
from uda.ssl.functional.distillation import dino
from uda.ssl.placebo import placebo

SMALL = {"hidden": 32, "bottleneck": 16, "prototypes": 24, "local_crops": 2}


def make(encoder: TimmEncoder, kind: type[DINO] = DINO, **options: float) -> DINO:
    torch.manual_seed(1)
    return kind(encoder, small.info(), **(SMALL | options))  # type: ignore[arg-type]


def test_two_views_for_both_and_small_ones_for_the_student() -> None:
    objective = make(small.encoder())
    views = objective.views(small.batch(), small.CLOCK)
    assert views.teacher is not None
    assert torch.equal(views.images, views.teacher)
    assert views.images.shape == (32, 3, 32, 32)
    assert views.crops is not None
    assert views.crops.shape == (32, 3, 16, 16)
    assert make(small.encoder(), local_crops=0).views(small.batch(), small.CLOCK).crops is None


def test_the_loss_pairs_every_view_with_the_teachers_other_one() -> None:
    encoder = small.encoder()
    objective, batch = make(encoder), small.batch()
    objective.center.copy_(torch.linspace(-0.1, 0.1, 24))
    views = objective.views(batch, small.CLOCK)
    features = objective.encode(encoder, views)
    assert features.shape == (64, encoder.dim)
    student = objective.prototypes(objective.projector(features)).chunk(4)
    teacher = objective.prototypes(objective.projector(features[:32]))  # still the same network
    found = objective.loss(features, views)
    assert found.value.item() == pytest.approx(dino(student, teacher.chunk(2), objective.center, 0.1, 0.04).item())
    assert found.chance == pytest.approx(math.log(24))
    assert isinstance(found.carry, Tensor)
    assert torch.allclose(found.carry, teacher.mean(0), atol=1e-6)
    assert not found.carry.requires_grad


def test_the_center_moves_after_the_step_and_not_with_the_loss() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    loss = objective(encoder, small.batch(), small.CLOCK)
    assert objective.center.tolist() == [0.0] * 24
    objective.after_step(loss.carry)
    assert isinstance(loss.carry, Tensor)
    assert torch.allclose(objective.center, 0.1 * loss.carry)
    objective.after_step(torch.ones(24))
    assert torch.allclose(objective.center, 0.09 * loss.carry + 0.1)


def test_the_prototypes_rest_in_the_first_epoch() -> None:
    encoder, batch = small.encoder(), small.batch()
    objective = make(encoder)
    optimizer = small.optimizer_of(objective, encoder)
    start = objective.prototypes.weight.detach().clone()
    small.step(objective, encoder, batch, optimizer, Clock(0, 10, 1, 8, 16))
    small.step(objective, encoder, batch, optimizer, Clock(1, 10, 1, 8, 16))
    assert torch.equal(objective.prototypes.weight, start)
    small.step(objective, encoder, batch, optimizer, Clock(2, 10, 1, 8, 16))  # 2 · 8 of 16 images: one epoch
    assert not torch.equal(objective.prototypes.weight, start)
    assert small.gradient_reaches(encoder)


def test_prototypes_count_by_direction_alone() -> None:
    objective = make(small.encoder())
    bottleneck = torch.randn(3, 16)
    before = objective.prototypes(bottleneck)
    with torch.no_grad():
        objective.prototypes.weight.mul_(7)
    assert torch.allclose(objective.prototypes(5 * bottleneck), before, atol=1e-6)


def test_the_teacher_follows_with_the_momentum_of_the_clock() -> None:
    encoder = small.encoder()
    objective = make(encoder, momentum=0.9)
    teacher = copy.deepcopy(objective.teacher.module.state_dict())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1)
    objective.before_step(encoder, Clock(5, 10))  # half way: 0.95
    best = objective.export(encoder)
    assert isinstance(best, Encoder)
    assert best is not encoder
    for name, parameter in best.named_parameters():
        assert torch.allclose(parameter, teacher[f"0.{name}"] + 0.05, atol=1e-5)


def test_the_head_has_no_batch_norm() -> None:
    objective = make(small.encoder())
    kinds = {type(module) for module in objective.projector}
    assert kinds == {torch.nn.Linear, torch.nn.GELU}


def test_the_loss_falls_on_a_fixed_batch() -> None:
    encoder = small.encoder()
    objective = make(encoder, center_momentum=0.0)
    objective.after_step(objective(encoder, small.batch(), small.CLOCK).carry)  # the target moves with the center
    objective.center_momentum = 1.0
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(), lr=0.1)
    assert first > 2.5  # near log 24 = 3.18
    assert last < 0.8 * first


def test_a_restored_copy_continues_exactly() -> None:
    assert small.continues_exactly(DINO, small.batch(), **SMALL)


def test_the_placebo_matches_other_images() -> None:
    encoder = small.encoder()
    losses = [make(encoder, kind)(encoder, small.batch(), small.CLOCK).value.item() for kind in (DINO, placebo(DINO))]
    assert losses[0] != losses[1]
