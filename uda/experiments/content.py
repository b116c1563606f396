"""What `metrics.json` says: of one seed, above several, and of a comparison."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from uda.experiments.selection import mean_selection
from uda.metrics import bootstrap_ci, paired_difference, summarize
from uda.report.tables import is_share


def summary_content(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `metrics.json` above several seeds: means, standard deviations and Student's t intervals.

    Where all seeds give the same figure its interval is that of the first seed over images, if that has one.
    seeds: the contents of the seeds' own.
    """
    first = seeds[0]
    per_seed = {name: [seed["metrics"][name] for seed in seeds] for name in first["metrics"]}
    own = {"seeds", "metrics", "std", "ci95", "ci95_kind", "per_seed", "warnings"}
    own |= {"rejection", "by_rejection", "selection", "unknown_share", "answers", "chosen"}
    content = {key: value for key, value in first.items() if key not in own}
    content |= {
        "seeds": [seed["seeds"][0] for seed in seeds],
        **_over_seeds(per_seed),
        "ci95_kind": "Student's t over seeds",
    }
    still = {name: first["ci95"][name] for name, std in content["std"].items() if std == 0}
    content["ci95"] |= still
    if any(still.values()):
        content["ci95_kind"] += f"; where these do not vary, {first['ci95_kind']}"
    if "warnings" in first:
        content["warnings"] = [f"seed {seed['seeds'][0]}: {text}" for seed in seeds for text in seed["warnings"]]
    if "by_rejection" in first:
        content["rejection"] = {"rule": first["rejection"]["rule"]}
        content["by_rejection"] = {
            rule: {
                name: summarize([seed["by_rejection"][rule][name] for seed in seeds]).mean
                for name in first["by_rejection"][rule]
            }
            for rule in first["by_rejection"]
        }
    for key in ("answers", "unknown_share"):
        if key in first:
            parts = first[key]
            content[key] = parts and {name: summarize([seed[key][name] for seed in seeds]).mean for name in parts}
    for key in ("by_classifier", "per_class"):
        if key in first:
            content[key] = mean_tree([seed[key] for seed in seeds])
    if "selection" in first:
        content["selection"] = mean_selection([seed["selection"] for seed in seeds])
    return content


def mean_tree(trees: Sequence[Any]) -> Any:
    """Return the mean of trees of figures that are built alike: of mappings, lists and numbers, place by place.

    What is the same in all stays as it is, counts too; a place that is None in one is None.
    """
    first = trees[0]
    if all(tree == first for tree in trees):
        return first
    if isinstance(first, Mapping):
        shared = [name for name in first if all(name in tree for tree in trees)]
        return {name: mean_tree([tree[name] for tree in trees]) for name in shared}
    if isinstance(first, list):
        return [mean_tree(values) for values in zip(*trees, strict=True)]
    return _mean(trees)


