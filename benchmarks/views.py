"""How fast strong views are made on a CPU, against lightly's per-image transforms of the same strength.

python -m benchmarks.views [--threads 1]    (writes results/views.json; needs the extra `bench`)

Both make one view of each image in this process. lightly's users spread images over processes of one thread each, so
its time is that of one thread, divided by --threads: as if all cores were free and processes cost nothing. The two
take turns; the figures are medians of the rounds, in milliseconds a view.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.common import write_result
from uda.batch import Batch
from uda.clock import Clock
from uda.ssl.random_views import Contrast


@dataclass(frozen=True)
class Case:
    """Views of `size` pixels of `n` images that are stored at `stored` pixels; blur: its probability."""

    n: int
    stored: int
    size: int
    blur: float


CASES = (Case(256, 32, 32, 0.0), Case(64, 256, 224, 0.0), Case(64, 256, 224, 0.5))


def smooth_images(n: int, side: int) -> Tensor:
    """Return images of large blots, (n, 3, side, side) uint8."""
    knots = torch.rand(n, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    return (F.interpolate(knots, size=(side, side), mode="bicubic").clamp(0, 1) * 255).byte()


def measure(case: Case, rounds: int, threads: int) -> dict[str, Any]:
    """Return milliseconds a view of both, and their ratio."""
    from lightly.transforms.simclr_transform import SimCLRViewTransform

    batch = Batch(smooth_images(case.n, case.stored), torch.arange(case.n), None, "target")
    ours = Contrast(case.size, blur=case.blur)
    theirs = SimCLRViewTransform(
        input_size=case.size, cj_strength=0.5, min_scale=0.2, gaussian_blur=case.blur, normalize=None
    )
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in batch.images]
    seconds: dict[str, list[float]] = {"ours": [], "lightly": []}
    for step in range(rounds + 1):
        runs: dict[str, Callable[[], Tensor]] = {
            "ours": lambda step=step: ours(batch, Clock(step, rounds + 1), "a"),  # type: ignore[misc]
            "lightly": lambda: torch.stack([theirs(picture) for picture in pictures]),
        }
        for name, run in runs.items():
            torch.set_num_threads(threads if name == "ours" else 1)
            started = time.perf_counter()
            run()
            if step:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    ms = {name: statistics.median(values) * 1000 / case.n for name, values in seconds.items()}
    ms["lightly"] /= threads
    figures = {name: round(value, 4) for name, value in ms.items()}
    return vars(case) | {"ms_per_view": figures, "times_faster": round(ms["lightly"] / ms["ours"], 2)}


def main() -> None:
    """Measure all cases, print them and write them."""
    parser = argparse.ArgumentParser(description="Speed of strong views on a CPU.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    cases = [measure(case, options.rounds, options.threads) for case in CASES]
    for case in cases:
        print(case)
    path = write_result("views", {"threads": options.threads, "rounds": options.rounds, "cases": cases})
    print(f"written to {path}")


if __name__ == "__main__":
    main()
