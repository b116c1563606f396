"""The regression guard: whether a step takes more of its floor than the committed result says."""

import json
from pathlib import Path

import torch

from benchmarks.speed.machine import machine
from benchmarks.speed.measure import Row
from benchmarks.speed.steps import CASES, OBJECTIVES, Case, step_row
from uda.errors import UserError

_WORSE = 1.1


def check(path: Path, device: torch.device, rounds: int, threads: int) -> int:
    """Return 1 where a step takes over a tenth more of its floor than the committed result says, else 0.

    UserError where there is nothing to compare with: no result, one of other threads or another processor, or one that
    lacks a step.
    """
    known = committed(path, device, threads)
    worse = 0
    for (name, case), before in known.items():
        now = step_row(name, case, device, rounds)["times_the_floor"]["median"]
        slower = now > _WORSE * before
        worse += slower
        told = f"{name}, {case.backbone}: {now:.3f} times the floor, {before:.3f} before"
        print(told + (": SLOWER" if slower else ""), flush=True)
    return int(worse > 0)


def committed(path: Path, device: torch.device, threads: int) -> dict[tuple[str, Case], float]:
    """Return how many times its floor each step took when the result was written."""
    again = "measure them on this machine by `python -m benchmarks --part steps`, at the revision to compare with"
    part = json.loads(path.read_text()).get("steps") if path.is_file() else None
    if part is None:
        raise UserError(f"{path.name} holds no steps to compare with; {again}")
    here = {"threads": threads, "processor": machine(device)["processor"]}
    for key, value in here.items():
        if part[key] != value:
            raise UserError(f"{path.name} was measured with {key} {part[key]}, and here it is {value}; {again}")
    found = {}
    for case in CASES[device.type]:
        for name in OBJECTIVES:
            rows = [row for row in part["rows"] if _is_of(row, name, case)]
            if not rows:
                raise UserError(f"{path.name} has no step of {name} with {case}; {again}")
            found[name, case] = float(rows[0]["times_the_floor"]["median"])
    return found


def _is_of(row: Row, name: str, case: Case) -> bool:
    return row.get("objective") == name and all(row.get(key) == value for key, value in vars(case).items())
