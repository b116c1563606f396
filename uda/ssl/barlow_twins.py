"""Barlow Twins: two views correlate dimension by dimension, and dimensions not with each other."""

from typing import ClassVar

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.ranges import Count, NotNegative
from uda.ssl.functional.redundancy import barlow_twins
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class BarlowTwins(Objective):
    """Make the cross-correlation of two views the identity (Zbontar et al., ICML 2021, section 2.1).

    The projector has the paper's three layers, 2,048 wide where the paper has 8,192. Batch normalization in encoder and
    projector sees both views together; the paper's code normalizes each by itself, as the loss does here too.
    """

    name: ClassVar[str] = "barlow_twins"
    needs: ClassVar[Need] = Need.PIXELS
    fewest: ClassVar[int] = 32

    def __init__(self, encoder: Encoder, info: Info, *, lambd: NotNegative = 0.0051, width: Count = 2048):
        super().__init__(encoder, info)
        self.lambd, self.width = lambd, width
        self.projector = mlp([encoder.dim, width, width, width])

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two strong views, (2B, …)."""
        return Views(torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")]))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Distance of the cross-correlation from the identity; constant embeddings would have the loss `width`."""
        a, b = self.projector(features).chunk(2)
        return Loss(barlow_twins(a, b, self.lambd), constant=float(self.width))
