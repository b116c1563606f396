"""One recipe, its seeds and the arms it is compared with: runs them and writes what the output folder promises."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from uda.assemble import Inputs, build_task, check_recipe, method_label, prepare_inputs, unida_data
from uda.content import difference_content, environment, image_bootstrap, seed_content, summary_content
from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.pair import Domains, decode_domains, find_domains, load_domains
from uda.recipe import Recipe
from uda.report.summary import ArmSummary, write_summary_report
from uda.results import backbone_of, write_seed_outputs
from uda.tasks.unida import Answer, UniDA
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, train
from uda.training.outputs import write_json, write_text

__all__ = [
    "BASELINE",
    "Arm",
    "SeedResult",
    "Settings",
    "environment",
    "loop_options",
    "read_metrics",
    "run",
    "run_arm",
    "run_seed",
]

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


@dataclass(frozen=True)
class SeedResult:
    """One trained seed: the task, its answer about the target, and the content of its `metrics.json`."""

    seed: int
    task: UniDA
    answer: Answer
    content: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class Arm:
    """One recipe over all its seeds; `content` is what its `metrics.json` says."""

    recipe: Recipe
    domains: Domains
    inputs: Inputs
    seeds: list[SeedResult]
    content: dict[str, Any]


def run(recipe: Recipe, out: Path, settings: Settings, baseline: Recipe | None = None) -> dict[str, Any]:
    """Run a recipe, and beside it a baseline with the same seeds if one is given; return the content of `metrics.json`.

    Several seeds lie in `seed-0/`, `seed-1/`, … with a summary of the same names above; the baseline in `baseline/`.
    """
    check_recipe(recipe)
    if baseline is not None:
        check_recipe(baseline)
    found = find_domains(recipe.data, settings.download)
    for line in found.lines:
        settings.say(line)
    for warning in found.warnings:
        settings.say(f"warning: {warning}")
    if baseline is not None and baseline.data != recipe.data:
        find_domains(baseline.data, settings.download)  # refused now, not when the first arm has been trained
    # Weights that cannot be had shall be known before thousands of images are decoded.
    for each in (recipe, baseline or recipe):
        create_encoder(each.encoder.backbone, each.encoder.weights, each.data.image_size)
    domains = decode_domains(found, recipe.data, settings.progress)
    if domains.unreadable:
        settings.say(f"warning: {len(domains.unreadable)} unreadable files are left out; the report lists them")
    arm = run_arm(recipe, domains, out, settings, baseline)
    if baseline is None:
        return arm.content
    if baseline.data == recipe.data:
        other_domains = domains
    else:
        other_domains = load_domains(baseline.data, settings.download, settings.progress)
    other = run_arm(baseline, other_domains, out / BASELINE, settings)
    difference = difference_content(arm.content, other.content, paired_bootstrap(arm.seeds[0], other.seeds[0]))
    arm.content["difference"] = difference
    write_json(out / "metrics.json", arm.content)
    write_arm_summary(out, [arm, other], difference)
    return arm.content


def run_arm(recipe: Recipe, domains: Domains, out: Path, settings: Settings, baseline: Recipe | None = None) -> Arm:
    """Run all seeds of one recipe below `out` and write its summary; `baseline` is noted, for --resume to end it."""
    inputs = prepare_inputs(recipe, domains, settings.device, settings.progress)
    data = unida_data(domains, inputs)
    task = build_task(recipe, data, inputs.backbone, recipe.seeds[0])
    # Only now, for weights or an image size that are of no use shall leave no folder behind that "holds a run".
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", recipe.dump())
    if baseline is not None:
        (out / BASELINE).mkdir(exist_ok=True)
        write_text(out / BASELINE / "recipe.yaml", baseline.dump())
    single = len(recipe.seeds) == 1
    seeds = []
    for number, seed in enumerate(recipe.seeds):
        if number:
            task = build_task(recipe, data, inputs.backbone, seed)
        folder = out if single else out / f"seed-{seed}"
        seeds.append(run_seed(recipe, domains, inputs, task, folder, settings))
    if single:
        return Arm(recipe, domains, inputs, seeds, seeds[0].content)
    arm = Arm(recipe, domains, inputs, seeds, summary_content([seed.content for seed in seeds]))
    write_json(out / "metrics.json", arm.content)
    write_histories(out, seeds)
    write_arm_summary(out, [arm], None)
    return arm


def run_seed(
    recipe: Recipe, domains: Domains, inputs: Inputs, task: UniDA, folder: Path, settings: Settings
) -> SeedResult:
    """Train one seed's task (or finish it, with resume), evaluate it, and write its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    seed = task.seed
    own = recipe.model_copy(update={"seeds": [seed]})
    write_text(folder / "recipe.yaml", own.dump())
    origin = backbone_of(task, inputs).origin
    settings.say(f"{method_label(recipe)}, seed {seed}: {recipe.encoder.backbone} with weights from {origin}")
    identity = Identity(recipe.hash(), domains.fingerprint, seed)
    train(task, loop_options(recipe, seed, settings), folder, identity, settings.device, settings.resume)
    answer = task.last_answer
    assert answer is not None  # train ends with an evaluation
    content = seed_content(recipe, domains, task, answer, seed)
    write_seed_outputs(folder, own, domains, inputs, task, answer, content, origin)
    write_json(folder / "metrics.json", content)  # last: a run with this file is a finished one
    return SeedResult(seed, task, answer, content, folder)


