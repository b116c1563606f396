"""The placebo: any objective with its answers exchanged, to tell what the signal does from what the cost does."""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.random import hash_bits
from uda.ssl.objective import Objective, Views

O = TypeVar("O", bound=Objective)  # noqa: E741

PREFIX = "placebo:"


def placebo(kind: type[O]) -> type[O]:
    """Return the objective of the same views, heads, state and cost whose answers are those of other images.

    What is exchanged, at random in each step, is the first of these that the views have: targets, the teacher's
    images, the index, else the views themselves: all but the first, the crops too, each in an order of its own. Beside
    targets the next of these goes too where images are compared with each other as well (KCL).
    """

    class Placebo(kind):  # type: ignore[misc,valid-type]
        __doc__ = f"{kind.__name__} with random answers."
        name = PREFIX + kind.name

        def views(self, batch: Batch, clock: Clock) -> Views:
            return exchanged(super().views(batch, clock), batch.index, clock)

    return Placebo


def exchanged(views: Views, index: Tensor, clock: Clock) -> Views:
    """Return views with the answers of one image given to another; index: (B,) rows of the batch.

    Answers that are classes are mixed at random over all rows, so that they say nothing; all else goes round in one
    random circle, so that no image keeps its own. Raises TypeError for views with nothing that could be exchanged.
    """
    n = len(index)
    if views.targets is not None:
        views = replace(views, targets=_other_targets(views.targets, n, clock))
        if views.ids is None:
            return views
    if views.teacher is not None:
        return replace(views, teacher=_handed_on(views.teacher, n, clock))
    if views.index is not None:
        return replace(views, index=_handed_on(views.index, n, clock))
    crops = views.crops
    if len(views.images) <= n and crops is None:
        raise TypeError("a placebo needs targets, a teacher's images, an index or a second view to exchange")
    blocks = [views.images[:n]]
    blocks += [_handed_on(b, n, clock, f"placebo view {k}") for k, b in enumerate(views.images[n:].split(n))]
    if crops is not None:
        moved = [_handed_on(b, n, clock, f"placebo crop {k}") for k, b in enumerate(crops.split(n))]
        crops = torch.cat(moved)
    return replace(views, images=torch.cat(blocks), crops=crops)


def _other_targets(targets: Tensor, n: int, clock: Clock) -> Tensor:
    """Return targets of which each row is another's; a row of several classes stays together."""
    if targets.is_floating_point():
        return _handed_on(targets, n, clock)
    # A turn is the same throughout its block: only a mix over all blocks hides it.
    return targets[_mixed(len(targets), clock, "placebo", targets)]


def _mixed(size: int, clock: Clock, purpose: str, like: Tensor) -> Tensor:
    """Return a random order of 0 … size−1 on the device of `like`."""
    return hash_bits(clock.seed, clock.step, torch.arange(size, device=like.device), purpose, 1)[:, 0].argsort()


def _handed_on(rows: Tensor, n: int, clock: Clock, purpose: str = "placebo") -> Tensor:
    """Give each image's row to the next in a random circle, within each block of n, all blocks alike."""
    order = _mixed(n, clock, purpose, rows)
    source = torch.empty_like(order).scatter_(0, order, order.roll(1))
    return rows.unflatten(0, (-1, n))[:, source].flatten(0, 1)
