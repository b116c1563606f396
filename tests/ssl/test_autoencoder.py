import pytest
import torch

from tests.ssl import small
from uda.ssl.autoencoder import Autoencoder, squared_error
from uda.ssl.objective import Loss, Views
from uda.ssl.placebo import placebo


def test_the_error_is_summed_over_pixels_and_averaged_over_images_by_hand() -> None:
    painted = torch.tensor([[[[0.5, 0.5]]], [[[1.0, 0.0]]]])
    images = torch.tensor([[[[0.0, 1.0]]], [[[1.0, 0.2]]]])
    # (0.25 + 0.25) and (0 + 0.04), mean 0.27
    assert squared_error(painted, images).item() == pytest.approx(0.27)


def test_a_gray_painting_of_a_black_image() -> None:
    encoder = small.encoder()
    objective = Autoencoder(encoder, small.info())
    last = objective.decoder.layers[-1]
    assert isinstance(last, torch.nn.Conv2d)
    torch.nn.init.zeros_(last.weight)
    assert last.bias is not None
    torch.nn.init.zeros_(last.bias)
    batch = small.Batch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.arange(2), None, "target")
    # 3 · 32² values that are off by ½
    assert objective(encoder, batch, small.CLOCK).value.item() == pytest.approx(3 * 1024 * 0.25)


def test_the_plain_autoencoder_shares_the_tasks_view() -> None:
    objective, batch = Autoencoder(small.encoder(), small.info()), small.batch()
    views = objective.views(batch, small.CLOCK)
    assert views.plain == slice(0, 16)
    assert torch.equal(views.images, objective.info.augment(batch, small.CLOCK))
    assert views.targets is not None
    assert torch.equal(views.targets, views.images)


def test_the_denoising_one_sees_black_pixels_and_paints_the_clean_view() -> None:
    objective, batch = Autoencoder(small.encoder(), small.info(), noise=0.3), small.batch()
    views = objective.views(batch, small.CLOCK)
    assert views.plain is None
    assert views.targets is not None
    clean = objective.info.augment(batch, small.CLOCK)
    assert torch.equal(views.targets, clean)
    gone = (views.images == 0).all(1) & (clean > 0).any(1)
    assert 0.28 < gone.float().mean() < 0.32
    assert torch.equal(views.images.movedim(1, -1)[~gone], clean.movedim(1, -1)[~gone])
    again = objective.views(batch, small.CLOCK)
    assert torch.equal(again.images, views.images)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_encoder_learns_and_the_loss_falls_with_the_default_weight(noise: float) -> None:
    encoder = small.encoder()
    objective = Autoencoder(encoder, small.info(), noise=noise)
    lr = 0.05 * objective.default_weight
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(8), steps=20, lr=lr)
    assert last < 0.6 * first
    assert small.gradient_reaches(encoder)


def test_a_copy_goes_on_exactly() -> None:
    class Light(Autoencoder):
        """Weighted as by default, so that the helper's rate does not blow it up."""

        def loss(self, features: torch.Tensor, views: Views) -> Loss:
            return Loss(super().loss(features, views).value * self.default_weight)

    assert small.continues_exactly(Light, small.batch(), noise=0.2)


def test_the_placebo_paints_other_images() -> None:
    encoder = small.encoder().eval()
    real, fake = (kind(encoder, small.info()) for kind in (Autoencoder, placebo(Autoencoder)))
    fake.load_state_dict(real.state_dict())
    a, b = (o.views(small.batch(), small.CLOCK) for o in (real, fake))
    assert torch.equal(a.images, b.images)
    assert a.targets is not None
    assert b.targets is not None
    assert not (a.targets == b.targets).flatten(1).all(1).any()
    assert real.loss(encoder(a.images), a).value != fake.loss(encoder(b.images), b).value
