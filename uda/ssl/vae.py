"""Variational autoencoder."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import uniform
from uda.ssl.autoencoder import squared_error
from uda.ssl.decoder import Decoder, shrunk
from uda.ssl.objective import Info, Loss, Need, Objective, Views


@dataclass(frozen=True)
class NoisyViews(Views):
    """noise: (B, latent) standard normal, what the code of each image is drawn with."""

    noise: Tensor | None = None


class VariationalAutoencoder(Objective):
    """Paint the image from a code drawn at random about what its features say (Kingma and Welling, ICLR 2014).

    Loss = ½ Σ (x − x̂)² + β · KL(q(z|x) ‖ N(0, 1)), both summed for each image, mean over the batch: minus the evidence
    bound for pixels of unit variance, up to a constant (β = 1), or for a variance of β. latent: length of the code. As
    with the autoencoder large images are painted smaller, and the default weight of 0.001 makes up for the sums.
    """

    name: ClassVar[str] = "vae"
    needs: ClassVar[Need] = Need.PIXELS
    default_weight: ClassVar[float] = 0.001

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        latent: Annotated[int, Field(ge=1)] = 64,
        beta: Annotated[float, Field(ge=0)] = 1.0,
        width: Annotated[int, Field(ge=1)] = 128,
    ):
        super().__init__(encoder, info)
        self.beta, self.latent = beta, latent
        self.code = nn.Linear(encoder.dim, 2 * latent)
        self.decoder = Decoder(latent, info.image_size, width)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """The task's own view, shared with the supervised loss; targets: the same at the size that is painted."""
        images = self.info.augment(batch, clock)
        draws = uniform(clock.seed, clock.step, batch.index, f"vae/{batch.domain}", 2 * self.latent)
        return NoisyViews(images, targets=shrunk(images), plain=slice(0, len(batch)), noise=normal(draws))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Half the squared error + β · KL."""
        assert isinstance(views, NoisyViews)  # this class made them
        assert views.targets is not None
        assert views.noise is not None
        mean, log_variance = self.code(features).float().chunk(2, dim=1)
        codes = mean + (0.5 * log_variance).exp() * views.noise
        error = squared_error(self.decoder(codes), views.targets)
        return Loss(0.5 * error + self.beta * gaussian_kl(mean, log_variance))


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) ‖ N(0, 1)) in nats, summed over the code, mean over the batch; (B, d) each."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def normal(draws: Tensor) -> Tensor:
    """Make standard normal draws of uniform ones in [0, 1): (B, 2d) → (B, d) (Box and Muller, 1958)."""
    radius, angle = draws.chunk(2, dim=1)
    return (-2 * torch.log1p(-radius)).sqrt() * (2 * math.pi * angle).cos()
