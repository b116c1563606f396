"""How fast images are corrupted on one core, against the package imagecorruptions-imaug, image by image.

python -m benchmarks.corruptions [--names fog snow]    (writes results/corruptions.json; needs the extra `bench`)

Both run in this process on one thread and take turns, at all five severities with ImageNet's constants, the only ones
that the other package has. Ours is given a batch, the other some of its images. Figures are milliseconds of CPU time
an image (what else runs on the machine would count on a clock), medians of the rounds with their quartiles; how many
times faster ours is, is taken round by round.
"""

import argparse
import contextlib
import io
import math
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.common import data_folder, write_result
from uda.datasets.corruptions import NAMES, SEVERITIES, corrupt


@dataclass(frozen=True)
class Case:
    """A batch of `ours` images of `size` pixels, of which the other package is given `theirs`."""

    size: int
    ours: int
    theirs: int


CASES = (Case(32, 256, 16), Case(224, 32, 2))


def photographs(n: int, size: int) -> Tensor:
    """Return real photographs, squashed to (n, 3, size, size) uint8."""
    files = sorted((data_folder("office_caltech10") / "caltech10").rglob("*.jpg"))
    chosen = files[:: len(files) // n][:n]
    images = [np.array(Image.open(file).convert("RGB").resize((size, size))) for file in chosen]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def measure(case: Case, name: str, rounds: int) -> dict[str, Any]:
    """Return both packages' times for one corruption."""
    import imagecorruptions

    images = photographs(case.ours, case.size)
    pictures = [image.permute(1, 2, 0).numpy().copy() for image in images[: case.theirs]]

    def ours() -> int:
        for severity in SEVERITIES:
            corrupt(images, name, severity)
        return case.ours

    def theirs() -> int:
        for severity in SEVERITIES:
            for picture in pictures:
                imagecorruptions.corrupt(picture, severity, name)
        return case.theirs

    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(rounds + 1):
        for key, run in (("ours", ours), ("theirs", theirs)):
            seconds = timed(run)
            if turn:  # the first round warms up
                times[key].append(seconds * 1000 / len(SEVERITIES))
    faster = [theirs / ours for ours, theirs in zip(times["ours"], times["theirs"], strict=True)]
    figures = {f"{key}_ms": spread(values) for key, values in times.items()}
    return {"size": case.size, "name": name, **figures, "times_faster": spread(faster)}


def timed(run: Callable[[], int]) -> float:
    """Return the seconds of CPU time an image."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # the other package is talkative
        warnings.simplefilter("ignore")
        started = time.process_time()
        images = run()
        return (time.process_time() - started) / images


def spread(values: list[float]) -> list[float]:
    """Return the lower quartile, the median and the upper quartile."""
    return [round(value, 4) for value in statistics.quantiles(values, n=4, method="inclusive")]


def summary(figures: list[dict[str, Any]], size: int) -> dict[str, Any]:
    """Return the geometric mean of how many times faster, and the slowest of all."""
    faster = {figure["name"]: figure["times_faster"][1] for figure in figures if figure["size"] == size}
    slowest = min(faster, key=lambda name: faster[name])
    mean = math.exp(statistics.mean(math.log(value) for value in faster.values()))
    return {"size": size, "geometric_mean": round(mean, 2), "slowest": slowest, "slowest_times": faster[slowest]}


def main() -> None:
    """Measure all corruptions at all sizes, print and write the figures."""
    import cv2

    parser = argparse.ArgumentParser(description="Speed of corruptions on one core.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--names", nargs="*", default=NAMES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    figures = []
    for case in CASES:
        for name in options.names:
            figures.append(measure(case, name, options.rounds))
            print(figures[-1], flush=True)
    summaries = [summary(figures, case.size) for case in CASES]
    print(*summaries, sep="\n")
    if set(options.names) == set(NAMES):
        packages = (
            "imagecorruptions-imaug",
            "opencv-python",
            "scikit-image",
            "scipy",
            "numba",
            "pillow",
            "torchvision",
        )
        content = {
            "threads": 1,
            "rounds": options.rounds,
            "cases": [vars(case) for case in CASES],
            "unit": "milliseconds of CPU time an image",
            "columns": "lower quartile, median, upper quartile",
            "against": {package: version(package) for package in packages},
            "summary": summaries,
            "figures": figures,
        }
        print(f"written to {write_result('corruptions', content)}")


if __name__ == "__main__":
    main()
