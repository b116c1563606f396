"""What a training for robustness is: a supervised method that may change images before they are learned from."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from uda.clock import Clock
from uda.tasks.supervised import Method as SupervisedMethod
from uda.tasks.supervised import Sample

Ascend = Callable[[Tensor, float], Callable[[Tensor], Tensor]]
"""(labels (B,), weight of the objectives) → the loss to ascend: views (B, 3, S, S) → losses (B,)."""


class Method(SupervisedMethod):
    """Cross-entropy on images as they come; subclasses say what robustness is trained by."""

    classifier: nn.Linear
    attacks: ClassVar[bool] = False
    """Whether `attacked` takes the place of the images, for the class loss and for the objectives."""

    def attacked(self, model: nn.Module, views: Tensor, sample: Sample, ascend: Ascend, clock: Clock) -> Tensor:
        """Return what is learned from in the place of views (B, 3, S, S) in [0, 1]."""
        raise TypeError(f"{type(self).__name__} attacks nothing")
