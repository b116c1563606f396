"""Our whole step, as the one loop makes it, against its floor: the same passes on views that are there already.

The floor is the task itself (encoder, heads, loss, state of the objective, optimizer) in four plain lines, with the
views of one batch made beforehand. What a step costs beyond it is ours: drawing, reading and augmenting images, the
loop, its history and its checks.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import CPU
from benchmarks.speed.measure import ROUNDS, Row, ratio, seconds_a_step, spread
from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Stream
from uda.experiments.experiment import loop_options
from uda.experiments.parts import build_objectives, random_view, starting_encoder, training_view
from uda.experiments.unida.assemble import build_task
from uda.layers import published_layers, replaced_objectives
from uda.recipe import PretrainRecipe, Recipe, Tree, UnidaRecipe, build_as
from uda.ssl import Info
from uda.ssl.objective import Objective, Views
from uda.ssl.views import NoAugmentation
from uda.tasks.pretrain import Pool, Pretrain, SelfSupervised
from uda.tasks.task import Task
from uda.tasks.unida import UnidaData
from uda.training.allocation import freed_memory_kept
from uda.training.checkpoint import Identity
from uda.training.device import place
from uda.training.loop import LoopOptions, create_optimizers, train
from uda.training.timing import wait_for

DANCE = "dance"
OBJECTIVES = ("simclr", "moco", "byol", "barlow_twins", "dino", "rotation", "jigsaw", DANCE)


@dataclass(frozen=True)
class Case:
    """A backbone at an image size, and images a step; of as many images as `stored` are kept, at `stored_size` px."""

    backbone: str
    image_size: int
    stored_size: int
    batch_size: int
    stored: int = 1024
    classes: int = 10


CASES = {
    "cpu": (Case("resnet18", 32, 32, 64), Case("tf_efficientnet_lite0", 224, 256, 16, 128)),
    "cuda": (Case("resnet50", 224, 256, 64, 4096), Case("resnet18", 32, 32, 512, 8192)),
}
OPTIONS = {  # of the training, and other values than the default's
    "cpu": (("compile", True), ("precision", "bf16"), ("channels_last", False)),
    "cuda": (("compile", True), ("precision", "no"), ("channels_last", False)),
}
STEPS = {"cpu": 2, "cuda": 20}  # a round; on a GPU the loop reads its losses back every 20 steps


class Stored:
    """Smooth random images in memory, (N, 3, size, size) uint8, on the device, as the packed cache keeps them."""

    def __init__(self, n: int, size: int, device: torch.device):
        knots = torch.rand(n, 3, max(2, size // 8), max(2, size // 8), generator=torch.Generator().manual_seed(0))
        enlarged = (F.interpolate(part, size=(size, size), mode="bicubic").clamp(0, 1) for part in knots.split(256))
        self.images = torch.cat([(part * 255).byte() for part in enlarged]).to(device)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return those images, (B, 3, size, size) uint8."""
        return self.images.index_select(0, torch.from_numpy(rows).to(self.images.device, non_blocking=True))


def recipe_of(objective: str, case: Case, extra: Tree | None = None) -> Recipe:
    """Return the published recipe, with all weights moving."""
    task = "unida" if objective == DANCE else "pretrain"
    # The floor stands still in the first epoch, in which DINO's prototypes would be frozen.
    options: Tree = {"frozen_epochs": 0} if objective == "dino" else {}
    own: Tree = {} if objective == DANCE else {"objectives": {objective: options}}
    data: Tree = {"image_size": case.image_size, "stored_size": case.stored_size}
    encoder: Tree = {"backbone": case.backbone, "weights": "none"}
    layers = replaced_objectives(published_layers(task, None, frozen=False, image_size=case.image_size), [own])
    given: Tree = {"data": data, "encoder": encoder, "training": {"batch_size": case.batch_size, "warmup_steps": 0}}
    return build_as(UnidaRecipe if objective == DANCE else PretrainRecipe, [*layers, given, own, extra or {}])


