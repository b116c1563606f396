"""The README's table of the study on long tails, and its figure docs/imbalance_cifar.png."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.formats import interval, percent
from benchmarks.imbalance_cifar import AS_IT_COMES, NONE, RANDOM, ROTATION, SIMCLR
from uda.report.canvas import BLUE, GREEN, ORANGE, bare, new_figure, png_bytes
from uda.report.classes import class_shapes

FIGURE = "imbalance_cifar"
LWS_STAGE = 0.25
"""The share of a run that is LWS's second stage, by default."""
CURVES = {
    f"ce from {RANDOM}": ("cross-entropy, random start", BLUE),
    f"ce from {SIMCLR}": ("cross-entropy after SimCLR", ORANGE),
    f"{AS_IT_COMES} from {SIMCLR}": ("SimCLR, linear probe", GREEN),
}


def imbalance(result: dict[str, Any], _: dict[str, Any] | None) -> str:
    """CIFAR-10 tails: every method alone, after SimCLR, and with rotation."""
    recipe, summary = result["recipe"], result["summary"]
    training = recipe["training"]
    lines = [
        "### Long tails",
        "",
        "CIFAR-10 images (at most 1,000 a class, re-saved as JPEG), exponential tails, "
        f"`{recipe['encoder']['backbone']}` from random weights, {training['steps']} steps of "
        f"{training['batch_size']}; SimCLR: "
        f"{recipe['pretraining_steps']} steps before, on the same tail, which no other arm has in addition; "
        "rotation: one turn of each image beside the method's loss, at ratio 100. Accuracy on the "
        "balanced test images in percent, of all classes / of those with "
        "fewer than 20 training images (none at ratio 10); differences of the first are paired by seed, with their "
        "95 % interval.",
        "",
        "| ratio | method | random start | after SimCLR | with rotation | SimCLR, difference | rotation, difference |",
        "|---|---|---|---|---|---|---|",
    ]
    arms = {(a["ratio"], a["method"], a["start"], a["objective"]): a for a in summary["arms"]}
    gains = {(g["ratio"], g["method"], g["start"], g["objective"]): g for g in summary["gains"]}
    kinds = ((RANDOM, NONE), (SIMCLR, NONE), (RANDOM, ROTATION))
    every = {ratio for ratio, method, *_ in arms if method not in ("ce", AS_IT_COMES)}
    rows = ((ratio, method) for ratio, method, *_ in arms if ratio in every and method != AS_IT_COMES)
    for ratio, method in dict.fromkeys(rows):
        found = [arms.get((ratio, method, *kind)) for kind in kinds]
        cells = ["" if arm is None else _both(arm["metrics"]) for arm in found]
        cells += [interval(gains.get((ratio, method, *kind), {}).get("accuracy")) for kind in kinds[1:]]
        lines.append(f"| {ratio} | `{method}` | {' | '.join(cells)} |")
    second = round(LWS_STAGE * training["steps"])
    lines += [
        "",
        f"AdamW moves a number by about the learning rate a step: in the {second} steps of the second stage a scale of "
        f"`lws` can move by some {training['lr'] * second / 2:.2g} from 1, and its answers change little.",
    ]
    if len(next(iter(summary["curves"].values()))["ratio"]) > 1:
        lines += ["", *_curves(summary["curves"])]
    return "\n".join(lines)


def _both(metrics: dict[str, Any]) -> str:
    few = metrics["few_accuracy"]
    return percent(metrics["accuracy"]) + ("" if few is None else f" / {percent(few)}")


def _curves(curves: dict[str, Any]) -> list[str]:
    ratios = max((curve["ratio"] for curve in curves.values()), key=len)
    lines = [
        "As the tail grows, accuracy / balancedness of the feature space in percent "
        f"(with a dot for each seed, as [curves and shapes](docs/{FIGURE}.png)):",
        "",
        f"| ratio | {' | '.join(map(str, ratios))} |",
        "|---|" + "---|" * len(ratios),
    ]
    for name, (title, _) in CURVES.items():
        curve = curves.get(name, {"ratio": []})
        cells = []
        for ratio in ratios:
            found = [i for i, other in enumerate(curve["ratio"]) if other == ratio]
            shown = [f"{percent(curve['accuracy'][i])} / {percent(curve['balancedness'][i])}" for i in found]
            cells += shown or [""]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def figure(result: dict[str, Any]) -> bytes | None:
    """Return the curves over the ratio, and below them the feature spaces at the steepest tail; None before all ran."""
    shapes = shapes_figure(result)
    if shapes is None:
        return None
    above, below = (Image.open(BytesIO(png)).convert("RGB") for png in (curves_figure(result), shapes))
    whole = Image.new("RGB", (max(above.width, below.width), above.height + below.height), "white")
    whole.paste(above, (0, 0))
    whole.paste(below, ((whole.width - below.width) // 2, above.height))
    written = BytesIO()
    whole.save(written, format="png", optimize=True)
    return written.getvalue()


def curves_figure(result: dict[str, Any]) -> bytes:
    """Return accuracy and balancedness against the ratio as PNG: means for each way to learn, and a dot a seed."""
    figure = new_figure(8.8, 3.6)
    for ax, name in zip(figure.subplots(1, 2), ("accuracy", "balancedness"), strict=True):
        for arm, (title, color) in CURVES.items():
            curve = result["summary"]["curves"].get(arm)
            if curve is not None:
                ax.plot(curve["ratio"], [100 * v for v in curve[name]], color=color, linewidth=2, label=title)
                runs = [
                    r for r in result["runs"] if f"{r['method']} from {r['start']}" == arm and r["objective"] == NONE
                ]
                dots = [(run["ratio"], 100 * run["metrics"][name]) for run in runs]
                ax.scatter(*zip(*dots, strict=True), color=color, s=10)
        ax.set_xscale("log")
        ratios = sorted({ratio for curve in result["summary"]["curves"].values() for ratio in curve["ratio"]})
        ax.set_xticks(ratios, [str(ratio) for ratio in ratios])
        ax.minorticks_off()
        ax.set_xlabel("imbalance ratio")
        ax.set_ylabel(f"{name} (%)")
        ax.grid(axis="y", color="#E3E6E9", linewidth=0.7)
        bare(ax)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=9)
    return png_bytes(figure)


def shapes_figure(result: dict[str, Any]) -> bytes | None:
    """Return the feature spaces at the steepest tail as PNG: linear probes class by class, mean over seeds."""
    ratio = max(run["ratio"] for run in result["runs"])
    arms: list[tuple[str, np.ndarray]] = []
    names: list[str] = []
    counts = np.zeros(0, dtype=np.int64)
    for start, method, title in (
        (RANDOM, "ce", "supervised features"),
        (SIMCLR, AS_IT_COMES, "SimCLR's features"),
    ):
        wanted = {"ratio": ratio, "start": start, "method": method, "objective": NONE}
        found = [run["per_class"] for run in result["runs"] if all(run[k] == v for k, v in wanted.items())]
        if not found:
            return None
        names, counts = found[0]["classes"], np.array(found[0]["train_images"])
        arms.append((f"{title}, ratio {ratio}", _mean([run["probe_accuracy"] for run in found])))
    return class_shapes(names, counts, arms)


def _mean(rows: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).mean(axis=0)
