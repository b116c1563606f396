"""Families of strong views for medical images: what may differ between two pictures of one thing, and nothing else."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.random import uniform
from uda.ranges import Fraction, NotNegative, Positive, Share
from uda.ssl.pixels import random_blur, where_chosen
from uda.ssl.random_views import Contrast
from uda.ssl.stain import StainStatistics, image_statistics, right_angles, stain_jitter, template, to_template
from uda.ssl.views import random_affine


@dataclass(frozen=True)
class Histology:
    """For stained tissue: crops, any right angle, and stains of other strength or of another laboratory.

    Hue, saturation and gray are left alone, for the stain's color is what is to be told. statistics: of the colors of
    the training images, for `normalize`; without them it does nothing. scale, ratio: of the crop, as in `Contrast`;
    turns: quarters and mirror images; stain, stain_shift: the largest change of the stains' densities, as a factor
    1 ± stain and as an optical density, in the share `jitter` of the views (Tellez et al., IEEE TMI 2018); normalize:
    probability of the colors of a random template of the training images (RandStainNA: Shen et al., MICCAI 2022); blur,
    sigma: as in `Contrast`.
    """

    size: int
    statistics: StainStatistics | None = None
    _: KW_ONLY
    scale: tuple[Share, Share] = (0.2, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    turns: bool = True
    jitter: Fraction = 0.8
    stain: NotNegative = 0.2
    stain_shift: NotNegative = 0.05
    normalize: Fraction = 0.5
    blur: Fraction = 0.5
    sigma: tuple[Positive, Positive] = (0.1, 2.0)

    def __post_init__(self) -> None:
        self._crop()  # refuses useless ranges

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) float32 in [0, 1]."""
        views = self._crop()(batch, clock, view, size, scale)
        draws = uniform(clock.seed, clock.step, batch.index, f"histology/{batch.domain}{view}", 18)
        if self.turns:
            views = right_angles(views, draws[:, :2])
        if self.normalize and self.statistics is not None:
            # The whole image's own statistics: crops of glass and of tissue keep their difference.
            own = image_statistics(batch.images)
            wanted = template(self.statistics, draws[:, 2:8])
            views = where_chosen(draws[:, 8] < self.normalize, to_template, views, *own, *wanted)
        if self.jitter and (self.stain or self.stain_shift):
            signed = 2 * draws[:, 9:15] - 1
            factors, shifts = (1 + signed[:, :3] * self.stain).clamp_min(0), signed[:, 3:] * self.stain_shift
            views = where_chosen(draws[:, 15] < self.jitter, stain_jitter, views, factors, shifts)
        return random_blur(views, draws[:, 16], draws[:, 17], self.blur, self.sigma)

    def _crop(self) -> Contrast:
        mirror = 0.0 if self.turns else 0.5
        return Contrast(self.size, scale=self.scale, ratio=self.ratio, flip=mirror, jitter=0, gray=0, sigma=self.sigma)


@dataclass(frozen=True)
class XRay:
    """For gray films: crops, small turns, brightness and contrast; no color, which they have not, and no inversion.

    scale, ratio, flip, brightness, contrast, jitter, blur, sigma: as in `Contrast`; degrees: the largest turn (flips
    and turns of 10 degrees: Sowrirajan et al., "MoCo pretraining improves representation and transferability of chest
    X-ray models", MIDL 2021). A flip exchanges the sides of the body: set flip=0 where that matters.
    """

    size: int
    _: KW_ONLY
    scale: tuple[Share, Share] = (0.3, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    flip: Fraction = 0.5
    degrees: Annotated[float, Field(ge=0, le=45)] = 10.0
    brightness: NotNegative = 0.4
    contrast: NotNegative = 0.4
    jitter: Fraction = 0.8
    blur: Fraction = 0.5
    sigma: tuple[Positive, Positive] = (0.1, 2.0)

    def __post_init__(self) -> None:
        self._crop()

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) float32 in [0, 1]."""
        views = self._crop()(batch, clock, view, size, scale)
        draws = uniform(clock.seed, clock.step, batch.index, f"x-ray/{batch.domain}{view}", 3)
        if self.degrees:
            still = torch.full((len(batch), 5), 0.5, device=draws.device)
            moves = torch.cat([draws[:, :1], still], dim=1)
            views = random_affine(views, moves, self.degrees, (1.0, 1.0), 0.0, 0.0)
        return random_blur(views, draws[:, 1], draws[:, 2], self.blur, self.sigma)

    def _crop(self) -> Contrast:
        own = {name: getattr(self, name) for name in ("scale", "ratio", "flip", "brightness", "contrast", "jitter")}
        return Contrast(self.size, **own, saturation=0, hue=0, gray=0, sigma=self.sigma)
