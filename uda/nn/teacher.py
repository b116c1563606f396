"""A momentum teacher: a copy of a module that follows it as a moving average."""

import copy
import math

import torch
from torch import nn


class Teacher(nn.Module):
    """A copy that no gradient reaches; `update` moves its parameters towards the student's.

    Buffers (batch norm's statistics) are the copy's own: in training mode it gathers them from what it sees, as in
    MoCo and BYOL.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.module = copy.deepcopy(student).requires_grad_(False)

    def forward(self, *inputs: object) -> torch.Tensor:
        """Call the copy; no gradient is recorded."""
        with torch.no_grad():
            return self.module(*inputs)

    @torch.no_grad()
    def update(self, student: nn.Module, momentum: float) -> None:
        """Set every parameter to momentum · own + (1 − momentum) · student's."""
        own: list[torch.Tensor] = list(self.module.parameters())
        other: list[torch.Tensor] = list(student.parameters())
        torch._foreach_lerp_(own, other, 1 - momentum)


def cosine_momentum(start: float, progress: float) -> float:
    """Return the momentum that rises from `start` to 1 along half a cosine (BYOL, Grill et al., 2020, section 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
