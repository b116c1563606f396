"""How long training will take, measured before it begins."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from uda.clock import Clock
from uda.datasets.sampling import spread
from uda.datasets.streams import Images, Subset
from uda.ssl.objective import Objective
from uda.tasks.gan import Adversarial
from uda.tasks.supervised import Supervised
from uda.tasks.unida import UniDA
from uda.training.device import images_drawn
from uda.training.loop import LoopOptions
from uda.training.timing import duration, seconds_per_step, timed
from uda.wording import counted

T = TypeVar("T", bound=UniDA | Supervised | Adversarial)


@dataclass(frozen=True)
class Looks:
    """How many times so many images are encoded outside of steps, and what they are called."""

    times: int
    images: int
    at: str


def time_line(
    task: T,
    options: LoopOptions,
    device: torch.device,
    encode: Callable[[T, Images], object],
    images: Images,
    looks: Sequence[Looks],
    runs: str,
) -> str:
    """Return how long training will take, from a few steps of a copy of the task and encoding some of the images.

    runs: how many will take that long, " for each of 2 seeds"; empty for a single one.
    """
    copied = copied_task(task)
    step = seconds_per_step(copied, options, device) if options.steps else 0.0
    image = _seconds_per_image(lambda some: encode(copied, some), images, device)
    total = options.steps * step + sum(look.times * look.images * image for look in looks)
    told: list[str] = [f"{counted(options.steps, 'step')} of {step:.2g} s"]
    for look in looks:
        told += [f"{counted(look.times, 'look')} of {look.images * image:.2g} s at {look.at}"] if look.times else []
    return f"training takes about {duration(total)}{runs}: {' and '.join(told)}"


def supervised_time(
    task: Supervised,
    options: LoopOptions,
    device: torch.device,
    images: Images,
    at: str,
    runs: str,
    learning: int | None = None,
) -> str:
    """Return how long training a supervised task will take, with its evaluations and its objectives' pseudo-labels.

    images: what evaluations look at, and at: what they are called; learning: steps in which objectives do, None: all.
    """
    streams = task.streams().values()
    seen, available = sum(map(images_drawn, streams)), sum(len(stream.images) for stream in streams)
    steps = range(options.steps if learning is None else learning)
    clocks = (Clock(step, options.steps, options.seed, seen, available) for step in steps)
    looks = [
        Looks(evaluations(options), len(images), at),
        Looks(assignments(task.objectives, clocks), available, "all images learned from"),
    ]
    return time_line(task, options, device, Supervised.answer, images, looks, runs)


def for_each(count: int, what: str = "seeds") -> str:
    """Return " for each of 3 seeds"; nothing for one."""
    return f" for each of {count} {what}" if count > 1 else ""


def copied_task(task: T, *shared: object) -> T:
    """Return a copy to be trained and thrown away; the images are shared, and what else does not change."""
    return copy.deepcopy(task, {id(part): part for part in (task.data, *shared)})


def evaluations(options: LoopOptions) -> int:
    """Return how many evaluations a run has; the last step always has one."""
    steps, every = options.steps, options.evaluate_every
    return max(1, steps // every + (steps % every > 0)) if every else 1


def assignments(objectives: Iterable[nn.Module], clocks: Iterable[Clock]) -> int:
    """Return how often objectives make pseudo-labels, for which they look at all images; clocks: one a step."""
    found = [objective for objective in objectives if isinstance(objective, Objective)]
    return sum(objective.assign_due(clock) for clock in (clocks if found else ()) for objective in found)


def _seconds_per_image(encode: Callable[[Images], object], images: Images, device: torch.device) -> float:
    """Return how long encoding an image takes; a few are enough where that is slow."""
    found = 0.0
    for most in (16, 256):
        some = Subset(images, spread(len(images), most))
        found = timed(lambda some=some: encode(some), device) / len(some)  # type: ignore[misc]
        if found * len(some) > 0.2:
            break
    return found
