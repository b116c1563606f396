"""What pre-training does with labels: nothing, or cross-entropy on those it may use."""

from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn


class SelfSupervised(nn.Module):
    """No labels: the objectives are all there is."""

    name: ClassVar[str] = "self_supervised"
    uses_labels: ClassVar[bool] = False

    def __init__(self, dim: int, n_classes: int):
        super().__init__()

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Not called: nothing is drawn for it."""
        raise TypeError("self-supervised pre-training has no loss on labels")


class Supervised(nn.Module):
    """Cross-entropy on the labelled part; with an objective on all images this is S4L.

    Zhai et al., "S4L: self-supervised semi-supervised learning", ICCV 2019, equation 1 (with weight w = 1 on the
    objective). smoothing: of the labels.
    """

    name: ClassVar[str] = "supervised"
    uses_labels: ClassVar[bool] = True

    def __init__(self, dim: int, n_classes: int, *, smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0):
        super().__init__()
        self.classifier, self.smoothing = nn.Linear(dim, n_classes), smoothing

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of features (B, dim) with labels (B,)."""
        return F.cross_entropy(self.classifier(features), labels, label_smoothing=self.smoothing)
