"""Families of strong views, for objectives that compare views of an image; recipes set their options by name.

What a view looks like is a hash of (seed, step, index, domain, the view's name): it does not depend on the batch.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Annotated, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.random import uniform
from uda.ranges import Fraction, NotNegative, Positive, Share
from uda.ssl.one_image import jittered
from uda.ssl.pixels import color_jitter, grayscale, random_blur, solarize, where_chosen
from uda.ssl.resampling import BOX_DRAWS, crop_boxes, one_by_one, resized_box, resized_crop
from uda.ssl.tiles import gray_cells, joined, lattice
from uda.ssl.views import CropFlip, Glyph

_Number = TypeVar("_Number", float, Tensor)

_PART = 2**16  # pixels of views that a CPU makes at a time, so that what lies between stays in its cache
_LARGE = 96  # pixels of a view's side from which on a CPU is faster with one image at a time
_FEW = 2**21  # numbers of views that are not worth the start of threads


@dataclass(frozen=True)
class Contrast:
    """Crop, flip, color jitter, gray, blur and solarization (Chen et al., SimCLR, ICML 2020, appendix A).

    scale, ratio: range of the crop's share of the area, and of width ÷ height; brightness, contrast, saturation:
    factors lie within 1 ± that; hue: largest turn, as a fraction of the circle; flip, jitter, gray, blur, solarize:
    probabilities; sigma: range of the blur's standard deviation in pixels, its kernel being cut off beyond 3 times the
    largest; gray_tiles: probability of each tile of a 3 × 3 grid to turn gray by itself, last of all (JiGen). What is 0
    costs nothing. The defaults are SimCLR's for CIFAR (half strength, no blur); larger images want blur=0.5. Views of
    another `size` or `scale` want a name of their own, since draws go by names.
    """

    size: int
    _: KW_ONLY
    scale: tuple[Share, Share] = (0.2, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    flip: Fraction = 0.5
    brightness: NotNegative = 0.4
    contrast: NotNegative = 0.4
    saturation: NotNegative = 0.4
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    jitter: Fraction = 0.8
    gray: Fraction = 0.2
    blur: Fraction = 0.0
    sigma: tuple[Positive, Positive] = (0.1, 2.0)
    solarize: Fraction = 0.0
    gray_tiles: Fraction = 0.0
    antialias: bool = True

    def __post_init__(self) -> None:
        for name in ("scale", "ratio", "sigma"):
            _check_range(name, getattr(self, name))

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) float32 in [0, 1]."""
        side = size or self.size
        draws = uniform(clock.seed, clock.step, batch.index, f"contrast/{batch.domain}{view}", BOX_DRAWS + 14)
        with _one_thread_each(batch.images) as threads:
            boxes = crop_boxes(draws[:, :BOX_DRAWS], batch.images.shape[2:], scale or self.scale, self.ratio)
            render = self._each if one_by_one(batch.images) and side >= _LARGE else self._together
            make = partial(render, side, self.rates(view))
            views = _in_parts(make, side, threads, batch.images, boxes, draws[:, BOX_DRAWS:])
        if self.gray_tiles:
            chosen = uniform(clock.seed, clock.step, batch.index, f"gray tiles/{batch.domain}{view}", 9)
            whole = side // 3 * 3  # a pixel or two beyond the tiles keep their color
            views[..., :whole, :whole] = joined(gray_cells(lattice(views, 3), chosen < self.gray_tiles))
        return views

    def rates(self, view: str) -> tuple[float, float]:
        """Return the probabilities of blur and solarization in the view of that name."""
        return self.blur, self.solarize

    def _together(self, side: int, rates: tuple[float, float], images: Tensor, boxes: Tensor, draws: Tensor) -> Tensor:
        flip, jitter, gray, blurred, sigma, solar = draws[:, :6].unbind(1)
        mirrored = flip < self.flip if self.flip else None
        views = resized_crop(images, boxes, side, mirrored, self.antialias)
        if self.jitter:
            factors = self._factors(draws[:, 6:10].unbind(1))
            views = color_jitter(views, draws[:, 10:], jitter < self.jitter, *factors)
        if self.gray:
            views = where_chosen(gray < self.gray, grayscale, views)
        views = random_blur(views, blurred, sigma, rates[0], self.sigma)
        return where_chosen(solar < rates[1], solarize, views) if rates[1] else views

    def _each(self, side: int, rates: tuple[float, float], images: Tensor, boxes: Tensor, draws: Tensor) -> Tensor:
        parts = zip(images.split(1), boxes.tolist(), draws.tolist(), strict=True)
        return torch.cat([self._alone(side, rates, *part) for part in parts])

    def _alone(
        self, side: int, rates: tuple[float, float], image: Tensor, box: list[int], draws: list[float]
    ) -> Tensor:
        flip, jitter, gray, blurred, sigma, solar = draws[:6]
        view = resized_box(image, box, side, flip < self.flip, self.antialias)
        if jitter < self.jitter:
            view = jittered(view, draws[10:], self._factors(draws[6:10]))
        if gray < self.gray:
            view = grayscale(view)
        view = random_blur(view, torch.tensor([blurred]), torch.tensor([sigma]), rates[0], self.sigma)
        return solarize(view) if solar < rates[1] else view

    def _factors(self, draws: Sequence[_Number]) -> list[_Number | None]:
        """Return brightness, contrast, saturation and hue by four draws; None: at 0, left out."""
        factors: list[_Number | None] = []
        for strength, draw in zip((self.brightness, self.contrast, self.saturation), draws, strict=False):
            low = max(0.0, 1 - strength)
            factors.append(low + draw * (1 + strength - low) if strength else None)
        factors.append((2 * draws[3] - 1) * self.hue if self.hue else None)
        return factors


