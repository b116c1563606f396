import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tests.ssl import small
from uda.clock import Clock
from uda.ssl.objective import Loss, Views
from uda.ssl.placebo import placebo
from uda.ssl.vae import NoisyViews, VariationalAutoencoder, gaussian_kl, normal


def test_the_divergence_by_hand_and_against_torch() -> None:
    # ½ (1 + e^0 − 1 − 0) + ½ (0 + 4 − 1 − ln 4) = 0.5 + 0.806853 for the first image, 0 for the second
    mean = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    log_variance = torch.tensor([[0.0, math.log(4)], [0.0, 0.0]])
    assert gaussian_kl(mean, log_variance).item() == pytest.approx(1.306853 / 2, abs=1e-6)
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    oracle = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1).mean()
    assert torch.allclose(gaussian_kl(mean, log_variance), oracle, atol=1e-5)


def test_normal_draws() -> None:
    # u = 1 − e^(−2) has the radius 2; angles 0, ½ turn, ¼ turn
    draws = torch.tensor([[1 - math.exp(-2)] * 3 + [0.0, 0.5, 0.25]])
    assert normal(draws).tolist()[0] == pytest.approx([2.0, -2.0, 0.0], abs=1e-5)
    many = normal(torch.rand(1000, 400, generator=torch.Generator().manual_seed(0)))
    assert many.shape == (1000, 200)
    assert abs(many.mean()) < 0.01
    assert abs(many.std() - 1) < 0.01
    assert abs((many.abs() < 1).float().mean() - 0.6827) < 0.005
    assert normal(torch.tensor([[0.0, 0.0], [1 - 2.0**-24, 0.0]])).isfinite().all()


def test_noise_is_that_of_image_and_step() -> None:
    objective, batch = VariationalAutoencoder(small.encoder(), small.info(), latent=8), small.batch()
    first, again, later = (objective.views(batch, Clock(step, 10, seed=1)) for step in (3, 3, 4))
    assert isinstance(first, NoisyViews)
    assert isinstance(again, NoisyViews)
    assert isinstance(later, NoisyViews)
    assert first.noise is not None
    assert again.noise is not None
    assert later.noise is not None
    assert first.noise.shape == (16, 8)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.noise, later.noise)
    assert first.plain == slice(0, 16)


def test_the_bound_is_half_the_error_and_beta_times_the_divergence() -> None:
    encoder = small.encoder().eval()
    batch = small.batch(4)
    losses = []
    for beta in (0.0, 1.0, 4.0):
        torch.manual_seed(0)
        objective = VariationalAutoencoder(encoder, small.info(), latent=4, beta=beta)
        losses.append(objective(encoder, batch, small.CLOCK).value.item())
    views = objective.views(batch, small.CLOCK)
    mean, log_variance = objective.code(encoder(views.images)).chunk(2, dim=1)
    divergence = gaussian_kl(mean, log_variance).item()
    assert losses[1] - losses[0] == pytest.approx(divergence, rel=1e-3)
    assert losses[2] - losses[0] == pytest.approx(4 * divergence, rel=1e-3)
    codes = mean + (0.5 * log_variance).exp() * views.noise  # type: ignore[attr-defined]
    error = (objective.decoder(codes) - views.targets).square().sum() / 4
    assert losses[0] == pytest.approx(0.5 * error.item(), rel=1e-4)


def test_the_encoder_learns_and_the_loss_falls_with_the_default_weight() -> None:
    encoder = small.encoder()
    objective = VariationalAutoencoder(encoder, small.info(), latent=8)
    lr = 0.05 * objective.default_weight
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(8), steps=20, lr=lr)
    assert last < 0.6 * first
    assert small.gradient_reaches(encoder)


def test_a_copy_goes_on_exactly() -> None:
    class Light(VariationalAutoencoder):
        """Weighted as by default, so that the helper's rate does not blow it up."""

        def loss(self, features: torch.Tensor, views: Views) -> Loss:
            return Loss(super().loss(features, views).value * self.default_weight)

    assert small.continues_exactly(Light, small.batch(), latent=4)


def test_the_placebo_paints_other_images() -> None:
    encoder = small.encoder().eval()
    real, fake = (kind(encoder, small.info()) for kind in (VariationalAutoencoder, placebo(VariationalAutoencoder)))
    fake.load_state_dict(real.state_dict())
    a, b = (o.views(small.batch(), small.CLOCK) for o in (real, fake))
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.noise, b.noise)  # type: ignore[attr-defined]
    assert real.loss(encoder(a.images), a).value != fake.loss(encoder(b.images), b).value
