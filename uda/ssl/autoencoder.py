"""Autoencoder, plain or denoising."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import uniform
from uda.ssl.decoder import Decoder, shrunk
from uda.ssl.objective import Info, Loss, Need, Objective, Views


def squared_error(painted: Tensor, images: Tensor) -> Tensor:
    """Return the squared error, summed over pixels and channels, mean over the batch: a scalar."""
    return (painted - images).square().flatten(1).sum(1).mean()


class Autoencoder(Objective):
    """Paint the image again from its pooled features (Hinton and Salakhutdinov, Science 2006).

    noise: share of pixels that the encoder sees black, all channels together; above 0 it is the denoising autoencoder
    with masking noise (Vincent et al., ICML 2008, section 2.3), and the plain view is no longer shared. Images of more
    than 64 pixels are painted at half the size or less.
    The loss is a sum over pixels and channels, so it and its gradient are 3 · P² times those of a mean: hundreds at 32
    pixels. The default weight of 0.001 brings that to the size of a cross-entropy.
    """

    name: ClassVar[str] = "autoencoder"
    needs: ClassVar[Need] = Need.PIXELS
    default_weight: ClassVar[float] = 0.001

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        noise: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        width: Annotated[int, Field(ge=1)] = 128,
    ):
        super().__init__(encoder, info)
        self.noise = noise
        self.decoder = Decoder(encoder.dim, info.image_size, width)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """The task's own view, with black pixels if asked for; targets: the clean view at the size that is painted."""
        images = self.info.augment(batch, clock)
        if not self.noise:
            return Views(images, targets=shrunk(images), plain=slice(0, len(batch)))
        side = images.shape[-1]
        draws = uniform(clock.seed, clock.step, batch.index, f"autoencoder/{batch.domain}", side * side)
        seen = draws.view(-1, 1, side, side) >= self.noise
        return Views(torch.where(seen, images, 0.0), targets=shrunk(images))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Squared error, summed over pixels and channels, mean over the batch."""
        assert views.targets is not None  # this class made them
        return Loss(squared_error(self.decoder(features), views.targets))
