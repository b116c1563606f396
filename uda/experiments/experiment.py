"""One recipe, its seeds and the arm it is compared with: how every task is run and what its output folder promises."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from uda.datasets.cache import Unreadable
from uda.errors import UserError, baseline_errors_named
from uda.experiments.content import difference_content, summary_content
from uda.recipe import Recipe
from uda.report.page import Section
from uda.report.summary import ArmSummary, write_summary_report
from uda.tasks.task import Task
from uda.training.checkpoint import Identity
from uda.training.history import join_histories
from uda.training.loop import LoopOptions, train
from uda.training.outputs import write_json, write_text

BASELINE = "baseline"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What decides how a run is made, not its numbers."""

    device: torch.device
    progress: bool = True
    download: bool = False
    resume: bool = False
    say: Say = print


class Found(Protocol):
    """What the names of a recipe stand for: listed, nothing decoded."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What was understood, to be printed before anything trains."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""


class Loaded(Found, Protocol):
    """The same, decoded."""

    @property
    def title(self) -> str:
        """How reports call the data."""

    @property
    def fingerprint(self) -> str:
        """What the images, their order and the labels in use are; a checkpoint remembers it."""

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out."""


@dataclass(frozen=True)
class SeedResult:
    """One trained seed and the content of its `metrics.json`."""

    seed: int
    task: Any
    content: dict[str, Any]
    folder: Path


class Experiment:
    """What a task adds to the one way in which seeds and arms are run; a task has one subclass."""

    headline: ClassVar[str]
    """The figure that a comparison shows first."""

    def check(self, recipe: Any) -> None:
        """Refuse, before anything is read or trained, parts that do not fit together."""

    def find(self, recipe: Any, settings: Settings) -> Any:
        """Return what the recipe's names stand for (`Found`); UserError says what is missing and what to do."""
        raise TypeError(f"{type(self).__name__} defines no find")

    def load(self, found: Any, recipe: Any, settings: Settings) -> Any:
        """Return the decoded images (`Loaded`)."""
        raise TypeError(f"{type(self).__name__} defines no load")

    def prepare(self, recipe: Any, loaded: Any, settings: Settings) -> Any:
        """Return what all seeds of a recipe share: laid-out pixels, or features computed once."""
        raise TypeError(f"{type(self).__name__} defines no prepare")

    def build(self, recipe: Any, loaded: Any, inputs: Any, seed: int) -> Task:
        """Return the task with its initial weights, which depend on the seed alone: arms share them."""
        raise TypeError(f"{type(self).__name__} defines no build")

    def label(self, recipe: Any) -> str:
        """Return the method's name as reports print it."""
        raise TypeError(f"{type(self).__name__} defines no label")

    def origin(self, task: Any, inputs: Any) -> str:
        """Return where the weights that training started from came from."""
        return str(task.encoder.origin)

    def look_before(self, recipe: Any, loaded: Any, inputs: Any, task: Any, settings: Settings) -> dict[str, Any]:
        """Say what is worth knowing before training; return `preflight` of `metrics.json`. It may change no number."""
        return {}

    def fit(self, recipe: Any, task: Any, folder: Path, identity: Identity, seed: int, settings: Settings) -> None:
        """Train the task, or finish it with resume."""
        train(task, loop_options(recipe, seed, settings), folder, identity, settings.device, settings.resume)

    def content(self, folder: Path, recipe: Any, loaded: Any, task: Any, seed: int) -> dict[str, Any]:
        """Return what a seed's `metrics.json` holds, with the history in `folder`.

        Nothing in it depends on when or how fast the run was.
        """
        raise TypeError(f"{type(self).__name__} defines no content")

    def write(self, folder: Path, recipe: Any, loaded: Any, inputs: Any, task: Any, content: dict[str, Any]) -> None:
        """Write a seed's outputs beside `metrics.json`."""

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return intervals of the difference of two runs over test images, where both have classified the same ones."""
        return {}

    def beside(self, ours: SeedResult, theirs: SeedResult) -> Sequence[Section]:
        """Return what the page above two arms shows of both on the same images."""
        return ()


@dataclass(frozen=True)
class Arm:
    """One recipe over all its seeds; `content` is what its `metrics.json` says."""

    recipe: Recipe
    loaded: Loaded
    seeds: list[SeedResult]
    content: dict[str, Any]


def run(
    experiment: Experiment, recipe: Recipe, out: Path, settings: Settings, baseline: Recipe | None = None
) -> dict[str, Any]:
    """Run a recipe, and beside it a baseline with the same seeds if one is given; return the content of `metrics.json`.

    Several seeds lie in `seed-0/`, `seed-1/`, … with a summary of the same names above; the baseline in `baseline/`.
    """
    experiment.check(recipe)
    if baseline is not None:
        with baseline_errors_named():
            experiment.check(baseline)
    found = experiment.find(recipe, settings)
    for line in found.lines:
        settings.say(line)
    for warning in found.warnings:
        settings.say(f"warning: {warning}")
    # Whatever the other arm lacks is to be known now, not when the first arm has been trained.
    with baseline_errors_named():
        other_found = None if baseline is None else experiment.find(baseline, settings)
    loaded = experiment.load(found, recipe, settings)
    for line in (text for text in loaded.lines if text not in found.lines):
        settings.say(line)
    for warning in (text for text in loaded.warnings if text not in found.warnings):  # what only decoding could show
        settings.say(f"warning: {warning}")
    arm = run_arm(experiment, recipe, loaded, out, settings, baseline)
    if baseline is None:
        return arm.content
    same = baseline.data == recipe.data
    other_loaded = loaded if same else experiment.load(other_found, baseline, settings)
    known = arm.content.get("preflight") if same and baseline.encoder == recipe.encoder else None
    other = run_arm(experiment, baseline, other_loaded, out / BASELINE, settings, preflight=known)
    difference = difference_content(arm.content, other.content, experiment.over_images(arm.seeds[0], other.seeds[0]))
    arm.content["difference"] = difference
    write_json(out / "metrics.json", arm.content)
    beside = experiment.beside(arm.seeds[0], other.seeds[0])
    write_arm_summary(experiment, out, [arm, other], difference, beside)
    return arm.content


def run_arm(
    experiment: Experiment,
    recipe: Recipe,
    loaded: Any,
    out: Path,
    settings: Settings,
    baseline: Recipe | None = None,
    preflight: dict[str, Any] | None = None,
) -> Arm:
    """Run all seeds of one recipe below `out` and write its summary; `baseline` is noted, for --resume to end it.

    preflight: what an arm on the same data has seen before training; without it this one looks.
    """
    inputs = experiment.prepare(recipe, loaded, settings)
    task = experiment.build(recipe, loaded, inputs, recipe.seeds[0])
    # Only now, for weights or an image size that are of no use shall leave no folder behind that "holds a run".
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", recipe.dump())
    if baseline is not None:
        (out / BASELINE).mkdir(exist_ok=True)
        write_text(out / BASELINE / "recipe.yaml", baseline.dump())
    looked = experiment.look_before(recipe, loaded, inputs, task, settings) if preflight is None else preflight
    single = len(recipe.seeds) == 1
    seeds = []
    for number, seed in enumerate(recipe.seeds):
        if number:
            task = experiment.build(recipe, loaded, inputs, seed)
        folder = out if single else out / f"seed-{seed}"
        seeds.append(run_seed(experiment, recipe, loaded, inputs, task, seed, folder, settings, looked))
    if single:
        return Arm(recipe, loaded, seeds, seeds[0].content)
    arm = Arm(recipe, loaded, seeds, summary_content([seed.content for seed in seeds]))
    write_json(out / "metrics.json", arm.content)
    join_histories(out, {seed.seed: seed.folder for seed in seeds})
    write_arm_summary(experiment, out, [arm], None)
    return arm


def run_seed(
    experiment: Experiment,
    recipe: Recipe,
    loaded: Any,
    inputs: Any,
    task: Task,
    seed: int,
    folder: Path,
    settings: Settings,
    preflight: Mapping[str, Any],
) -> SeedResult:
    """Train one seed's task (or finish it, with resume), evaluate it, and write its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    own = recipe.model_copy(update={"seeds": [seed]})
    write_text(folder / "recipe.yaml", own.dump())
    origin = experiment.origin(task, inputs)
    label = experiment.label(recipe)
    settings.say(f"{label}, seed {seed}: {recipe.encoder.backbone} with weights from {origin}")
    identity = Identity(recipe.hash(), loaded.fingerprint, seed)
    experiment.fit(recipe, task, folder, identity, seed, settings)
    content = experiment.content(folder, recipe, loaded, task, seed)
    content |= {"preflight": preflight} if preflight else {}
    experiment.write(folder, own, loaded, inputs, task, content)
    write_json(folder / "metrics.json", content)  # last: a run with this file is a finished one
    return SeedResult(seed, task, content, folder)


