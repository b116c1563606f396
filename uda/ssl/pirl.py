"""PIRL with jigsaw puzzles."""

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.memory import MemoryBank
from uda.random import uniform
from uda.ssl.functional.contrastive import info_nce
from uda.ssl.objective import AllViews, Info, Loss, Need, Objective, Views
from uda.ssl.seeded import SeededViews, seed_of
from uda.ssl.tiles import jittered_tiles, resized, size_taken, tile_side

_GRID = 3
_LEFT = 21 / 85  # of a cell's side: the published tiles are 64 of 85 pixels


class PIRL(Objective):
    """An image and its shuffled tiles shall both be like what the memory holds of the image.

    Misra and van der Maaten, "Self-supervised learning of pretext-invariant representations", CVPR 2020, section 3.
    The tiles of a 3 × 3 grid are encoded one by one, and a head joins them in random order. Each comparison is InfoNCE
    against rows of the memory, drawn for a batch, not for each of its images; the tiles' comparison has the weight
    `patches`, the image's 1 − `patches`. Only the image moves its row of the memory. The memory is filled with all
    images before the first step; where nobody does so, it starts as random directions.
    tile_size: pixels that tiles are resized to (None: the next multiple of 16).
    """

    name: ClassVar[str] = "pirl"
    needs: ClassVar[Need] = Need.PIXELS | Need.INDEX

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        patches: Annotated[float, Field(ge=0, le=1)] = 0.5,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        negatives: Annotated[int, Field(gt=0)] = 4096,
        projection: Annotated[int, Field(gt=0)] = 128,
        tile_size: Annotated[int, Field(ge=4)] | None = None,
    ):
        super().__init__(encoder, info)
        self.temperature, self.patches, self.momentum, self.negatives = temperature, patches, momentum, negatives
        self.tile_size = size_taken(encoder, tile_side(info.image_size, _GRID, _LEFT), tile_size, "pirl.tile_size")
        self.image_head = nn.Linear(encoder.dim, projection)
        self.tile_head = nn.Linear(encoder.dim, projection)
        self.patches_head = nn.Linear(_GRID**2 * projection, projection)
        self.bank = MemoryBank(info.n_images, projection)
        self.bank.rows.copy_(F.normalize(torch.randn_like(self.bank.rows)))

    def assign_due(self, clock: Clock) -> bool:
        """Before the first step."""
        return clock.step == 0

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Fill the memory with all images."""
        start = 0
        for images in views():
            rows = torch.arange(start, start + len(images), device=self.bank.rows.device)
            self.bank.write(rows, self.image_head(encoder(images)))
            start += len(images)
        return []

    def views(self, batch: Batch, clock: Clock) -> SeededViews:
        """One strong view as the image; of another one the tiles, block k those at place k after shuffling."""
        image, puzzle = (self.info.random_view(batch, clock, view) for view in ("a", "b"))
        n = _GRID**2
        draws = uniform(clock.seed, clock.step, batch.index, f"pirl/{batch.domain}", 3 * n)
        tiles = resized(jittered_tiles(puzzle, _GRID, _LEFT, draws[:, : 2 * n]), self.tile_size)
        order = draws[:, 2 * n :].argsort(dim=1)
        shuffled = tiles[torch.arange(len(tiles), device=tiles.device)[:, None], order]
        crops = shuffled.transpose(0, 1).flatten(0, 1)
        return SeededViews(image, index=batch.index, crops=crops, seed=seed_of(clock, "pirl"))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Both comparisons, mean over the batch; carries the images' rows and embeddings."""
        assert isinstance(views, SeededViews)  # this class made them
        assert views.index is not None
        rows, size = self.bank.rows, len(views.images)
        image = self.image_head(features[:size])
        tiles = self.tile_head(features[size:]).unflatten(0, (_GRID**2, size))
        joined = self.patches_head(tiles.transpose(0, 1).flatten(1))
        drawn = views.rows(len(rows), self.negatives)
        itself = drawn == views.index[:, None]
        against_tiles, against_image = (
            info_nce(query, rows[views.index], rows[drawn], self.temperature, itself) for query in (joined, image)
        )
        value = self.patches * against_tiles + (1 - self.patches) * against_image
        count = len(rows) if len(drawn) == len(rows) else len(drawn) + 1
        return Loss(value, carry=(views.index, image.detach()), chance=math.log(count))

    def after_step(self, carry: object) -> None:
        """Move the batch's rows towards the images' embeddings."""
        assert isinstance(carry, tuple)  # what `loss` carried
        index, image = carry
        self.bank.write(index, image, self.momentum)
