"""VICReg: two views agree, every dimension varies, and no two vary together."""

from typing import ClassVar

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.ranges import Count, NotNegative
from uda.ssl.functional.redundancy import vicreg
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class VICReg(Objective):
    """Invariance, variance and covariance of two views' embeddings (Bardes, Ponce and LeCun, ICLR 2022, section 4).

    The expander has the paper's three layers, 2,048 wide where the paper has 8,192. Batch normalization sees both views
    together; the paper's code normalizes each by itself.
    """

    name: ClassVar[str] = "vicreg"
    needs: ClassVar[Need] = Need.PIXELS
    fewest: ClassVar[int] = 32

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        invariance: NotNegative = 25.0,
        variance: NotNegative = 25.0,
        covariance: NotNegative = 1.0,
        width: Count = 2048,
    ):
        super().__init__(encoder, info)
        self.invariance, self.variance, self.covariance = invariance, variance, covariance
        self.expander = mlp([encoder.dim, width, width, width])

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two strong views, (2B, …)."""
        return Views(torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")]))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """The three terms; a healthy run passes through the loss of constant embeddings, so no chance is named."""
        a, b = self.expander(features).chunk(2)
        return Loss(vicreg(a, b, self.invariance, self.variance, self.covariance))
