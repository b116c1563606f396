"""Textures that lie over images: clouds, and ice that is generated or cut out of photographs."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.datasets.corruptions.blur import motion_blur
from uda.datasets.corruptions.draws import Draws
from uda.datasets.decode import UnreadableImage, decode
from uda.datasets.tree import IMAGE_SUFFIXES, natural_key
from uda.errors import UserError

_ICE_SIDE = 512
_NEEDLES = 9  # directions that ice grows in


def plasma(draws: Tensor, decay: float) -> Tensor:
    """Return clouds in [0, 1] by the diamond-square algorithm on a torus: (B, side² − 1) → (B, side, side).

    draws: uniform in [−1, 1], side a power of two; decay: what each halving of the step divides a displacement's
    *root* by: as published, the range of a displacement is the square of a number that decays.
    """
    side = round((draws.shape[1] + 1) ** 0.5)
    heights = draws.new_zeros(len(draws), side, side)
    wobble, used, step = 100.0, 0, side
    while step >= 2:
        half, cells = step // 2, side // step
        moves = draws[:, used : used + 3 * cells * cells].view(-1, 3, cells, cells) * wobble**2
        used += 3 * cells * cells
        corners = heights[:, ::step, ::step]
        below = corners + corners.roll(-1, 1)
        centers = (below + below.roll(-1, 2)) / 4 + moves[:, 0]
        heights[:, half::step, half::step] = centers
        across, along = corners + corners.roll(-1, 2), centers + centers.roll(1, 1)
        heights[:, ::step, half::step] = (along + across) / 4 + moves[:, 1]
        heights[:, half::step, ::step] = (centers + centers.roll(1, 2) + below) / 4 + moves[:, 2]
        step, wobble = half, wobble / decay
    lowest = heights.amin((1, 2), keepdim=True)
    return (heights - lowest) / (heights.amax((1, 2), keepdim=True) - lowest)


@lru_cache(maxsize=1)
def generated_ice() -> Tensor:
    """Return a made picture of ice, (3, 512, 512) uint8, always the same.

    Needles that grow in several directions over clouds, in the mean color, brightness and contrast of the photographs
    that frost was published with (134, 155, 165, and 34 gray levels of standard deviation).
    """
    side = _ICE_SIDE
    draws = Draws(0, 0, "ice", torch.arange(_NEEDLES))
    clouds = plasma(draws.signed(side * side - 1, "clouds"), 1.8)
    seeds = draws.normal(side * side, "seeds").float().view(-1, 1, side, side) > 2.2
    seeds = F.pad(seeds[..., 1:-1, 1:-1].float(), (1, 1, 1, 1))  # what lies at the edge would go on beyond it
    angles = torch.arange(_NEEDLES, dtype=torch.float64) * (360 / _NEEDLES) + 11
    needles = motion_blur(seeds, angles, 20, 14.0)[:, 0] * clouds  # a direction prevails in places of its own
    ice = _standard(needles.amax(0)) * 27 + _standard(clouds[0]) * 21
    color = torch.tensor([134.0, 155.0, 165.0])
    return (color[:, None, None] + ice).round().clamp(0, 255).to(torch.uint8)


def _standard(values: Tensor) -> Tensor:
    return (values - values.mean()) / values.std()


def read_ice(folder: str | Path) -> tuple[Tensor, ...]:
    """Return the photographs in a folder in natural order, each (3, H, W) uint8; UserError if there are none."""
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"frost: '{folder}' is no folder; give one that holds photographs of ice")
    files = sorted((file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES), key=_by_name)
    if not files:
        raise UserError(f"frost: there are no images in '{folder}'; give a folder that holds photographs of ice")
    return _photographs(tuple((str(file), file.stat().st_mtime_ns) for file in files))


def _by_name(path: Path) -> tuple[list[str | int], str]:
    return natural_key(path.name)


@lru_cache(maxsize=2)
def _photographs(files: tuple[tuple[str, int], ...]) -> tuple[Tensor, ...]:
    try:
        return tuple(torch.from_numpy(decode(path)).permute(2, 0, 1) for path, _ in files)
    except UnreadableImage as error:
        raise UserError(f"frost: {error}; remove the file or give another folder") from None


def pieces(pictures: Sequence[Tensor], scale: float, draws: Tensor, height: int, width: int) -> Tensor:
    """Cut a piece out of a picture for each image: (B, 3) draws in [0, 1) → (B, 3, height, width) uint8.

    Pictures (3, h, w) uint8 are resized by `scale` before (bilinear, not antialiased, as published), and enlarged to
    cover the image where that leaves them too small. Draws: which picture, top, left.
    """
    which, tops, lefts = draws.unbind(1)
    which = (which * len(pictures)).long()
    out = torch.empty(len(draws), 3, height, width, dtype=torch.uint8, device=draws.device)
    for number, picture in enumerate(pictures):
        rows = (which == number).nonzero()[:, 0]
        if not len(rows):
            continue
        resized = _resized(picture, scale, height, width).to(draws.device)
        windows = resized.unfold(1, height, 1).unfold(2, width, 1)
        top = (tops[rows] * windows.shape[1]).long()
        left = (lefts[rows] * windows.shape[2]).long()
        out[rows] = windows[:, top, left].transpose(0, 1)
    return out


def _resized(picture: Tensor, scale: float, height: int, width: int) -> Tensor:
    scale = max(scale, height / picture.shape[1], width / picture.shape[2])
    if scale == 1:
        return picture
    size = [max(needed, round(side * scale)) for needed, side in zip((height, width), picture.shape[1:], strict=True)]
    # By the exact scale, not by the ratio of the rounded sizes.
    values = picture.float()
    for length in size:  # rows, then columns, as each turn ends with a transposition
        side = values.shape[1]
        places = ((torch.arange(length) + 0.5) / scale - 0.5).clamp(0, side - 1)
        first = places.long()
        after = (first + 1).clamp(max=side - 1)
        values = torch.lerp(values[:, first], values[:, after], (places - first)[:, None]).mT
    return values.round().to(torch.uint8)
