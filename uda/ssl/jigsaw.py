"""Jigsaw puzzles: a network names the permutation that the tiles of an image have undergone."""

import math
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.random import uniform
from uda.ranges import Fraction
from uda.ssl.objective import Info, Loss, Need, Objective, Views, refuse_options
from uda.ssl.permutations import permutation_set
from uda.ssl.tiles import (
    gray_cells,
    jittered_tiles,
    joined,
    lattice,
    resized,
    size_taken,
    some_gray,
    standardized,
    tile_side,
)

_JITTER, _HIDDEN = 11 / 75, 1024
_WHOLE = 0.9


class Jigsaw(Objective):
    """Name the permutation that the tiles of an image have undergone.

    form "tiles" (Noroozi and Favaro, ECCV 2016): a context-free network. Each tile is cut at a random place of its
    cell, standardized, and encoded by itself; the features of all tiles, in the permuted order, go into one classifier.
    Gray images and the gaps keep chromatic aberration and continued lines from giving the answer away. The head is
    narrower than the published 512 a tile and 4,096.
    form "assembled" (JiGen: Carlucci et al., CVPR 2019): the tiles without gaps are put together to one image, which
    the whole encoder sees. Class 0 is the ordered image, which comes with probability β + (1 − β)/(P + 1), where β is
    `bias_whole_image`; `views.ordered` says which ones are. There gray is drawn for each tile.

    permutations: their number P beside the ordered one (None: 64 tiles, 30 assembled); gray: share of gray images or
    tiles (None: 0.66 and 0.1). Of form "tiles" alone: jitter: share of a cell's side that a tile moves in (None: the
    published 11 of 75 pixels); tile_size: pixels that tiles are resized to (None: the next multiple of 16); hidden:
    width of the classifier (None: 1,024). Of form "assembled" alone: bias_whole_image (None: 0.9).
    """

    name: ClassVar[str] = "jigsaw"
    needs: ClassVar[Need] = Need.PIXELS
    permutations: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        form: Literal["tiles", "assembled"] = "tiles",
        grid: Annotated[int, Field(ge=2, le=3)] = 3,
        permutations: Annotated[int, Field(ge=1, le=1000)] | None = None,
        gray: Fraction | None = None,
        jitter: Annotated[float, Field(ge=0, lt=1)] | None = None,
        tile_size: Annotated[int, Field(ge=4)] | None = None,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        bias_whole_image: Fraction | None = None,
    ):
        super().__init__(encoder, info)
        assembled = form == "assembled"
        if assembled:
            refuse_options(type(self), "form=tiles", jitter=jitter, tile_size=tile_size, hidden=hidden)
        else:
            refuse_options(type(self), "form=assembled", bias_whole_image=bias_whole_image)
        self.form, self.grid = form, grid
        self.jitter = _JITTER if jitter is None else jitter
        self.bias = _WHOLE if bias_whole_image is None else bias_whole_image
        self.gray = gray if gray is not None else 0.1 if assembled else 0.66
        count = permutations or (30 if assembled else 64)
        tiles = grid * grid
        count = min(count, math.factorial(tiles) - 1) if permutations is None else count
        self.register_buffer("permutations", permutation_set(count + assembled, tiles, ordered=assembled))
        self.head: nn.Module
        if assembled:
            self.head = nn.Linear(encoder.dim, count + 1)
        else:
            side = tile_side(info.image_size, grid, self.jitter)
            self.tile_size = size_taken(encoder, side, tile_size, "jigsaw.tile_size")
            width = hidden or _HIDDEN
            self.tile_head = nn.Sequential(nn.Linear(encoder.dim, width // 4 or 1), nn.ReLU())
            self.head = mlp([tiles * (width // 4 or 1), width, count], norm=False)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Form tiles: (grid² · B, 3, t, t), block k the tiles that stand at place k; assembled: (B, 3, S, S)."""
        images = self.info.augment(batch, clock)
        draws = uniform(clock.seed, clock.step, batch.index, f"jigsaw/{batch.domain}", 2)
        if self.form == "assembled":
            return self._assembled(images, draws, batch, clock)
        answers = (draws[:, 0] * len(self.permutations)).long()
        images = some_gray(images, batch, clock, self.gray, "jigsaw")
        places = uniform(clock.seed, clock.step, batch.index, f"jigsaw places/{batch.domain}", 2 * self.grid**2)
        tiles = standardized(resized(jittered_tiles(images, self.grid, self.jitter, places), self.tile_size))
        return Views(permuted(tiles, self.permutations[answers]).transpose(0, 1).flatten(0, 1), targets=answers)

    def _assembled(self, images: Tensor, draws: Tensor, batch: Batch, clock: Clock) -> Views:
        some = (draws[:, 1] * len(self.permutations)).long()
        answers = torch.where(draws[:, 0] < self.bias, 0, some)
        chosen = uniform(clock.seed, clock.step, batch.index, f"jigsaw gray/{batch.domain}", self.grid**2) < self.gray
        tiles = gray_cells(lattice(images, self.grid), chosen)
        puzzles = joined(permuted(tiles, self.permutations[answers]))
        # Where the side is no multiple of the grid a pixel or two at the border stay, in ordered images and in others:
        # that does not tell them apart, and ordered ones are what a run without puzzles sees.
        side = puzzles.shape[-1]
        whole = images.clone()
        whole[..., :side, :side] = puzzles
        return Views(whole, targets=answers, ordered=answers == 0)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the permutation, mean over the images."""
        assert views.targets is not None  # this class made them
        if self.form == "tiles":
            by_image = self.tile_head(features).unflatten(0, (self.grid**2, -1)).transpose(0, 1)
            features = by_image.flatten(1)
        logits = self.head(features)
        accuracy = (logits.argmax(1) == views.targets).float().mean().detach()
        return Loss(F.cross_entropy(logits.float(), views.targets), accuracy=accuracy, chance=self._chance())

    def _chance(self) -> float:
        """Return the entropy of the answers, which is the loss of a model that knows their frequencies alone."""
        answers = len(self.permutations)
        other = (1 - (self.bias if self.form == "assembled" else 0)) / answers
        first = 1 - other * (answers - 1)
        return -sum(p * math.log(p) for p in (first, *[other] * (answers - 1)) if p > 0)


def permuted(tiles: Tensor, orders: Tensor) -> Tensor:
    """Put tile orders[b, k] of each image at place k: (B, T, …) and (B, T) → (B, T, …)."""
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], orders]