def loop_options(recipe: Recipe, seed: int, settings: Settings) -> LoopOptions:
    """Return the loop's options; "auto" precision is bf16 on a GPU and none on a CPU."""
    training = recipe.training
    auto = "bf16" if settings.device.type == "cuda" else "no"
    return LoopOptions(
        steps=training.steps,
        seed=seed,
        optimizer=training.optimizer,
        lr=training.rate,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        schedule=training.schedule,
        warmup_steps=training.warmup_steps,
        evaluate_every=training.evaluate_every,
        checkpoint_every=training.checkpoint_every,
        precision=auto if training.precision == "auto" else training.precision,
        channels_last=training.channels_last,
        progress=settings.progress,
        clip_norm=training.clip_norm,
        nesterov=training.nesterov,
        compile=training.compile,
    )


def write_arm_summary(
    experiment: Experiment,
    out: Path,
    arms: Sequence[Arm],
    difference: Mapping[str, Any] | None,
    beside: Sequence[Section] = (),
) -> None:
    """Write the page above seeds and arms."""
    rows = []
    for arm in arms:
        links = [f"{seed.folder.relative_to(out)}/report.html" for seed in arm.seeds if seed.folder != out]
        c = arm.content
        rows.append(ArmSummary(c["method"], c["metrics"], c["std"], c["ci95"], c["seeds"], c["per_seed"], links))
    first = arms[0]
    name = "summary.html" if len(first.seeds) == 1 else "report.html"
    notes = (*first.loaded.lines, *first.loaded.warnings)
    recipe, found = first.recipe.model_dump(mode="json"), [] if difference is None else [difference]
    headline = headline_of(experiment.headline, first.content)
    write_summary_report(out / name, first.loaded.title, rows, found, recipe, notes, headline, beside)


def headline_of(wanted: str, content: Mapping[str, Any]) -> str:
    """Return the figure that is shown first: the task's own, or the run's first one where it has not measured that."""
    return wanted if wanted in content["metrics"] else next(iter(content["metrics"]), wanted)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return a finished run's `metrics.json`; UserError where there is none."""
    path = folder / "metrics.json"
    if not path.is_file():
        raise UserError(
            f"'{folder}' is no finished run (no metrics.json); finish it with --resume or name another folder"
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError:
        raise UserError(f"'{path}' is no whole JSON file; make the run again, or name another folder") from None
    return content