def task_of(objective: str, recipe: Recipe, case: Case, images: Stored) -> Task:
    """Return the task of a recipe on stored images."""
    labels = np.arange(len(images)) % case.classes
    names = tuple(f"class {i}" for i in range(case.classes))
    if isinstance(recipe, UnidaRecipe):
        return build_task(recipe, UnidaData(images, labels, images, labels, names), None, 0)
    assert isinstance(recipe, PretrainRecipe)
    encoder, augment = starting_encoder(recipe, 0), training_view(recipe)
    assert isinstance(augment, NoAugmentation)
    info = Info(len(images), case.classes, case.image_size, 0, augment, random_view(recipe))
    objectives = build_objectives(recipe, encoder, info)
    pool = Pool(images, labels, np.full(len(images), -1), names)
    return Pretrain(encoder, SelfSupervised(encoder.dim, case.classes), objectives, pool, augment, case.batch_size, 0)


def floor_of(task: Task, options: LoopOptions, device: torch.device) -> Callable[[], None]:
    """Return one step of a task whose views are made now, once, in plain torch."""
    place(task, device, options.channels_last, options.compile)
    optimizers = create_optimizers(task, options)
    clock = Clock(0, options.steps, options.seed, 1, 1)
    batches = {name: stream.batch(0).to(device) for name, stream in task.streams().items()}
    freeze_views(task, batches, clock)
    task.train()

    def step() -> None:
        for turn in task.turns:
            with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                losses = task(batches, turn, clock)
            optimizers[turn].zero_grad(set_to_none=True)
            torch.stack([loss.float() for loss in losses.values()]).sum().backward()
            optimizers[turn].step()
        task.after_step()

    return step


def freeze_views(task: Task, batches: dict[str, Batch], clock: Clock) -> None:
    """Make the views of these batches now; the task gets them whenever it asks."""
    augment = getattr(task, "augment")  # noqa: B009  (every task here has one; the contract of a task names none)
    plain = {batch.domain: augment(batch, clock) for batch in batches.values()}
    setattr(task, "augment", lambda batch, clock: plain[batch.domain])  # noqa: B010
    objectives = getattr(task, "objectives", nn.ModuleList())
    for objective in objectives:
        assert isinstance(objective, Objective)
        views = objective.views(next(iter(batches.values())), clock)
        setattr(objective, "views", partial(_given, views))  # noqa: B010


def _given(views: Views, batch: Batch, clock: Clock) -> Views:
    return views


def whole_steps(
    task: Task, options: LoopOptions, device: torch.device, rounds: int, steps: int, other: Callable[[], None]
) -> list[float]:
    """Train by the loop itself; return the seconds of one of `steps` steps, round by round.

    Before each round it is the other's turn; the step after that is not counted.
    """
    length = steps + 1
    options = replace(options, steps=rounds * length + 1, evaluate_every=0, checkpoint_every=0)
    seconds: list[float] = []
    started = 0.0
    prepare = task.prepare

    def marked(clock: Clock) -> list[nn.Parameter] | None:
        nonlocal started
        place_in_round = clock.step % length
        if place_in_round < 2:
            wait_for(device)
        if place_in_round == 0:
            if clock.step:
                seconds.append((time.perf_counter() - started) / steps)
            if len(seconds) < rounds:
                other()
        elif place_in_round == 1:
            started = time.perf_counter()
        return prepare(clock)

    setattr(task, "prepare", marked)  # noqa: B010
    setattr(task, "evaluate", dict)  # noqa: B010  (no part of a step)
    with tempfile.TemporaryDirectory() as out:
        train(task, options, Path(out), Identity("speed", "speed", 0), device)
    return seconds


def step_row(objective: str, case: Case, device: torch.device, rounds: int = ROUNDS, extra: Tree | None = None) -> Row:
    """Return what our step takes and what its floor takes, and how many times as long ours is."""
    settings = replace(CPU, device=device)
    recipe = recipe_of(objective, case, extra)
    images = Stored(case.stored, case.stored_size, device)
    options = loop_options(recipe, 0, settings)
    floor = floor_of(task_of(objective, recipe, case, images), options, device)
    steps = STEPS[device.type]
    floors: list[float] = []

    def floor_turn() -> None:
        floors.append(seconds_a_step(floor, steps, device))

    ours = whole_steps(task_of(objective, recipe, case, images), options, device, rounds, steps, floor_turn)
    row: Row = {"objective": objective, **vars(case), "precision": options.precision}
    row |= {"ms": spread([1000 * s for s in ours]), "floor_ms": spread([1000 * s for s in floors])}
    row |= {"times_the_floor": ratio(ours, floors)}
    return row