def paired_bootstrap(ours: SeedResult, theirs: SeedResult) -> dict[str, list[float] | None]:
    """Return the intervals of the difference over target images, where both arms classified the same ones."""
    if ours.task.data.class_names != theirs.task.data.class_names or len(ours.answer.scores) != len(
        theirs.answer.scores
    ):
        return {}
    return image_bootstrap(ours.task, ours.answer, ours.seed, minus=theirs.answer)


def loop_options(recipe: Recipe, seed: int, settings: Settings) -> LoopOptions:
    """Return the loop's options; "auto" precision is bf16 on a GPU and none on a CPU."""
    training = recipe.training
    auto = "bf16" if settings.device.type == "cuda" else "no"
    return LoopOptions(
        steps=training.steps,
        seed=seed,
        optimizer=training.optimizer,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        schedule=training.schedule,
        warmup_steps=training.warmup_steps,
        evaluate_every=training.evaluate_every,
        checkpoint_every=training.checkpoint_every,
        precision=auto if training.precision == "auto" else training.precision,
        channels_last=training.channels_last,
        progress=settings.progress,
    )


def write_arm_summary(out: Path, arms: Sequence[Arm], difference: Mapping[str, Any] | None) -> None:
    """Write the page above seeds and arms."""
    rows = []
    for arm in arms:
        links = [f"{seed.folder.relative_to(out)}/report.html" for seed in arm.seeds if seed.folder != out]
        content = arm.content
        rows.append(
            ArmSummary(
                content["method"], content["metrics"], content["std"], content["ci95"], content["seeds"],
                content["per_seed"], links,
            )
        )  # fmt: skip
    name = "summary.html" if len(arms[0].seeds) == 1 else "report.html"
    first = arms[0]
    title = f"{first.domains.source.table.name} → {first.domains.target.table.name}"
    notes = (*first.domains.lines, *first.domains.warnings)
    write_summary_report(out / name, title, rows, difference, first.recipe.model_dump(mode="json"), notes)


def write_histories(out: Path, seeds: Sequence[SeedResult]) -> None:
    """Write the seeds' histories as one file with a column `seed`."""
    frames = [
        pd.read_csv(s.folder / "history.csv").assign(seed=s.seed) for s in seeds if (s.folder / "history.csv").exists()
    ]
    if frames:
        write_text(out / "history.csv", pd.concat(frames).to_csv(index=False))


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return a finished run's `metrics.json`; UserError where there is none."""
    path = folder / "metrics.json"
    if not path.is_file():
        raise UserError(
            f"'{folder}' is no finished run (no metrics.json); finish it with --resume or name another folder"
        )
    return json.loads(path.read_text())
