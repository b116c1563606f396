"""Tiles of images, for puzzles: cutting, resizing, and what hides the shortcuts between neighbors."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder
from uda.random import uniform
from uda.ssl.views import gray


def cut(images: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Cut size × size pixels at T places of every image: (B, C, H, W), (B, T) and (B, T) → (B, T, C, size, size)."""
    steps = torch.arange(size, device=images.device)
    rows, columns = (start[:, :, None] + steps for start in (top, left))
    at = torch.arange(len(images), device=images.device)[:, None, None, None]
    return images.permute(0, 2, 3, 1)[at, rows[..., :, None], columns[..., None, :]].permute(0, 1, 4, 2, 3)


def jittered_tiles(images: Tensor, grid: int, share: float, draws: Tensor) -> Tensor:
    """Cut one tile out of each cell of a grid × grid lattice, at a random place inside its cell.

    share: the part of a cell's side that is left for displacement, so that borders of neighbors do not meet; draws:
    (B, 2 · grid²) uniform in [0, 1). (B, C, S, S) → (B, grid², C, t, t), row by row; t = cell · (1 − share), rounded.
    """
    side = images.shape[-1]
    cell = side // grid
    size = tile_side(side, grid, share)
    margin = (side - cell * grid) // 2
    corner = torch.arange(grid, device=images.device) * cell + margin
    shift = (draws * (cell - size + 1)).long().unflatten(1, (2, grid * grid))
    top = corner.repeat_interleave(grid) + shift[:, 0]
    left = corner.repeat(grid) + shift[:, 1]
    return cut(images, top, left, size)


def tile_side(side: int, grid: int, share: float) -> int:
    """Return the pixels of a tile's side in an image of that side."""
    return max(1, round(side // grid * (1 - share)))


def resized(tiles: Tensor, size: int) -> Tensor:
    """Bring tiles (B, T, C, t, t) to (B, T, C, size, size), bilinear."""
    if tiles.shape[-1] == size:
        return tiles
    flat = F.interpolate(tiles.flatten(0, 1), size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return flat.unflatten(0, tiles.shape[:2])


def standardized(tiles: Tensor) -> Tensor:
    """Give every channel of every tile the mean 0.5 and the standard deviation 0.25, (…, h, w).

    Without it neighbors are told from others by their brightness. Single values may leave [0, 1]. A flat tile stays
    flat.
    """
    centered = tiles - tiles.mean((-2, -1), keepdim=True)
    deviation = centered.square().mean((-2, -1), keepdim=True).add(1e-6).sqrt()
    return 0.5 + 0.25 * centered / deviation


def some_gray(images: Tensor, batch: Batch, clock: Clock, share: float, purpose: str) -> Tensor:
    """Make that share of the images gray, at random: chromatic aberration gives away where a tile was."""
    draws = uniform(clock.seed, clock.step, batch.index, f"{purpose} gray/{batch.domain}", 1)
    return torch.where(draws[:, :, None, None] < share, gray(images), images)


@torch.no_grad()
def size_taken(encoder: Encoder, cut_side: int, asked: int | None, option: str) -> int:
    """Return the size that tiles are resized to: the one asked for, else the next multiple of 16 pixels.

    UserError naming the option where the backbone cannot take tiles of that size, before anything is trained.
    """
    size = asked or -(-cut_side // 16) * 16
    training = encoder.training
    reference = next(encoder.parameters(), torch.zeros(()))
    encoder.eval()
    try:
        encoder(torch.full((1, 3, size, size), 0.5, device=reference.device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the backbone cannot take tiles of {size} pixels ({str(error)[:120]}); set {option} to a size it takes"
        ) from error
    finally:
        encoder.train(training)
    return size


def lattice(images: Tensor, grid: int) -> Tensor:
    """Cut images into grid × grid tiles without gaps, row by row: (B, C, S, S) → (B, grid², C, S//grid, S//grid)."""
    side = images.shape[-1] // grid
    kept = images[..., : grid * side, : grid * side]
    return kept.unflatten(2, (grid, side)).unflatten(4, (grid, side)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def joined(tiles: Tensor) -> Tensor:
    """Put tiles together to an image, the inverse of `lattice`: (B, grid², C, t, t) → (B, C, grid · t, grid · t)."""
    grid = math.isqrt(tiles.shape[1])
    return tiles.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def gray_cells(tiles: Tensor, chosen: Tensor) -> Tensor:
    """Take the color out of the chosen tiles: (B, T, 3, t, t) and (B, T) bool → (B, T, 3, t, t)."""
    grays = gray(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])
    return torch.where(chosen[:, :, None, None, None], grays, tiles)
