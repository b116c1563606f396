"""The contract of a task: what the one training loop needs to know of it."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Stream


class Task(nn.Module):
    """Encoder, heads and objectives; everything that trains or must survive a restart is in its state dict.

    streams: the images it draws; turns: who moves, in order, within one step (one player for most tasks, generator and
    discriminator for a GAN); metric_names: what `evaluate` returns; `players` gives each one's parameter groups, whose
    "lr_scale" multiplies the recipe's rate.
    """

    turns: tuple[str, ...] = ("all",)
    metric_names: tuple[str, ...] = ()

    def streams(self) -> Mapping[str, Stream]:
        """Return the streams by name."""
        raise TypeError(f"{type(self).__name__} defines no streams")

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """Return the parameter groups of each player."""
        return {"all": [{"params": [p for p in self.parameters() if p.requires_grad], "lr_scale": 1.0}]}

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return every loss term of this turn by name, already weighted; their sum is minimized."""
        raise TypeError(f"{type(self).__name__} defines no forward")

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Do what must come before a step's images are drawn (pseudo-labels made anew); a function of state and clock.

        None: nothing was done. Otherwise images that were drawn ahead are drawn again, and the optimizer forgets what
        it holds of the returned parameters.
        """
        return None

    def scheduled(self, clock: Clock) -> Clock:
        """Return the clock that the learning rate goes by; a task of several stages starts it anew for each."""
        return clock

    def start(self) -> None:
        """Prepare state that needs a look at the data (a memory bank's first rows); not called on resume."""

    def after_step(self) -> None:
        """Move what must move after the optimizers' steps, with what `forward` left behind."""

    def evaluate(self) -> dict[str, float | None]:
        """Return the metrics of the task as it stands; an undefined figure is None."""
        raise TypeError(f"{type(self).__name__} defines no evaluate")


def finite_answers(values: Tensor) -> Tensor:
    """Return what an evaluation computed; FloatingPointError where it overflowed, though all weights are finite."""
    if not torch.isfinite(values).all():
        raise FloatingPointError("what an evaluation computes of the images is not finite, though the weights are,")
    return values


def two_rates(task: nn.Module, backbone: Iterable[nn.Parameter], backbone_scale: float) -> list[dict[str, Any]]:
    """Return two parameter groups, the backbone's and all others', each with its part of the learning rate."""
    first = [p for p in backbone if p.requires_grad]
    known = {id(p) for p in first}
    rest = [p for p in task.parameters() if p.requires_grad and id(p) not in known]
    groups = [{"params": first, "lr_scale": backbone_scale}, {"params": rest, "lr_scale": 1.0}]
    return [group for group in groups if group["params"]]
