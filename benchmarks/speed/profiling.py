"""Where the time of a step goes, operation by operation, beside its floor (torch.profiler)."""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.common import CPU
from benchmarks.speed.measure import Row
from benchmarks.speed.steps import Case, Stored, floor_of, recipe_of, task_of
from uda.clock import Clock
from uda.experiments.experiment import loop_options
from uda.tasks.task import Task
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, train

_SHOWN = 12
_UNCOUNTED = 2  # steps in which memory and kernels are chosen


def profile_row(objective: str, case: Case, device: torch.device, steps: int = 4) -> Row:
    """Return the operations that take most of a step, in milliseconds of their own, in ours and in its floor.

    Of operations of the main thread; what the reading thread does beside it is not among them. On a CPU this is of one
    thread, for large views are made in several, which the profiler does not see. `beyond_ms` is what ours has more of,
    over all operations.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _profile_row(objective, case, device, steps)
    finally:
        torch.set_num_threads(threads)


def _profile_row(objective: str, case: Case, device: torch.device, steps: int) -> Row:
    recipe, images = recipe_of(objective, case), Stored(case.stored, case.stored_size, device)
    options = loop_options(recipe, 0, replace(CPU, device=device))
    ours = profiled_loop(task_of(objective, recipe, case, images), options, device, steps)
    step, recorded = floor_of(task_of(objective, recipe, case, images), options, device), _profiler(device)
    for number in range(_UNCOUNTED + steps):
        if number == _UNCOUNTED:
            recorded.start()
        step()
    recorded.stop()
    floor = _milliseconds(recorded, device, steps)
    rows = [
        {"operation": name, "ms": round(ours[name], 3), "floor_ms": round(floor.get(name, 0.0), 3)}
        for name in sorted(ours, key=lambda name: ours[name], reverse=True)[:_SHOWN]
    ]
    beyond = round(sum(ours.values()) - sum(floor.values()), 3)
    return {"objective": objective, **vars(case), "operations": rows, "beyond_ms": beyond}


def profiled_loop(task: Task, options: LoopOptions, device: torch.device, steps: int) -> dict[str, float]:
    """Train by the loop itself; return the milliseconds a step of each operation, of so many steps in its middle."""
    recorded, prepare = _profiler(device), task.prepare

    def marked(clock: Clock) -> list[nn.Parameter] | None:
        if clock.step == _UNCOUNTED:
            recorded.start()
        if clock.step == _UNCOUNTED + steps:
            recorded.stop()
        return prepare(clock)

    setattr(task, "prepare", marked)  # noqa: B010
    setattr(task, "evaluate", dict)  # noqa: B010  (no part of a step)
    options = replace(options, steps=_UNCOUNTED + steps + 1, evaluate_every=0, checkpoint_every=0)
    with tempfile.TemporaryDirectory() as out:
        train(task, options, Path(out), Identity("speed", "speed", 0), device)
    return _milliseconds(recorded, device, steps)


def _profiler(device: torch.device) -> profile:
    return profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])])


def _milliseconds(recorded: profile, device: torch.device, steps: int) -> dict[str, float]:
    """Return what each operation takes itself in a step, on the GPU where there is one.

    A GPU's kernels are listed once more as events of their own, with the same time; those are left out.
    """
    own = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = [event for event in recorded.key_averages() if event.device_type == DeviceType.CPU]
    return {event.key: getattr(event, own) / 1000 / steps for event in events}
