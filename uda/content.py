"""What `metrics.json` says: of one seed, above several, and of a comparison."""

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from uda.assemble import method_label
from uda.metrics import bootstrap_ci, paired_difference, summarize, unida_metrics
from uda.pair import Domains
from uda.recipe import Recipe
from uda.tasks.unida import Answer, UniDA


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


def image_bootstrap(
    task: UniDA, answer: Answer, seed: int, minus: Answer | None = None, resamples: int = 500
) -> dict[str, list[float] | None]:
    """Return 95 % intervals over resampled target images; None for figures that need k-means anew (NMI, H³).

    minus: another model's answer about the same images; then the intervals are those of the paired difference.
    """
    labels, unknown = task.data.target_labels, task.data.n_classes
    known = np.minimum(labels, unknown)

    def measure(of: Answer, rows: np.ndarray) -> dict[str, float | None]:
        return unida_metrics(known[rows], of.predictions[rows], of.closed[rows], of.scores[rows], unknown)

    measured: dict[int, Mapping[str, float | None]] = {}

    def figures(rows: np.ndarray) -> Mapping[str, float | None]:
        # Every figure has the same resamples, and one pass gives them all.
        key = hash(rows.tobytes())
        if key not in measured:
            own = measure(answer, rows)
            measured[key] = own if minus is None else _minus(own, measure(minus, rows))
        return measured[key]

    def figure(name: str) -> Callable[[np.ndarray], float | None]:
        return lambda rows: figures(rows)[name]

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


def _minus(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return a − b figure by figure; None where either is undefined."""
    found: dict[str, float | None] = {}
    for name, first in a.items():
        second = b[name]
        found[name] = None if first is None or second is None else first - second
    return found


def summary_content(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `metrics.json` above several seeds: means, standard deviations and Student's t intervals.

    seeds: the contents of the seeds' own.
    """
    first = seeds[0]
    per_seed = {name: [seed["metrics"][name] for seed in seeds] for name in first["metrics"]}
    summaries = {name: summarize(values) for name, values in per_seed.items()}
    content = {
        key: first[key]
        for key in ("task", "method", "steps", "source", "target", "setting", "classes", "images", "unreadable")
    }
    return content | {
        "seeds": [seed["seeds"][0] for seed in seeds],
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
                name: summarize([seed["by_rejection"][rule][name] for seed in seeds]).mean
                for name in first["by_rejection"][rule]
            }
            for rule in first["by_rejection"]
        },
        "environment": first["environment"],
    }


def difference_content(
    arm: Mapping[str, Any], other: Mapping[str, Any], over_images: Mapping[str, list[float] | None]
) -> dict[str, Any]:
    """Return the paired differences arm − other over the seeds that both ran, under each figure's name.

    arm, other: the contents of the two `metrics.json`; over_images: the first seed's intervals over target images,
    which stand where seeds give none (one seed, or differences that do not vary).
    """
    metrics: dict[str, Any] = {}
    ours, theirs = arm["per_seed"], other["per_seed"]
    for name in ours:
        pairs = [(a, b) for a, b in zip(ours[name], theirs[name], strict=True) if a is not None and b is not None]
        if len(pairs) < len(ours[name]):
            metrics[name] = None
            continue
        difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        varies = difference.std is not None and difference.std > 0
        metrics[name] = {
            "with": arm["metrics"][name],
            "without": other["metrics"][name],
            "mean": difference.mean,
            "std": difference.std,
            "ci95": list(difference.ci95) if varies and difference.ci95 else over_images.get(name),
            "ci95_kind": "Student's t over paired seeds" if varies else "bootstrap over target images",
            "p_value": difference.p_value,
            "smallest_detectable": difference.smallest_detectable,
        }
    return {
        "against": other["method"],
        "seeds": arm["seeds"],
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


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
