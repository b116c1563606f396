"""Small real parts for the tests of objectives: an encoder, a batch, views, and a few steps of training."""

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder, TimmEncoder, create_encoder
from uda.random import uniform
from uda.ssl.objective import Info, Objective
from uda.ssl.placebo import placebo
from uda.ssl.views import CropFlip, to_float

SIZE = 32
CLASSES = 4
CLOCK = Clock(3, 10, seed=1, images_per_step=16, n_images=16)


def encoder(name: str = "smallconv", size: int = SIZE) -> TimmEncoder:
    """Return an encoder with the same random weights every time."""
    torch.manual_seed(0)
    return create_encoder(name, "none", size)


def batch(n: int = 16, size: int = SIZE, labels: bool = True, seed: int = 0) -> Batch:
    """Return images of coarse random patterns, each unlike the others; classes 0, 1, 2, 3, 0, … differ in color."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    classes = torch.arange(n) % CLASSES
    colors = torch.rand(CLASSES, 3, generator=torch.Generator().manual_seed(99))[classes]
    patterns = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    images = (255 * (0.6 * patterns + 0.4 * colors[:, :, None, None])).to(torch.uint8)
    return Batch(images, torch.arange(n), classes if labels else None, "target")


def random_view(
    batch: Batch, clock: Clock, view: str, size: int | None = None, scale: tuple[float, float] | None = None
) -> Tensor:
    """Random resized crop, mirror image and brightness: a plain stand-in for the strong augmentation."""
    low, high = scale or (0.4, 1.0)
    size = size or batch.images.shape[-1]
    draws = uniform(clock.seed, clock.step, batch.index, f"small {view}", 5)
    side = (low + (high - low) * draws[:, 0]).sqrt()
    x, y = ((2 * draws[:, k] - 1) * (1 - side) for k in (1, 2))
    mirror = torch.where(draws[:, 3] < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(side)
    theta = torch.stack([torch.stack([side * mirror, zero, x], 1), torch.stack([zero, side, y], 1)], 1)
    grid = F.affine_grid(theta, [len(batch), 3, size, size], align_corners=False)
    crops = F.grid_sample(to_float(batch.images), grid, padding_mode="border", align_corners=False)
    return (crops * (0.7 + 0.6 * draws[:, 4])[:, None, None, None]).clamp(0, 1)


def info(n_images: int = 16, n_classes: int = CLASSES, size: int = SIZE, seed: int = 1) -> Info:
    """Return what an objective may know of where it works, with the views above."""
    return Info(n_images, n_classes, size, seed, CropFlip(size), random_view)


def step(
    objective: Objective,
    encoder: Encoder,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    clock: Clock = CLOCK,
) -> float:
    """Do one step in the loop's order; return its loss. The gradient is left where it is."""
    objective.before_step(encoder, clock)
    loss = objective(encoder, batch, clock)
    optimizer.zero_grad()
    loss.value.backward()
    optimizer.step()
    objective.after_step(loss.carry)
    return loss.value.item()


def optimizer_of(objective: Objective, encoder: Encoder, lr: float = 0.05) -> torch.optim.Optimizer:
    """Return SGD with momentum over whatever wants a gradient."""
    parameters = [p for p in (*encoder.parameters(), *objective.parameters()) if p.requires_grad]
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


def falls_on_fixed_batch(
    objective: Objective, encoder: Encoder, batch: Batch, steps: int = 15, lr: float = 0.05
) -> tuple[float, float]:
    """Train on one batch with always the same views; return the first and the last loss."""
    optimizer = optimizer_of(objective, encoder, lr)
    losses = [step(objective, encoder, batch, optimizer) for _ in range(steps)]
    return losses[0], losses[-1]


def gradient_reaches(encoder: Encoder) -> bool:
    """Return whether every trainable parameter has a gradient that is finite and not all zeros."""
    gradients = [p.grad for p in encoder.parameters() if p.requires_grad]
    return all(g is not None and bool(g.isfinite().all()) and bool(g.abs().sum() > 0) for g in gradients)


def continues_exactly(make: type[Objective], batch: Batch, **options: object) -> bool:
    """Return whether a copy restored from the state dicts after two steps has the losses of the one that went on."""

    def fresh(seed: int) -> tuple[Objective, Encoder]:
        network = encoder()
        torch.manual_seed(seed)  # another start for the copy: what is not restored would show
        return make(network, info(), **options), network

    def run(objective: Objective, network: Encoder, clocks: range) -> list[float]:
        optimizer = torch.optim.SGD([*network.parameters(), *objective.parameters()], lr=0.05)
        return [step(objective, network, batch, optimizer, Clock(k, 10, 1, 16, 16)) for k in clocks]

    first, network = fresh(1)
    run(first, network, range(2))
    second, other = fresh(2)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(network.state_dict())
    return run(first, network, range(2, 4)) == run(second, other, range(2, 4))


def made(kind: type[Objective], network: Encoder, seed: int = 1, **options: object) -> Objective:
    """Return an objective with the same random weights every time."""
    torch.manual_seed(seed)
    return kind(network, info(), **options)


def placebo_differs(kind: type[Objective], batch: Batch, steps: int = 1, **options: object) -> bool:
    """Return whether the placebo has a finite loss that is not the objective's, after some steps of both."""
    values = []
    for which in (kind, placebo(kind)):
        network = encoder()
        objective = made(which, network, **options)
        optimizer = optimizer_of(objective, network)
        values.append([step(objective, network, batch, optimizer, Clock(k, 10, 1, 16, 16)) for k in range(steps)])
    true, exchanged = torch.tensor(values)
    return bool(exchanged.isfinite().all()) and not torch.equal(true, exchanged)