def pairs_content(pairs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the `metrics.json` above several pairs of domains: means over pairs, and their spread over seeds.

    pairs: the content of each pair's own by its folder; all have the same seeds. A figure is averaged over the pairs
    seed by seed, so that std and intervals are those of the average, and the pairs' differences are no part of them.
    It is None where one pair has none.
    """
    contents = list(pairs.values())
    first = contents[0]
    names = [name for name in first["metrics"] if all(name in content["per_seed"] for content in contents)]
    per_seed = {
        name: [_mean([content["per_seed"][name][i] for content in contents]) for i in range(len(first["seeds"]))]
        for name in names
    }
    settings = {content.get("setting") for content in contents}
    data = ("source", "target", "setting", "classes", "images", "fingerprints")
    own = (*data, "metrics", "std", "ci95", "ci95_kind", "per_seed")
    return {
        "task": first["task"],
        "method": first["method"],
        "seeds": first["seeds"],
        "steps": first["steps"],
        **_over_seeds(per_seed),
        "ci95_kind": "Student's t over seeds, each seed's mean over the pairs",
        "setting": settings.pop() if len(settings) == 1 else None,
        "pairs": [{"folder": f, **{key: c[key] for key in own if key in c}} for f, c in pairs.items()],
        "environment": first["environment"],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if len(defined) == len(values) else None


def _over_seeds(per_seed: Mapping[str, Sequence[float | None]]) -> dict[str, Any]:
    """Return metrics, std and ci95 of figures that are given seed by seed, and the figures themselves.

    A figure that is the same for every seed has no interval, for such seeds say nothing of chance.
    """
    summaries = {name: summarize(values) for name, values in per_seed.items()}
    return {
        "metrics": {name: summary.mean for name, summary in summaries.items()},
        "std": {name: summary.std for name, summary in summaries.items()},
        "ci95": {
            name: None if s.mean is None or not s.ci95 else _within(name, s.mean - s.ci95, s.mean + s.ci95)
            for name, s in summaries.items()
        },
        "per_seed": dict(per_seed),
    }


def _within(name: str, low: float, high: float) -> list[float]:
    """Return an interval without the values that its figure cannot have: a share lies between 0 and 1."""
    return [max(0.0, low), min(1.0, high)] if is_share(name) else [low, high]


def difference_content(
    arm: Mapping[str, Any], other: Mapping[str, Any], over_images: Mapping[str, list[float] | None]
) -> dict[str, Any]:
    """Return the paired differences arm − other over the seeds that both ran, under each figure's name.

    arm, other: the contents of the two `metrics.json`; over_images: the first seed's intervals over test images,
    which stand where seeds give none (one seed, or differences that do not vary).
    """
    metrics: dict[str, Any] = {}
    ours, theirs = arm["per_seed"], other["per_seed"]
    for name in (name for name in ours if name in theirs):
        pairs = [(a, b) for a, b in zip(ours[name], theirs[name], strict=True) if a is not None and b is not None]
        if len(pairs) < len(ours[name]):
            metrics[name] = None
            continue
        difference = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        varies = difference.std is not None and difference.std > 0
        images = "groups of test images" if arm.get("groups") else "test images"
        units = "episodes" if name.startswith("novel_accuracy") else images
        by_images = f"bootstrap over {units}" if over_images.get(name) is not None else None
        metrics[name] = {
            "with": arm["metrics"][name],
            "without": other["metrics"][name],
            "mean": difference.mean,
            "std": difference.std,
            "ci95": list(difference.ci95) if varies and difference.ci95 else over_images.get(name),
            "ci95_kind": "Student's t over paired seeds" if varies else by_images,
            "p_value": difference.p_value,
            "smallest_detectable": difference.smallest_detectable,
        }
    return {
        "against": other["method"],
        "seeds": arm["seeds"],
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }


def accuracy_differences(
    ours: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
    seed: int,
    groups: Mapping[str, np.ndarray] | None = None,
) -> dict[str, list[float] | None]:
    """Return 95 % bootstrap intervals of differences in accuracy over the images that two arms were tested on.

    ours, theirs: for each figure which images were answered right, (N,), the same images in the same order; a figure
    of other numbers of them in the two arms has no interval. groups: for each figure (N,) of these images, drawn whole;
    where there are none each image stands for itself.
    """
    shared = [name for name in ours if name in theirs and len(ours[name]) == len(theirs[name])]
    belong = groups or {}
    return {name: _bootstrap(ours[name].astype(np.float64) - theirs[name], seed, belong.get(name)) for name in shared}


def interval_kind(grouped: bool, images: str = "test images") -> str:
    """Return what intervals of one run's figures were drawn from."""
    return f"bootstrap over {'groups of ' if grouped else ''}{images}"


def groups_content(groups: np.ndarray | None) -> dict[str, Any]:
    """Return how many groups a run was tested on, nothing where each image stands for itself."""
    return {} if groups is None else {"groups": {"test_groups": len(np.unique(groups))}}


def _bootstrap(values: np.ndarray, seed: int, groups: np.ndarray | None) -> list[float] | None:
    """Return the interval of the mean of values, one an image, (N,); None without images."""
    if not len(values):
        return None
    interval = bootstrap_ci(lambda rows: float(values[rows].mean()), len(values), seed=seed, groups=groups)
    return None if interval.low is None or interval.high is None else [interval.low, interval.high]


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
