"""One recipe, its seeds and the arms it is compared with: runs them and writes what the output folder promises."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from uda.assemble import Inputs, build_task, check_recipe, method_label, prepare_inputs, unida_data
from uda.pair import Domains, load_domains
from uda.errors import UserError
from uda.metrics import bootstrap_ci, paired_difference, summarize, unida_metrics
from uda.recipe import Recipe
from uda.report.unida import ArmSummary, write_summary_report
from uda.results import write_seed_outputs
from uda.tasks.unida import Answer, UniDA
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, train
from uda.training.outputs import write_json, write_text

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
    domains = load_domains(recipe.data, settings.download, settings.progress)
    for line in domains.lines:
        settings.say(line)
    for warning in domains.warnings:
        settings.say(f"warning: {warning}")
    if domains.unreadable:
        settings.say(f"warning: {len(domains.unreadable)} unreadable files are left out; the report lists them")
    arm = run_arm(recipe, domains, out, settings)
    if baseline is None:
        return arm.content
    if baseline.data == recipe.data:
        other_domains = domains
    else:
        other_domains = load_domains(baseline.data, settings.download, settings.progress)
    other = run_arm(baseline, other_domains, out / "baseline", settings)
    difference = compare(arm, other)
    arm.content["difference"] = difference
    write_json(out / "metrics.json", arm.content)
    write_arm_summary(out, [arm, other], difference)
    return arm.content


def run_arm(recipe: Recipe, domains: Domains, out: Path, settings: Settings) -> Arm:
    """Run all seeds of one recipe below `out` and write its summary."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", recipe.dump())
    inputs = prepare_inputs(recipe, domains, settings.device, settings.progress)
    single = len(recipe.seeds) == 1
    seeds = []
    for seed in recipe.seeds:
        folder = out if single else out / f"seed-{seed}"
        seeds.append(run_seed(recipe, domains, inputs, seed, folder, settings))
    if single:
        return Arm(recipe, domains, inputs, seeds, seeds[0].content)
    arm = Arm(recipe, domains, inputs, seeds, summary_content(seeds))
    write_json(out / "metrics.json", arm.content)
    write_histories(out, seeds)
    write_arm_summary(out, [arm], None)
    return arm


def run_seed(
    recipe: Recipe, domains: Domains, inputs: Inputs, seed: int, folder: Path, settings: Settings
) -> SeedResult:
    """Train one seed (or finish it, with resume), evaluate it, and write its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    own = recipe.model_copy(update={"seeds": [seed]})
    write_text(folder / "recipe.yaml", own.dump())
    task = build_task(recipe, unida_data(domains, inputs), inputs.backbone, seed)
    origin = (inputs.backbone or task.encoder).origin
    settings.say(f"{method_label(recipe)}, seed {seed}: {recipe.encoder.backbone} with weights from {origin}")
    identity = Identity(recipe.hash(), domains.fingerprint)
    train(task, loop_options(recipe, seed, settings), folder, identity, settings.device, settings.resume)
    answer = task.last_answer
    assert answer is not None  # train ends with an evaluation
    content = seed_content(recipe, domains, task, answer, seed)
    write_json(folder / "metrics.json", content)
    write_seed_outputs(folder, own, domains, inputs, task, answer, content, origin)
    return SeedResult(seed, task, answer, content, folder)


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


def seed_content(recipe: Recipe, domains: Domains, task: UniDA, answer: Answer, seed: int) -> dict[str, Any]:
    """Return what a seed's `metrics.json` holds; nothing in it depends on when or how fast the run was."""
    metrics = task.measure(answer)
    return {
        "task": recipe.task,
        "method": method_label(recipe),
        "seeds": [seed],
        "steps": recipe.training.steps,
        "metrics": metrics,
        "std": dict.fromkeys(metrics),
        "ci95": image_bootstrap(task, answer, seed),
        "ci95_kind": "bootstrap over target images",
        "per_seed": {name: [value] for name, value in metrics.items()},
        "rejection": {"rule": recipe.rejection, "threshold": answer.threshold},
        "by_rejection": task.measure_by_rule(answer),
        "source": domains.source.table.name,
        "target": domains.target.table.name,
        "setting": domains.sets.setting,
        "classes": list(domains.class_names),
        "images": {"source": len(domains.source.table), "target": len(domains.target.table)},
        "unreadable": [image.path for image in domains.unreadable],
        "environment": environment(task.threshold.device),
    }


