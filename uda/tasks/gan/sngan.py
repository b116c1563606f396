"""SNGAN: a generator and a discriminator of spectral norm 1; with rotation beside the discriminator it is SSGAN."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from uda.nn.discriminator import Discriminator
from uda.nn.generator import Generator
from uda.nn.teacher import Teacher
from uda.ranges import Count, NotNegative, Share
from uda.tasks.gan.losses import Kind, discriminator_loss, generator_loss


class SNGAN(nn.Module):
    """Both networks, the generator's moving average, and their losses (Miyato et al., ICLR 2018).

    n_dis: turns of the discriminator for each of the generator. ngf, ndf: width of generator and discriminator, None:
    as published. conditional: the generator is told a class and the discriminator judges by it (projection: Miyato and
    Koyama, ICLR 2018).
    alpha: weight of an objective on generated images, in the generator's turn, in parts of its weight on real ones, in
    the discriminator's; share: part of the real, and of the generated images of a turn that objectives see, None: so
    many that their views cost as much as the images, a quarter where all are seen in four rotations (SSGAN: Chen et
    al., CVPR 2019, section 3.3).
    augment: what both players' images undergo before they are judged (Zhao et al., NeurIPS 2020); r1: weight of the
    gradient penalty at real images, by pixels in [−1, 1] (γ of Mescheder et al., ICML 2018); ema: how slowly the
    average follows the generator, 0: it is the generator; early on it follows faster, by (1 + t)/(10 + t) at step t.
    """

    name: ClassVar[str] = "sngan"

    def __init__(
        self,
        image_size: int,
        n_classes: int,
        *,
        loss: Kind = "hinge",
        n_dis: Count = 5,
        latent: Count = 128,
        ngf: Count | None = None,
        ndf: Count | None = None,
        conditional: bool = False,
        alpha: NotNegative = 0.2,
        share: Share | None = None,
        augment: list[Literal["color", "translation", "cutout"]] = [],  # noqa: B006  (read only; pydantic copies it)
        r1: NotNegative = 0.0,
        ema: Annotated[float, Field(ge=0, lt=1)] = 0.999,
    ):
        super().__init__()
        self.loss, self.n_dis, self.alpha, self.share = loss, n_dis, alpha, share
        self.augment, self.r1, self.ema = tuple(augment), r1, ema
        self.n_classes = n_classes if conditional else 0
        self.generator = Generator(image_size, latent, ngf, self.n_classes)
        self.discriminator = Discriminator(image_size, ndf, self.n_classes)
        self.average = Teacher(self.generator)

    def discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss of the scores of real and generated images, (B,) each."""
        return discriminator_loss(real, fake, self.loss)

    def generator_loss(self, fake: Tensor) -> Tensor:
        """Return the generator's loss of the scores of generated images (B,)."""
        return generator_loss(fake, self.loss)

    def follow(self, step: int) -> None:
        """Move the average towards the generator, after that step (0-based)."""
        self.average.update(self.generator, min(self.ema, (1 + step) / (10 + step)))
