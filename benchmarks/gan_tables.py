"""The tables of the study of rotation beside a GAN's discriminator."""

import re
from typing import Any

from benchmarks.formats import interval, listed, percent
from benchmarks.jobs import paired_gains

NAMES = {
    "sngan": "SNGAN",
    "rotation": "SSGAN",
    "placebo:rotation": "placebo",
    "rotation, conditional": "SSGAN, told classes",
}
SHOWN = 0
"""Seed whose samples are shown."""

SHARES = ("precision", "recall", "probe_accuracy")
COMPARED = (("kid", 1), ("fid", 1), ("precision", 100), ("probe_accuracy", 100))
DIFFERENCES = ("rotation minus sngan", "rotation minus placebo:rotation")


def picture(data: str, arm: str) -> str:
    """Return what the samples of an arm are called in docs/."""
    return f"gan_{data}_{re.sub('[^a-z]+', '_', arm)}.png"


def painted(digits: dict[str, Any], cifar: dict[str, Any] | None) -> str:
    """MNIST and CIFAR-10 images: what rotation changes in what is painted and in what the discriminator knows."""
    lines = [
        "### Rotation beside a GAN's discriminator",
        "",
        "SNGAN, SSGAN (a quarter of the images in all four turns) and its placebo (the same turns, random answers); "
        "narrow networks and a short budget; KID with its 95 % interval over seeds, differences paired by seed with "
        "theirs, and in round brackets the smallest that so many seeds could have detected. Width, batch and rates "
        "were chosen for SNGAN on the digits, by KID in six runs, one of them with seed 0; CIFAR-10 has the same, and "
        "nothing was chosen for rotation. Published for CIFAR-10 "
        "(the library mimicry: 100,000 steps, 50,000 real and generated images, Inception): FID 16.77 and 14.65, which "
        "figures of another extractor cannot be held against.",
    ]
    for data, title, result in (("digits", "MNIST", digits), ("cifar", "CIFAR-10 (re-saved as JPEG)", cifar)):
        if result is not None:
            lines += ["", *_study(title, result), "", *_pictures(data, result["summary"])]
    return "\n".join(lines)


def _study(title: str, result: dict[str, Any]) -> list[str]:
    recipe, summary, first = result["recipe"], result["summary"], result["runs"][0]
    training, method = recipe["training"], recipe["method"]
    lines = [
        f"{title}: width {method['ngf']} and {method['ndf']}, {training['steps']} steps of {training['batch_size']} "
        f"images; {first['n_real']} real and {first['n_fake']} generated images, by {first['extractor']}. Sure: share "
        "of generated images that a classifier of the real ones (right about "
        f"{percent(first['classifier_accuracy'])} %) names with a confidence of 0.9 or more, as it does "
        f"{percent(first['sure_of_real'])} % of real test images; classes: how many it finds, in effect; asked: images "
        "that it names as the class that was asked for.",
        "",
        "| arm | seeds | KID | FID | precision | recall | probe | sure | classes | asked |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, name in NAMES.items():
        if arm in summary:
            entry = summary[arm]
            shares = " | ".join(percent(entry[figure]) for figure in (*SHARES, "sure"))
            half = entry["kid_ci95"]
            kid = f"{entry['kid']:.4g}" + ("" if half is None else f" ± {half:.2g}")
            asked = "" if entry["asked_accuracy"] is None else percent(entry["asked_accuracy"])
            cells = f"{kid} | {entry['fid']:.4g} | {shares} | {entry['effective_classes']:.2f} | {asked}"
            lines.append(f"| {name} | {listed(entry['seeds'])} | {cells} |")
    lines += ["", "| difference | KID | FID | precision (points) | probe (points) |", "|---|---|---|---|---|"]
    for key in DIFFERENCES:
        if key in summary:
            left, right = (NAMES[name] for name in key.split(" minus "))
            cells = " | ".join(_gain(summary[key][figure], scale) for figure, scale in COMPARED)
            lines.append(f"| {left} minus {right} | {cells} |")
    return [*lines, "", *_curves(result)]


def _curves(result: dict[str, Any]) -> list[str]:
    """Return what a probe says of the discriminator along training, and what rotation changes in it."""
    summary = result["summary"]
    steps = list(next(iter(summary.values()))["probe_curve"])
    lines = [f"| probe after steps | {' | '.join(steps)} |", f"|---|{'---|' * len(steps)}"]
    for arm, name in NAMES.items():
        if arm in summary:
            curve = summary[arm]["probe_curve"]
            lines.append(f"| {name} | {' | '.join(percent(curve[step]) for step in steps)} |")
    probes: dict[str, dict[int, dict[str, Any]]] = {}
    for run in result["runs"]:
        of_run = {step: run["curve"][step]["probe_accuracy"] for step in steps}
        probes.setdefault(run["arm"], {})[run["seed"]] = of_run
    for key in DIFFERENCES:
        left, right = key.split(" minus ")
        if key in summary:
            gains = paired_gains(probes[left], probes[right], steps)
            cells = " | ".join(interval(gains[step]) for step in steps)
            lines.append(f"| {NAMES[left]} minus {NAMES[right]} | {cells} |")
    return lines


def _pictures(data: str, summary: dict[str, Any]) -> list[str]:
    """Return where samples of the arms are, as they come."""
    shown = [arm for arm in NAMES if SHOWN in summary.get(arm, {"seeds": ()})["seeds"]]
    links = ", ".join(f"[{NAMES[arm]}](docs/{picture(data, arm)})" for arm in shown)
    return [f"Samples of seed {SHOWN}, none chosen: {links}."] if links else []


def _gain(gain: dict[str, Any] | None, scale: float) -> str:
    """Return a paired difference with its interval and the smallest detectable one."""
    if gain is None:
        return ""
    text = f"{scale * gain['mean']:+.3g}"
    if gain["ci95"] is not None:
        low, high = gain["ci95"]
        text += f" [{scale * low:+.3g}, {scale * high:+.3g}]"
    return text if gain["smallest_detectable"] is None else f"{text} ({scale * gain['smallest_detectable']:.3g})"
