"""A cosine classifier of the base classes."""

from typing import ClassVar

from uda.nn.encoder import Encoder
from uda.nn.heads import ScaledCosineClassifier
from uda.ranges import Positive
from uda.tasks.fewshot.method import Method


class Cosine(Method):
    """Gidaris and Komodakis, CVPR 2018: cosine similarities times a scale that is learned, from `scale` on.

    Features are then good for prototypes, whose classifier is the same with other rows (Gidaris et al., ICCV 2019).
    """

    name: ClassVar[str] = "cosine"

    def __init__(self, encoder: Encoder, n_classes: int, *, scale: Positive = 10.0):
        super().__init__(encoder, n_classes)
        self.classifier = ScaledCosineClassifier(encoder.dim, n_classes, scale)


class Linear(Method):
    """A linear classifier, as Chen et al. (ICLR 2019) have their baseline."""

    name: ClassVar[str] = "linear"
