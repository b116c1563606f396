"""Times of things that take turns in one process, so that whatever else the machine does hits them alike."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from uda.training.allocation import give_back_freed_memory
from uda.training.timing import timed

ROUNDS = 7


def take_turns(
    runs: Mapping[str, Callable[[], object]], device: torch.device, rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Return the seconds of each run, round by round; a first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            spent = timed(run, device)
            if number:
                seconds[name].append(spent)
    return seconds


def seconds_a_step(step: Callable[[], object], steps: int, device: torch.device, uncounted: int = 1) -> float:
    """Return the seconds of one of so many steps in a row, after some that are not counted."""
    for _ in range(uncounted):
        step()

    def row() -> None:
        for _ in range(steps):
            step()

    return timed(row, device) / steps


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles of at least two values, in four digits."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {name: float(f"{value:.4g}") for name, value in (("median", middle), ("low", low), ("high", high))}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return how many times as long ours take, round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


class PeakMemory:
    """How many bytes more than at its start a block has held at once: of the GPU, else of the process (Linux).

    The kernel's high-water mark is set back at the start by writing 5 to `clear_refs` (proc(5)). Freed memory that the
    process still has is given back before, or what is taken from it would not be seen.
    """

    def __init__(self, device: torch.device):
        self.device, self.bytes = device, 0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            give_back_freed_memory()
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _kilobytes("VmRSS") * 1024
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            peak = torch.cuda.max_memory_allocated(self.device)
        else:
            peak = _kilobytes("VmHWM") * 1024
        self.bytes = max(0, peak - self._before)


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def megabytes(count: int) -> float:
    """Return bytes as mebibytes."""
    return round(count / 2**20, 1)


Row = dict[str, Any]
