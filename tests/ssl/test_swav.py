import math

import pytest
import torch

from tests.ssl import small
from uda.clock import Clock
from uda.nn.encoder import TimmEncoder
from uda.ssl.functional.clustering import sinkhorn, swav
from uda.ssl.placebo import placebo
from uda.ssl.swav import SwAV

SMALL = {"hidden": 32, "width": 16, "prototypes": 8}


def make(encoder: TimmEncoder, kind: type[SwAV] = SwAV, **options: float) -> SwAV:
    torch.manual_seed(1)
    return kind(encoder, small.info(), **(SMALL | options))  # type: ignore[arg-type]


def test_the_loss_swaps_codes() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    views = objective.views(small.batch(), small.CLOCK)
    features = encoder(views.images)
    a, b = objective.prototypes(objective.projector(features)).chunk(2)
    expected = (swav(a, sinkhorn(b, 0.05, 3), 0.1) + swav(b, sinkhorn(a, 0.05, 3), 0.1)) / 2
    found = objective.loss(features, views)
    assert found.value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.chance == pytest.approx(math.log(8))


def test_small_crops_predict_both_codes_and_have_none() -> None:
    losses = pytest.importorskip("lightly.loss")
    encoder = small.encoder()
    objective = make(encoder, local_crops=3)
    views = objective.views(small.batch(), small.CLOCK)
    assert views.crops is not None
    assert views.crops.shape == (48, 3, 16, 16)
    features = objective.encode(encoder, views)
    scores = list(objective.prototypes(objective.projector(features)).chunk(5))
    expected = losses.SwaVLoss()(scores[:2], scores[2:]).item()
    assert objective.loss(features, views).value.item() == pytest.approx(expected, rel=1e-5)


def test_prototypes_are_normalized_before_each_step_and_rest_at_first() -> None:
    encoder, batch = small.encoder(), small.batch()
    objective = make(encoder)
    optimizer = small.optimizer_of(objective, encoder)
    start = objective.prototypes.weight.detach().clone()
    small.step(objective, encoder, batch, optimizer, Clock(0, 10, 1, 8, 16))
    assert torch.allclose(objective.prototypes.weight, start)
    small.step(objective, encoder, batch, optimizer, Clock(2, 10, 1, 8, 16))
    assert not torch.allclose(objective.prototypes.weight, start)
    assert (objective.prototypes.weight.norm(dim=1) - 1).abs().max() > 1e-5
    objective.before_step(encoder, Clock(3, 10, 1, 8, 16))
    assert objective.prototypes.weight.norm(dim=1).tolist() == pytest.approx([1.0] * 8, abs=1e-6)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    encoder = small.encoder()
    first, last = small.falls_on_fixed_batch(make(encoder), encoder, small.batch())
    assert small.gradient_reaches(encoder)
    assert last < 0.8 * first


def test_a_restored_copy_continues_exactly() -> None:
    assert small.continues_exactly(SwAV, small.batch(), **SMALL)


def test_the_placebo_predicts_the_codes_of_other_images() -> None:
    encoder = small.encoder()
    right, wrong = (make(encoder, kind) for kind in (SwAV, placebo(SwAV)))
    views, other = (objective.views(small.batch(), small.CLOCK) for objective in (right, wrong))
    assert torch.equal(views.images, other.images)
    features = encoder(views.images)
    assert right.loss(features, views).value.item() != right.loss(features, other).value.item()