def image_bootstrap(task: UniDA, answer: Answer, seed: int, resamples: int = 500) -> dict[str, list[float] | None]:
    """Return 95 % intervals over resampled target images; None for figures that need k-means anew (NMI, H³)."""
    labels, unknown = task.data.target_labels, task.data.n_classes
    known = np.minimum(labels, unknown)
    arrays = known, answer.predictions, answer.closed, answer.scores

    def figure(name: str) -> Callable[[np.ndarray], float | None]:
        return lambda rows: unida_metrics(*(array[rows] for array in arrays), unknown)[name]

    if not (labels >= 0).any():
        return dict.fromkeys(task.metric_names)
    found: dict[str, list[float] | None] = {}
    for name in task.metric_names:
        if name in ("nmi", "h3_score"):
            found[name] = None
            continue
        interval = bootstrap_ci(figure(name), len(labels), resamples, seed)
        found[name] = None if interval.low is None or interval.high is None else [interval.low, interval.high]
    return found


def summary_content(seeds: Sequence[SeedResult]) -> dict[str, Any]:
    """Return the `metrics.json` above several seeds: means, standard deviations and Student's t intervals."""
    first = seeds[0].content
    per_seed = {name: [seed.content["metrics"][name] for seed in seeds] for name in first["metrics"]}
    summaries = {name: summarize(values) for name, values in per_seed.items()}
    content = {key: first[key] for key in ("task", "method", "steps", "source", "target", "setting", "classes", "images")}
    return content | {
        "seeds": [seed.seed for seed in seeds],
        "metrics": {name: summary.mean for name, summary in summaries.items()},
        "std": {name: summary.std for name, summary in summaries.items()},
        "ci95": {
            name: None if s.mean is None or s.ci95 is None else [s.mean - s.ci95, s.mean + s.ci95]
            for name, s in summaries.items()
        },
        "ci95_kind": "Student's t over seeds",
        "per_seed": per_seed,
        "rejection": {"rule": first["rejection"]["rule"]},
        "by_rejection": {
            rule: {
                name: summarize([seed.content["by_rejection"][rule][name] for seed in seeds]).mean
                for name in first["by_rejection"][rule]
            }
            for rule in first["by_rejection"]
        },
        "environment": first["environment"],
    }


def compare(arm: Arm, other: Arm) -> dict[str, Any]:
    """Return the paired differences arm − other over the seeds that both ran, under each figure's name."""
    metrics: dict[str, Any] = {}
    ours, theirs = arm.content["per_seed"], other.content["per_seed"]
    for name in ours:
        pairs = [(a, b) for a, b in zip(ours[name], theirs[name], strict=True) if a is not None and b is not None]
        if len(pairs) < len(ours[name]):
            metrics[name] = None
            continue
        difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        metrics[name] = {
            "with": arm.content["metrics"][name],
            "without": other.content["metrics"][name],
            "mean": difference.mean,
            "std": difference.std,
            "ci95": difference.ci95 and list(difference.ci95),
            "p_value": difference.p_value,
            "smallest_detectable": difference.smallest_detectable,
        }
    return {
        "against": other.content["method"],
        "seeds": arm.recipe.seeds,
        "ci95_kind": "Student's t over paired seeds",
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


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
    frames = [pd.read_csv(s.folder / "history.csv").assign(seed=s.seed) for s in seeds if (s.folder / "history.csv").exists()]
    if frames:
        write_text(out / "history.csv", pd.concat(frames).to_csv(index=False))


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a number depends on beside the recipe: machine, versions, threads."""
    accelerator = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    packages = ("torch", "torchvision", "timm", "numpy", "scikit-learn")
    return {
        "device": accelerator,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in packages},
    }


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return a finished run's `metrics.json`; UserError where there is none."""
    path = folder / "metrics.json"
    if not path.is_file():
        raise UserError(f"'{folder}' is no finished run (no metrics.json); finish it with --resume or name another folder")
    return json.loads(path.read_text())
