"""How long a step takes, measured on a few real ones before a run begins."""

import statistics
import time
from collections.abc import Callable

import torch

from uda.clock import Clock
from uda.tasks.task import Task
from uda.training.allocation import freed_memory_kept
from uda.training.device import create_accelerator, device_errors_named, images_drawn, place
from uda.training.loop import LoopOptions, create_optimizers, move
from uda.wording import counted

_MOMENTS = (0.25, 0.75)  # of the run, for some methods do more in its second half
_ROUNDS = 5


def seconds_per_step(task: Task, options: LoopOptions, device: torch.device, patience: float = 1.0) -> float:
    """Train a task that is not needed any more for a few steps; return the seconds that one takes on average.

    Steps from the first and the second half of the run take turns; the first of each only warms up, unless `patience`,
    in seconds, is over by then. Reading a step's images counts where it takes longer than the step itself, since the
    loop reads ahead. The task's weights change and so does torch's random state: give a copy, and restore that.
    Raises UserError where the GPU's memory does not hold a step.
    """
    place(task, device, options.channels_last, options.compile)
    optimizers, streams = create_optimizers(task, options), task.streams()
    accelerator = create_accelerator(options.precision, device)
    seen = sum(images_drawn(stream) for stream in streams.values())
    available = sum(len(stream.images) for stream in streams.values())

    def step_at(moment: float) -> float:
        step = int(moment * options.steps)
        read = {name: stream.batch(step) for name, stream in streams.items()}  # images are resized when first drawn
        reading = timed(lambda: [stream.batch(step) for stream in streams.values()], device)
        batches = {name: batch.to(device) for name, batch in read.items()}
        clock = Clock(step, options.steps, options.seed, seen, available)
        return max(reading, timed(lambda: move(task, optimizers, batches, clock, 0.0, accelerator, 0.0), device))

    task.train()
    rounds: list[list[float]] = []
    started = time.perf_counter()
    with freed_memory_kept(device), device_errors_named(streams, options.batch_setting):
        while len(rounds) < _ROUNDS and (not rounds or time.perf_counter() - started < patience):
            rounds.append([step_at(moment) for moment in _MOMENTS])
    measured = rounds[1:] or rounds
    return statistics.mean(statistics.median(times) for times in zip(*measured, strict=True))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that some work takes, on a GPU until it is really done."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: "40 seconds", "12 minutes", "3.5 hours"."""
    for limit, length, unit in ((100, 1, "second"), (6000, 60, "minute"), (172_800, 3600, "hour")):
        if seconds < limit:
            return _counted(seconds / length, unit)
    return _counted(seconds / 86_400, "day")


def _counted(amount: float, unit: str) -> str:
    text = f"{amount:.1f}" if unit in ("hour", "day") and amount < 10 else str(max(1, round(amount)))
    return counted(text.removesuffix(".0"), unit)
