"""The page docs/ssl_cifar.md: what every objective's features are worth, and why some are worth no more than chance."""

from typing import Any

from benchmarks.common import mean
from benchmarks.formats import interval, listed, percent

LIFT = 0.01
"""Gain in kNN accuracy from which on an objective is said to lift it."""


def page(result: dict[str, Any], longer: dict[str, Any] | None, shortcut: dict[str, Any] | None) -> str:
    """Return the page; `longer` is the study with another budget, `shortcut` that of JPEG's grid."""
    lines = [*table(result), *stuck(result), "", *why(result["summary"], longer, shortcut)]
    if longer is not None:
        lines += ["", *with_more_images(result, longer)]
    if shortcut is not None:
        lines += ["", *with_hidden_grid(result["summary"], shortcut)]
    return "\n".join(lines)


def table(result: dict[str, Any]) -> list[str]:
    """Every objective's features: accuracy, gain over the untrained weights, cost, and whether it collapsed."""
    training = result["recipe"]["training"]
    lines = [
        "# What the features are worth: every objective on 10,000 CIFAR-10 images",
        "",
        f"`python -m benchmarks.ssl_cifar`; {result['budget']:,} images through the trained encoder in every run, "
        f"{training['optimizer']} at {training['lr']}, {training['schedule']} schedule, about 256 images of full size "
        "a step, nothing tuned, the last step counts. Random initial weights; `smallconv` has 0.24 million parameters "
        "and 128 features, `smallvit` 0.46 million and 96. Test accuracy in percent on 2,000 images (JPEG copies), "
        "mean over seeds; the gain over the untrained weights is paired by seed, with its 95 % interval where there "
        "are several. Seconds per 1,000 images are the processor's, one thread, with views and whatever an "
        "objective does between epochs, without evaluation.",
        "",
        "| arm | backbone | seeds | kNN | gain | linear | gain | s per 1,000 | effective rank | collapse |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, entry in result["summary"].items():
        speed, rank = entry["seconds_per_1000"]["mean"], entry["effective_rank"]["mean"]
        cells = [
            f"`{arm}`",
            entry["backbone"],
            listed(entry["seeds"]),
            percent(entry["knn_accuracy"]["mean"]),
            interval(entry["knn_accuracy_gain"]),
            percent(entry["linear_accuracy"]["mean"]),
            interval(entry["linear_accuracy_gain"]),
            "" if speed is None else f"{speed:.1f}",
            "" if rank is None else f"{rank:.0f}",
            f"{len(entry['collapsed'])} of {len(entry['seeds'])} warned" if entry["collapsed"] else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def stuck(result: dict[str, Any]) -> list[str]:
    """The warnings of runs whose loss ended at chance."""
    found = {run["arm"]: w for run in result["runs"] for w in run["warnings"] if "chance" in w}
    said = [f"- `{arm}`: {text.split(', so ')[0].removeprefix(f'{arm}: ')}" for arm, text in found.items()]
    return ["", "Losses that ended at chance, whatever the features gained:", "", *said] if said else []


def why(summary: dict[str, Any], longer: dict[str, Any] | None, shortcut: dict[str, Any] | None) -> list[str]:
    """Which objectives do not lift kNN over the weights that they start from, and what further runs said of them."""
    gains = {arm: entry["knn_accuracy_gain"]["mean"] for arm, entry in summary.items()}
    none = [arm for arm, gain in gains.items() if gain < LIFT and not arm.startswith(("untrained", "placebo"))]
    floor = summary["untrained"]["knn_accuracy"]["mean"]
    later = {} if longer is None else {arm: own["knn_accuracy"]["mean"] for arm, own in longer["summary"].items()}
    short = [arm for arm in none if arm in later and later[arm] >= later["untrained"] + LIFT]
    hidden = {} if shortcut is None else {arm: own["knn_accuracy"] for arm, own in shortcut["means"].items()}
    tricked = [arm for arm in none if f"{arm}, rolled" in hidden]
    lifted = [arm for arm in tricked if hidden[f"{arm}, rolled"] >= floor + LIFT]
    said = {
        "More images lift it (next table; one seed)": short,
        "A shortcut in these files; where it is hidden they lift it (last table)": lifted,
        "A shortcut in these files; where it is hidden the features are better, and still no better than random "
        "weights' (last table)": [arm for arm in tricked if arm not in lifted],
        "Not explained": [arm for arm in none if arm not in (*short, *tricked)],
    }
    return [
        "## Why some do not lift kNN over random weights",
        "",
        f"Less than a point over the untrained weights: {_named(none)}.",
        "",
        *(f"- {reason}: {_named(arms)}." for reason, arms in said.items() if arms),
    ]


def _named(arms: list[str]) -> str:
    return ", ".join(f"`{arm}`" for arm in arms)


def with_more_images(result: dict[str, Any], longer: dict[str, Any]) -> list[str]:
    """The same arms with another budget: whether it was only too short."""
    seeds = sorted({run["seed"] for run in longer["runs"]})
    lines = [
        f"### {longer['budget']:,} images instead of {result['budget']:,}",
        "",
        f"`python -m benchmarks.ssl_cifar --budget {longer['budget']}`, nothing else changed; seed {listed(seeds)} in "
        "all columns; test accuracy in percent.",
        "",
        f"| arm | kNN, {result['budget']:,} | kNN, {longer['budget']:,} | linear, {result['budget']:,} "
        f"| linear, {longer['budget']:,} | loss still at chance |",
        "|---|---|---|---|---|---|",
    ]
    for arm in longer["summary"]:
        chance = any("chance" in w for run in longer["runs"] if run["arm"] == arm for w in run["warnings"])
        runs = [[run for run in study["runs"] if run["arm"] == arm] for study in (result, longer)]
        rows = [[run for run in own if run["seed"] in seeds] for own in runs]
        figures = ("knn_accuracy", "linear_accuracy")
        cells = [percent(mean([run[figure] for run in own])) for figure in figures for own in rows]
        lines.append(f"| `{arm}` | {' | '.join(cells)} | {'yes' if chance else 'no'} |")
    return lines


def with_hidden_grid(summary: dict[str, Any], shortcut: dict[str, Any]) -> list[str]:
    """Objectives on tiles, with the grid of JPEG's blocks and with it hidden."""
    floor = summary["untrained"]["knn_accuracy"]["mean"]
    seeds = sorted({run["seed"] for run in shortcut["runs"]})
    lines = [
        "### A shortcut: the grid of JPEG's blocks",
        "",
        "The images were re-saved as JPEG, whose 8-pixel blocks begin at the same places in every image, so that a "
        "tile's phase on that grid tells where it was cut. `python -m benchmarks.jpeg_shortcut` trains the two "
        f"objectives on tiles with the same budget ({shortcut['budget']:,} images, seeds {listed(seeds)}) on images "
        "rolled by 0 to 7 pixels, another shift for each image and step, which hides the phase, and on noise, where "
        "only the cutting could give places away. Own accuracy is that of the objective's question. Untrained weights: "
        f"{percent(floor)} (kNN).",
        "",
        "| objective, images | own accuracy | kNN | linear |",
        "|---|---|---|---|",
    ]
    for arm, means in shortcut["means"].items():
        cells = [percent(means[name]) for name in ("accuracy", "knn_accuracy", "linear_accuracy")]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return lines
