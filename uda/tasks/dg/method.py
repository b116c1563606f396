"""What a method of domain generalization is: a supervised one that may tell the source domains apart."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from uda.clock import Clock
from uda.random import uniform
from uda.tasks.supervised import Method as SupervisedMethod
from uda.tasks.supervised import Sample

__all__ = ["Method", "Sample", "partners"]


class Method(SupervisedMethod):
    """Cross-entropy on all source domains together; subclasses add what generalizes better."""

    classifier: nn.Linear
    fewest_domains: ClassVar[int] = 1
    """Source domains below which it has nothing to do."""


def partners(sample: Sample, clock: Clock, purpose: str) -> Tensor:
    """Return for each image the place of another one in the batch, of another domain where there is one, (B,) int64.

    Uniform among those; a function of seed, step and rows alone. An image by itself is its own partner.
    """
    n = len(sample)
    scores = uniform(clock.seed, clock.step, sample.index, purpose, n)
    itself = torch.eye(n, dtype=torch.bool, device=scores.device)
    same = sample.domains[:, None] == sample.domains[None]
    alone = same.all(dim=1, keepdim=True)
    return scores.masked_fill(torch.where(alone, itself, same), -1.0).argmax(dim=1)
