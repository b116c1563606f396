"""All rows of speed: steps against their floor, other packages, data and scaling.

python -m benchmarks [--device cuda] [--part steps scaling …]    (writes results/speed_<device>.json as rows come)
python -m benchmarks --check                       (steps alone; fails where one is 10 % slower than was committed)

Everything that is compared takes turns in this process; figures are medians with their quartiles over the rounds.
Other packages' rows need the extra `bench`.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.common import RESULTS, write_result
from benchmarks.speed.data import data_rows
from benchmarks.speed.measure import ROUNDS, Row
from benchmarks.speed.peers import knn_row, simclr_row
from benchmarks.speed.profiling import profile_row
from benchmarks.speed.scaling import clustering_rows, shape_rows
from benchmarks.speed.steps import CASES, OBJECTIVES, OPTIONS, option_row, overhead_row, step_row

_WORSE = 1.1


def parts(device: torch.device, rounds: int, threads: int) -> dict[str, list[Callable[[], list[Row]]]]:
    """Return what makes the rows of each part."""
    cases = CASES[device.type]
    workers = 2 if device.type == "cpu" else 16
    return {
        "loop": [lambda: [overhead_row(device, rounds)]],
        "steps": [
            lambda case=case, name=name: [step_row(name, case, device, rounds)]  # type: ignore[misc]
            for case in cases
            for name in OBJECTIVES
        ],
        "options": [
            lambda case=case, name=name, value=value: [option_row(case, name, value, device, rounds)]  # type: ignore[misc]
            for case in cases
            for name, value in OPTIONS[device.type]
        ],
        "peers": [
            *(lambda case=case: [simclr_row(case, device, workers, rounds)] for case in cases),
            lambda: [knn_row(device, rounds=rounds)],
        ],
        "profile": [lambda case=case: [profile_row("simclr", case, device)] for case in cases],  # type: ignore[misc]
        "data": [data_rows],
        "scaling": [lambda: clustering_rows(device), lambda: shape_rows(device, rounds)],
    }


def check(name: str, device: torch.device, rounds: int) -> int:
    """Return 1 where a step takes over a tenth more of its floor than the committed result says."""
    committed = json.loads((RESULTS / f"{name}.json").read_text())["steps"]
    worse = 0
    for case in CASES[device.type]:
        for row in committed:
            if all(row[key] == value for key, value in vars(case).items()):
                now = step_row(row["objective"], case, device, rounds)["times_the_floor"]["median"]
                before = row["times_the_floor"]["median"]
                slower = now > _WORSE * before
                worse += slower
                told = f"{row['objective']}, {case.backbone}: {now:.3f} times the floor, {before:.3f} before"
                print(told + (": SLOWER" if slower else ""), flush=True)
    return int(worse > 0)


def main() -> int:
    """Measure what was asked for, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--part", nargs="+", default=["loop", "steps", "options", "peers", "profile", "data", "scaling"]
    )
    parser.add_argument("--check", action="store_true", help="compare steps with the committed result")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    device, name = torch.device(flags.device), f"speed_{flags.device}"
    if flags.check:
        return check(name, device, flags.rounds)
    path = RESULTS / f"{name}.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for part in flags.part:
        content[part] = []
        for make in parts(device, flags.rounds, flags.threads)[part]:
            for row in make():
                content[part].append(row)
                print(json.dumps(row), flush=True)
                write_result(name, content | {"threads": flags.threads, "rounds": flags.rounds}, device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
