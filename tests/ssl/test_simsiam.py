import pytest
import torch

from tests.ssl import small
from uda.nn.encoder import TimmEncoder
from uda.ssl.functional.distillation import negative_cosine
from uda.ssl.placebo import placebo
from uda.ssl.simsiam import SimSiam

SMALL = {"width": 32, "bottleneck": 8}


def make(encoder: TimmEncoder, kind: type[SimSiam] = SimSiam) -> SimSiam:
    torch.manual_seed(1)
    return kind(encoder, small.info(), width=32, bottleneck=8)


def test_the_loss_is_the_mean_of_both_directions() -> None:
    encoder = small.encoder()
    objective, batch = make(encoder), small.batch()
    views = objective.views(batch, small.CLOCK)
    features = encoder(views.images)
    z = objective.projector(features)
    p = objective.predictor(z)
    expected = (negative_cosine(p[:16], z[16:]) + negative_cosine(p[16:], z[:16])) / 2
    assert objective.loss(features, views).value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_gradient_of_the_target_is_stopped() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    features = torch.randn(8, encoder.dim, requires_grad=True)
    views = objective.views(small.batch(4), small.CLOCK)
    torch.nn.init.zeros_(list(objective.predictor.parameters())[-2])  # predictions that depend on nothing
    objective.loss(features, views).value.backward()
    assert features.grad is not None
    assert features.grad.abs().max() == 0


def test_the_projector_ends_in_batch_norm_without_affine_parameters() -> None:
    last = make(small.encoder()).projector[-1]
    assert isinstance(last, torch.nn.BatchNorm1d)
    assert not last.affine


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    encoder = small.encoder()
    first, last = small.falls_on_fixed_batch(make(encoder), encoder, small.batch())
    assert small.gradient_reaches(encoder)
    assert last < first - 0.3


def test_a_restored_copy_continues_exactly() -> None:
    assert small.continues_exactly(SimSiam, small.batch(), **SMALL)


def test_the_placebo_predicts_other_images() -> None:
    encoder = small.encoder()
    losses = [
        make(encoder, kind)(encoder, small.batch(), small.CLOCK).value.item() for kind in (SimSiam, placebo(SimSiam))
    ]
    assert losses[0] != losses[1]
