"""All rows of speed: steps against their floor, other packages, data and scaling.

python -m benchmarks [--device cuda] [--part steps scaling …]    (writes results/speed_<device>.json, part by part)
python -m benchmarks --check                       (steps alone; fails where one is 10 % slower than was committed)

Everything that is compared takes turns in this process; figures are medians with their quartiles over the rounds.
Other packages' rows need the extra `bench`. What fails (a GPU too small, no compiler) is a row that says so; the other
rows go on, and the exit status is 1.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.common import RESULTS, commit
from benchmarks.speed.data import data_row
from benchmarks.speed.guard import check
from benchmarks.speed.machine import machine
from benchmarks.speed.measure import ROUNDS, Row
from benchmarks.speed.peers import knn_row, simclr_row
from benchmarks.speed.profiling import profile_row
from benchmarks.speed.scaling import ROWS, clustering_row, shapes
from benchmarks.speed.steps import CASES, OBJECTIVES, OPTIONS, memory_row, option_row, overhead_row, step_row
from benchmarks.speed.views import CASES as VIEWS
from benchmarks.speed.views import views_row
from uda.datasets.packed import cpu_count
from uda.errors import UserError
from uda.places import choose_device
from uda.training.outputs import write_json

Make = Callable[[], Row]
PARTS = ("loop", "steps", "peers", "views", "profile", "data", "scaling", "options")


def parts(device: torch.device, rounds: int, threads: int) -> dict[str, list[Make]]:
    """Return what makes the rows of each part."""
    cases, workers = CASES[device.type], 2 if device.type == "cpu" else 16
    options = OPTIONS[device.type]
    views = VIEWS if device.type == "cpu" else ()  # other packages make theirs on the CPU
    return {
        "loop": [partial(overhead_row, device, rounds)],
        "steps": [partial(step_row, name, case, device, rounds) for case in cases for name in OBJECTIVES],
        "peers": [
            *(partial(simclr_row, case, device, workers, rounds) for case in cases),
            partial(knn_row, device, rounds=rounds),
        ],
        "views": [partial(views_row, case, rounds, count) for count in sorted({1, threads}) for case in views],
        "profile": [partial(profile_row, "simclr", case, device) for case in cases],
        "data": [data_row],
        "scaling": [
            *(partial(clustering_row, n, dtype, device) for n in ROWS for dtype in (torch.float32, torch.bfloat16)),
            *(partial(step_row, name, case, device, rounds) for name, case in shapes(device)),
        ],
        "options": [
            *(partial(option_row, case, key, value, device, rounds) for case in cases for key, value in options),
            *(partial(memory_row, case, rounds) for case in cases if device.type == "cpu"),
        ],
    }


def measured(makers: list[Make]) -> list[Row]:
    """Return all rows, printed as they come; one that fails is what went wrong."""
    rows: list[Row] = []
    for make in makers:
        try:
            row = make()
        except Exception as error:  # whatever it is, the other rows are worth having
            row = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def main() -> int:
    """Measure what was asked for, print it and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--part", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--check", action="store_true", help="compare steps with the committed result")
    flags = parser.parse_args()
    if flags.rounds < 2:
        raise UserError("--rounds wants at least 2, for quartiles")
    device, path = choose_device(flags.device), RESULTS / f"speed_{flags.device}.json"
    torch.set_num_threads(flags.threads)
    if flags.check:
        return check(path, device, flags.rounds, flags.threads)
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    setting = {"threads": flags.threads, "rounds": flags.rounds, **machine(device), "commit": commit()}
    failed = False
    for part in flags.part:
        rows = measured(parts(device, flags.rounds, flags.threads)[part])
        failed |= any("failed" in row for row in rows)
        content[part] = setting | {"rows": rows}  # each part says where it was measured, for it may be run alone
        write_json(path, content)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