@dataclass(frozen=True)
class Asymmetric(Contrast):
    """Views "a" and "b" that differ in kind (Grill et al., BYOL, NeurIPS 2020, appendix B; so Barlow Twins and DINO).

    first_blur, second_blur, second_solarize: probabilities for "a", "b" and "b"; views of any other name, such as
    DINO's small ones, have `blur` and `solarize`.
    """

    _: KW_ONLY
    scale: tuple[Share, Share] = (0.08, 1.0)
    saturation: NotNegative = 0.2
    blur: Fraction = 0.5
    first_blur: Fraction = 1.0
    second_blur: Fraction = 0.1
    second_solarize: Fraction = 0.2

    def rates(self, view: str) -> tuple[float, float]:
        """Return the probabilities of blur and solarization in the view of that name."""
        special = {"a": (self.first_blur, 0.0), "b": (self.second_blur, self.second_solarize)}
        return special.get(view, (self.blur, self.solarize))


@dataclass(frozen=True)
class Glyphs:
    """For digits and signs: gray, turned, sheared, shifted and distorted as `Glyph` does; never mirrored.

    degrees, shear: largest angles; zoom: range of the factor on each axis; shift, strength: largest shift and largest
    distortion as fractions of the side.
    """

    size: int
    _: KW_ONLY
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    zoom: tuple[Positive, Positive] = (0.7, 1.3)
    shear: Annotated[float, Field(ge=0, lt=90)] = 20.0
    shift: Fraction = 0.1
    strength: Fraction = 0.1

    def __post_init__(self) -> None:
        _check_range("zoom", self.zoom)

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, S, S) uint8 → (B, 3, size, size) float32 in [0, 1]; with `scale`, a crop of the distorted image."""
        glyph = Glyph(self.size, self.degrees, self.zoom, self.shear, self.shift, self.strength)
        views = glyph(batch, clock, view)
        if scale is None and size in (None, self.size):
            return views.contiguous()
        return _crop(views, batch, clock, view, size or self.size, scale or (1.0, 1.0), None)


@dataclass(frozen=True)
class Weak:
    """The adaptation papers' crop of the stored square, and a flip; for objectives that want views as plain as those.

    A view of another `size` is a random square of so many whole pixels; with `scale` a random share, resized.
    """

    size: int

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) float32 in [0, 1]."""
        side = size or self.size
        if scale is None:
            return CropFlip(side)(batch, clock, view)
        flips = uniform(clock.seed, clock.step, batch.index, f"weak flip/{batch.domain}{view}", 1)[:, 0]
        return _crop(batch.images, batch, clock, view, side, scale, flips < 0.5)


def _check_range(name: str, bounds: tuple[float, float]) -> None:
    if bounds[0] > bounds[1]:
        raise UserError(f"views.{name} is a range and cannot go from {bounds[0]} to {bounds[1]}; put the smaller first")


def _crop(
    images: Tensor,
    batch: Batch,
    clock: Clock,
    view: str,
    size: int,
    scale: tuple[float, float],
    mirrored: Tensor | None,
) -> Tensor:
    """Return a random share of each image, of aspect 3/4 … 4/3, as size × size pixels."""
    draws = uniform(clock.seed, clock.step, batch.index, f"box/{batch.domain}{view}", BOX_DRAWS)
    ratio = (1.0, 1.0) if scale == (1.0, 1.0) else (3 / 4, 4 / 3)
    return resized_crop(images, crop_boxes(draws, images.shape[2:], scale, ratio), size, mirrored)


@contextmanager
def _one_thread_each(images: Tensor) -> Iterator[int]:
    """Let each operation on a CPU have one thread, and give how many there may be.

    Threads that share so small operations mostly wait for each other, all the more where others use the cores too.
    """
    threads = torch.get_num_threads()
    if images.device.type != "cpu" or threads == 1:
        yield threads
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _in_parts(
    render: Callable[[Tensor, Tensor, Tensor], Tensor],
    size: int,
    threads: int,
    images: Tensor,
    boxes: Tensor,
    draws: Tensor,
) -> Tensor:
    """Render views, on a CPU in parts that its cache holds; their bits do not depend on the number of threads."""
    if images.device.type != "cpu":
        return render(images, boxes, draws)
    with torch.inference_mode(False):  # which is a thread's own, and what is made in it no other may write
        views = torch.empty(len(images), 3, size, size)
    alone = threads == 1 or views.numel() < _FEW
    # Threads hand Python's lock over at each operation, so that theirs are to be larger, and fewer.
    n = max(1, (_PART if alone else 2 * _PART) // size**2)
    parts = zip(views.split(n), images.split(n), boxes.split(n), draws.split(n), strict=True)

    def fill(part: tuple[Tensor, ...]) -> None:
        part[0].copy_(render(*part[1:]))

    if alone:
        deque(map(fill, parts), maxlen=0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            deque(pool.map(fill, parts), maxlen=0)
    return views
