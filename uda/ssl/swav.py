"""SwAV: predict one view's balanced code over prototypes from another view."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import CosineClassifier, mlp
from uda.ranges import Count, NotNegative, Positive
from uda.ssl.functional.clustering import sinkhorn, swav
from uda.ssl.multicrop import check_crops, small_crops, small_size
from uda.ssl.objective import Info, Loss, Need, Objective, Views, refuse_options


class SwAV(Objective):
    """Swap the cluster assignments of two views (Caron et al., NeurIPS 2020, section 3).

    Prototypes are normalized before each step and rest during the first `frozen_epochs`. There is no queue of earlier
    scores, which the paper adds for batches smaller than the number of prototypes. Multi-crop is off unless
    `local_crops` asks for it; they have `local_size` pixels (None: 3/7 of the image's side, to the nearest
    multiple of 16). Batch normalization sees both views together, as in the published code.
    """

    name: ClassVar[str] = "swav"
    needs: ClassVar[Need] = Need.PIXELS
    fewest: ClassVar[int] = 32

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,
        iterations: Count = 3,
        frozen_epochs: NotNegative = 1.0,
        local_crops: Annotated[int, Field(ge=0)] = 0,
        local_size: Count | None = None,
        hidden: Count = 512,
        width: Count = 128,
        prototypes: Count = 512,
    ):
        super().__init__(encoder, info)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.frozen_epochs = frozen_epochs
        if not local_crops:
            refuse_options(type(self), "local_crops=4", local_size=local_size)
        self.local_crops, self.local_size = local_crops, local_size or small_size(info.image_size)
        if local_crops:
            check_crops(self.name, encoder, self.local_size)
        self.projector = mlp([encoder.dim, hidden, width])
        self.prototypes = CosineClassifier(width, prototypes, temperature=1.0, normalize_rows=False)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two strong views, (2B, …), and local ones; the targets say whose code every image is to predict: its own."""
        scale = (0.14, 1.0) if self.local_crops else None
        images = torch.cat([self.info.random_view(batch, clock, view, scale=scale) for view in ("a", "b")])
        crops = small_crops(self.info, batch, clock, self.local_crops, self.local_size, scale=(0.05, 0.14))
        return Views(images, targets=torch.arange(len(batch), device=images.device), crops=crops)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of each global view's code with the prediction from every other view, mean over pairs."""
        assert views.targets is not None  # this class made them
        scores = self.prototypes(self.projector(features)).split(len(views.targets))
        codes = [sinkhorn(scores[k], self.epsilon, self.iterations)[views.targets] for k in range(2)]
        terms = [
            swav(others, code, self.temperature)
            for k, code in enumerate(codes)
            for v, others in enumerate(scores)
            if v != k
        ]
        return Loss(torch.stack(terms).mean(), chance=math.log(len(self.prototypes.weight)))

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Normalize the prototypes; let them go once their rest is over."""
        self.prototypes.normalize_()
        self.prototypes.requires_grad_(clock.epoch >= self.frozen_epochs)