def option_row(case: Case, name: str, value: Any, device: torch.device, rounds: int = ROUNDS) -> Row:
    """Return how many times as long a step of SimCLR takes with one option of the training set otherwise.

    Both have their views already: what an option changes are the passes.
    """
    torch.compiler.reset()  # after another case's sizes it would compile for any size, which takes far longer
    images = Stored(case.stored, case.stored_size, device)
    default = _simclr_floor(case, {}, images, device)
    changed = _simclr_floor(case, {"training": {name: value}}, images, device)
    option = f"training.{name}={str(value).lower()}"
    return _options_row(case, option, {"default": (default, True), "changed": (changed, True)}, device, rounds)


def memory_row(case: Case, rounds: int = ROUNDS) -> Row:
    """Return how many times as long a step of SimCLR takes on a CPU where freed memory goes back to the system."""
    step = _simclr_floor(case, {}, Stored(case.stored, case.stored_size, CPU.device), CPU.device)
    turns = {"default": (step, True), "changed": (step, False)}
    return _options_row(case, "freed memory given back", turns, CPU.device, rounds)


def _simclr_floor(case: Case, extra: Tree, images: Stored, device: torch.device) -> Callable[[], None]:
    recipe, settings = recipe_of("simclr", case, extra), replace(CPU, device=device)
    return floor_of(task_of("simclr", recipe, case, images), loop_options(recipe, 0, settings), device)


def _options_row(
    case: Case, option: str, turns: Mapping[str, tuple[Callable[[], None], bool]], device: torch.device, rounds: int
) -> Row:
    """Return the row of a step by default and one with an option, each with whether freed memory is kept."""
    seconds: dict[str, list[float]] = {which: [] for which in turns}
    for _ in range(rounds):
        for which, (step, kept) in turns.items():
            with freed_memory_kept(device) if kept else nullcontext():
                seconds[which].append(seconds_a_step(step, STEPS[device.type], device))
    row: Row = {"option": option, **vars(case)}
    row |= {f"{which}_ms": spread([1000 * s for s in spent]) for which, spent in seconds.items()}
    return row | {"times_the_default": ratio(seconds["changed"], seconds["default"])}


class Idle(Task):
    """One weight that learns nothing, and two images that nobody looks at: what is left of a step is the loop."""

    def __init__(self, images: Stored):
        super().__init__()
        self.weight, self.images = nn.Parameter(torch.zeros(1)), images

    def streams(self) -> dict[str, Stream]:
        """Return the same two images at every step."""
        return {"images": Stream("images", self.images, lambda step: np.arange(2))}

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the weight."""
        return {"loss": self.weight.sum()}


def overhead_row(device: torch.device, rounds: int = ROUNDS, steps: int = 200) -> Row:
    """Return what the loop itself takes a step, in milliseconds, beyond gradient and optimizer of a single weight."""
    recipe = recipe_of("rotation", CASES["cpu"][0])
    options, images = loop_options(recipe, 0, replace(CPU, device=device)), Stored(2, 8, device)
    task = Idle(images).to(device)
    (optimizer,) = create_optimizers(task, options).values()

    def bare() -> None:
        optimizer.zero_grad(set_to_none=True)
        task({}, "all", Clock(0, 1, 0, 1, 1))["loss"].backward()
        optimizer.step()

    floors: list[float] = []
    ours = whole_steps(
        Idle(images), options, device, rounds, steps, lambda: floors.append(seconds_a_step(bare, steps, device))
    )
    beyond = [1000 * (whole - floor) for whole, floor in zip(ours, floors, strict=True)]
    return {"row": "loop", "ms_beyond_the_floor": spread(beyond)}
