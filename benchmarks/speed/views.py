"""How fast strong views are made on a CPU, against other packages' transforms of the same strength.

All make one view of each image in this process and take turns; figures are medians of the rounds, in milliseconds a
view. Freed memory is kept, as in training. lightly and torchvision transform image by image, and their users spread
images over processes of one thread each, so their time is that of one thread, divided by the threads of ours: as if all
cores were free and processes cost nothing. kornia works on the batch, on the same threads as ours. Only ours and
lightly's antialias when they shrink (lightly through Pillow); torchvision's does when asked to, and is; kornia's does
not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.common import CPU
from benchmarks.speed.measure import Row, spread, take_turns
from uda.batch import Batch
from uda.clock import Clock
from uda.ssl.random_views import Contrast
from uda.training.allocation import freed_memory_kept

OURS = "ours"
OF_ONE_THREAD = ("lightly", "torchvision")


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


def makers(case: Case) -> dict[str, Callable[[], Tensor]]:
    """Return what makes one view of each image, by package."""
    from kornia import augmentation as kornia
    from lightly.transforms.simclr_transform import SimCLRViewTransform
    from torchvision.transforms import v2

    batch = Batch(smooth_images(case.n, case.stored), torch.arange(case.n), None, "target")
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in batch.images]
    ours = Contrast(case.size, blur=case.blur)
    strength = (0.4, 0.4, 0.4, 0.1)
    kernel = 2 * round(3 * ours.sigma[1]) + 1
    steps = iter(range(10**9))
    of_lightly = SimCLRViewTransform(
        input_size=case.size, cj_strength=0.5, min_scale=0.2, gaussian_blur=case.blur, normalize=None
    )
    of_torchvision = v2.Compose(
        [
            v2.RandomResizedCrop(case.size, scale=(0.2, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(*strength)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(kernel, ours.sigma)], p=case.blur),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    of_kornia = kornia.AugmentationSequential(
        kornia.RandomResizedCrop((case.size, case.size), scale=(0.2, 1.0)),
        kornia.RandomHorizontalFlip(),
        kornia.ColorJitter(*strength, p=0.8),
        kornia.RandomGrayscale(p=0.2),
        *([kornia.RandomGaussianBlur((kernel, kernel), ours.sigma, p=case.blur)] if case.blur else []),
    )
    return {
        OURS: lambda: ours(batch, Clock(next(steps), 1), "a"),
        "lightly": lambda: torch.stack([of_lightly(picture) for picture in pictures]),
        "torchvision": lambda: torch.stack([of_torchvision(image) for image in batch.images]),
        "kornia": lambda: of_kornia(batch.images.float() / 255),
    }


def views_row(case: Case, rounds: int, threads: int) -> Row:
    """Return milliseconds a view of all, and how many times faster ours is."""
    runs = {name: _with_threads(1 if name in OF_ONE_THREAD else threads, make) for name, make in makers(case).items()}
    with freed_memory_kept(CPU.device):
        seconds = take_turns(runs, CPU.device, rounds)
    for name in OF_ONE_THREAD:
        seconds[name] = [value / threads for value in seconds[name]]
    faster = {
        name: spread([a / b for a, b in zip(values, seconds[OURS], strict=True)])
        for name, values in seconds.items()
        if name != OURS
    }
    ms = {name: spread([1000 * value / case.n for value in values]) for name, values in seconds.items()}
    return vars(case) | {"threads": threads, "ms_per_view": ms, "times_faster": faster}


def _with_threads(threads: int, make: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        torch.set_num_threads(threads)
        return make()

    return run
