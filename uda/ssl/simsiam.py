"""SimSiam: predict the other view's projection, whose gradient is stopped."""

from typing import ClassVar

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.ranges import Count
from uda.ssl.functional.distillation import negative_cosine
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class SimSiam(Objective):
    """Predict the network's own projection of the other view (Chen and He, CVPR 2021, section 3).

    The projector has two layers, as in the paper's CIFAR experiments (appendix D; three on ImageNet), and ends in batch
    normalization without affine parameters. Batch normalization sees both views together; the paper's code normalizes
    each by itself.
    """

    name: ClassVar[str] = "simsiam"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(self, encoder: Encoder, info: Info, *, width: Count = 2048, bottleneck: Count = 512):
        super().__init__(encoder, info)
        self.projector = mlp([encoder.dim, width, width], last_norm=False)
        self.predictor = mlp([width, bottleneck, width])

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two strong views, (2B, …)."""
        return Views(torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")]))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Negative cosine of prediction and detached projection, mean of both directions."""
        projected = self.projector(features)
        p_a, p_b = self.predictor(projected).chunk(2)
        z_a, z_b = projected.detach().chunk(2)
        return Loss((negative_cosine(p_a, z_b) + negative_cosine(p_b, z_a)) / 2)
