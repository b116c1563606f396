"""Contrastive learning of a siamese network, with a margin."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ssl.functional.contrastive import margin_contrastive, other_images
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class Siamese(Objective):
    """Draw the two views of an image together and views of two images a margin apart (Hadsell et al., CVPR 2006).

    hinge: "squared" is the paper's max(0, m − d)², "plain" the tutorials' max(0, m − d²). Distances are Euclidean,
    after a linear map to `projection` numbers. Another image is its
    neighbor in the batch.
    """

    name: ClassVar[str] = "siamese"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        margin: Annotated[float, Field(gt=0)] = 1.0,
        hinge: Literal["squared", "plain"] = "squared",
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info)
        self.margin, self.hinge = margin, hinge
        self.projector = nn.Linear(encoder.dim, projection)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two independent strong views, [a; b]."""
        images = torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")])
        return Views(images, ids=batch.index)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Margin loss, mean over B pairs of one image and B pairs of two."""
        a, b = self.projector(features).chunk(2)
        same = torch.arange(len(features), device=features.device) < len(a)
        squared = self.hinge == "squared"
        assert views.ids is not None  # this class gave them
        others = torch.cat([b, b[other_images(views.ids)]])
        value = margin_contrastive(torch.cat([a, a]), others, same, self.margin, squared)
        return Loss(value, constant=(self.margin**2 if squared else self.margin) / 2)
