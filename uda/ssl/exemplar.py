"""Exemplar learning: every image is a class of its own."""

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ssl.functional.contrastive import products
from uda.ssl.objective import Info, Loss, Need, Objective, Views
from uda.ssl.seeded import SeededViews, seed_of


class Exemplar(Objective):
    """Classify a strong view as the image that it is of, with a weight for every image (Dosovitskiy et al., NIPS 2014).

    sampled: how many of the images stand against the right one in a step, drawn uniformly for the whole batch; None:
    all of the table. Their sum is scaled up to that of all, so that the loss estimates the full one.
    """

    name: ClassVar[str] = "exemplar"
    needs: ClassVar[Need] = Need.PIXELS | Need.INDEX

    def __init__(self, encoder: Encoder, info: Info, *, sampled: Annotated[int, Field(gt=0)] | None = None):
        super().__init__(encoder, info)
        self.sampled = sampled
        self.head = nn.Linear(encoder.dim, info.n_images)

    def views(self, batch: Batch, clock: Clock) -> SeededViews:
        """One strong view, and which image it is of."""
        view = self.info.random_view(batch, clock, "a")
        return SeededViews(view, index=batch.index, seed=seed_of(clock, "exemplar"))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the image, mean over the batch."""
        assert isinstance(views, SeededViews)  # this class made them
        assert views.index is not None
        n = self.info.n_images
        if self.sampled is None or self.sampled >= n:
            logits = self.head(features)
            accuracy = (logits.argmax(1) == views.index).float().mean().detach()
            return Loss(F.cross_entropy(logits, views.index), accuracy=accuracy, chance=math.log(n))
        drawn = views.rows(n, self.sampled)
        weight, bias = self.head.weight, self.head.bias
        right = (features * weight[views.index]).sum(1, keepdim=True) + bias[views.index][:, None]
        others = products(features, weight[drawn]) + bias[drawn] + math.log(n / self.sampled)
        others = others.masked_fill(drawn == views.index[:, None], -math.inf)
        # Not softplus of the others' logsumexp: that has no gradient for a row whose only draws are the image itself.
        value = -torch.cat([right, others], dim=1).log_softmax(1)[:, 0].mean()
        return Loss(value, chance=math.log(n))
