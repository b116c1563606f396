"""Tables of the studies in which every arm is paired with the one without self-supervision."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.formats import interval, listed, percent
from uda.metrics import paired_difference
from uda.report import published as report

NAMES = {"deepall": "DeepAll", "jigsaw": "JiGen", "placebo:jigsaw": "placebo", "placebo:rotation": "placebo"}


def published() -> dict[str, dict[str, float]]:
    """Return the published accuracy of each held-out domain by arm (DeepAll's single domains quoted from memory)."""
    content = json.loads((Path(report.__file__).parent / "dg.json").read_text(encoding="utf-8"))
    arms = {title: arm for arm, title in NAMES.items()}
    return {
        arms[entry["method"]]: {name.split("/")[1]: figures["accuracy"] for name, figures in entry["pairs"].items()}
        for entry in content["entries"]
    }


def detectable(gain: dict[str, Any] | None) -> str:
    """Return the smallest difference that so many seeds could have detected, in points."""
    return "" if gain is None or gain["smallest_detectable"] is None else f"{100 * gain['smallest_detectable']:.1f}"


def generalization(pretrained: dict[str, Any], small: dict[str, Any] | None) -> str:
    """PACS, each domain held out: what the puzzle, rotation and a placebo gain over DeepAll."""
    recipe = pretrained["recipe"]
    training = recipe["training"]
    lines = [
        "### A domain never seen",
        "",
        f"PACS, each domain held out: `{recipe['encoder']['backbone']}` with ImageNet weights at "
        f"{recipe['data']['image_size']} px, {training['steps']} steps of {training['batch_size']} images, the last "
        "step counts and nothing was tuned. Accuracy in percent; the difference to DeepAll is paired by seed, with its "
        "95 % interval, and beside it the smallest that so many seeds could have detected (80 % power). Rotation: one "
        "turn of each image, as often as a puzzle. Placebo: puzzles with random answers. Published: ResNet-18, 222 px, "
        "30 epochs (Carlucci et al., CVPR 2019; those of DeepAll quoted from memory).",
        "",
        *_domains(pretrained["summary"], published()),
        "",
        _answers_alone(pretrained["runs"]),
    ]
    if small is not None:
        training = small["recipe"]["training"]
        lines += [
            "",
            f"The same with `{small['recipe']['encoder']['backbone']}` from random weights at "
            f"{small['recipe']['data']['image_size']} px, {training['steps']} steps of "
            f"{training['batch_size']} images:",
            "",
            *_domains(small["summary"], {}),
            "",
            _answers_alone(small["runs"]),
        ]
    return "\n".join(lines)


def _domains(summary: dict[str, Any], figures: dict[str, dict[str, float]]) -> list[str]:
    more = " published |" if figures else ""
    lines = [f"| held out | arm | seeds | accuracy | minus DeepAll | detectable |{more}", "|---|---|---|---|---|---|"]
    lines[1] += "---|" if figures else ""
    for domain, arms in summary.items():
        for arm, entry in arms.items():
            gain = entry.get("gain")
            row = f"| {domain} | {NAMES.get(arm, arm)} | {listed(entry['seeds'])} | {percent(entry['accuracy'])} | "
            row += f"{interval(gain)} | {detectable(gain)} |"
            if figures:
                known = figures.get(arm, {}).get(domain)
                row += f" {'' if known is None else percent(known)} |"
            lines.append(row)
    return lines


def _answers_alone(runs: list[dict[str, Any]]) -> str:
    """Return what true answers of the puzzles gain over random ones, the pieces being shuffled in both."""
    said = []
    for domain in dict.fromkeys(run["domain"] for run in runs):
        by_arm: dict[str, dict[int, float]] = {}
        for run in runs:
            if run["domain"] == domain:
                by_arm.setdefault(run["arm"], {})[run["seed"]] = run["accuracy"]
        ours, theirs = (by_arm.get(arm, {}) for arm in ("jigsaw", "placebo:jigsaw"))
        seeds = sorted(ours.keys() & theirs.keys())
        if seeds:
            gain = asdict(paired_difference([ours[s] for s in seeds], [theirs[s] for s in seeds]))
            said.append(f"{domain} {interval(gain)}")
    return f"JiGen minus its placebo, which is what the answers are worth beside the shuffling: {', '.join(said)}."


SHOWN = {
    "accuracy": "accuracy, clean",
    "corruption_accuracy": "accuracy, 19 corruptions",
    "pgd-20_linf_0.5_accuracy": "accuracy, PGD-20 at 0.5/255",
    "pgd-20_linf_1_accuracy": "at 1/255",
    "pgd-20_linf_2_accuracy": "at 2/255",
    "pgd-20_linf_4_accuracy": "at 4/255",
    "pgd-20_linf_8_accuracy": "at 8/255",
    "near_auroc_max_softmax": "AUROC near, maximum softmax",
    "far_auroc_max_softmax": "AUROC far, maximum softmax",
    "near_auroc_rotation": "AUROC near, rotation score",
    "far_auroc_rotation": "AUROC far, rotation score",
    "ece": "calibration error",
    "ece_scaled": "calibration error, scaled",
    "corruption_ece": "calibration error, corrupted",
}


def robustness(plain: dict[str, Any], adversarial: dict[str, Any] | None) -> str:
    """CIFAR-10 images: what auxiliary rotation gains, over none and over its placebo."""
    recipe = plain["recipe"]
    lines = [
        "### Auxiliary rotation",
        "",
        f"CIFAR-10 images (1,000 a class, re-saved as JPEG), `{recipe['encoder']['backbone']}` from random weights, "
        f"{recipe['training']['steps']} steps of {recipe['training']['batch_size']}, seeds "
        f"{listed(plain['summary']['plain']['seeds'])}; {recipe['report']['images']} test images, "
        f"{recipe['report']['attacked']} of them attacked. AUROC near and far: of images that are none of the classes, "
        "Office-Caltech10's objects and lung tissue, by the largest probability. In percent; differences are paired by "
        "seed with their 95 % interval, and in brackets the smallest that so many seeds could have detected. Placebo: "
        "the same views and head, random answers. Published, with a WRN-40-2, 50,000 images and 100 epochs: "
        "72.3 → 76.9 on CIFAR-10-C (Hendrycks et al., NeurIPS 2019; quoted from memory).",
        "",
        *_figures(plain["summary"]),
    ]
    if adversarial is not None:
        method = adversarial["recipe"]["method"]
        lines += [
            "",
            f"After adversarial training (l-infinity, eps {method['eps']:g}/255, {method['attack_steps']} steps of "
            f"{method['step']:g}/255; {adversarial['recipe']['training']['steps']} training steps):",
            "",
            *_figures(adversarial["summary"]),
        ]
    return "\n".join(lines)


def _figures(summary: dict[str, Any]) -> list[str]:
    arms = ("plain", "rotation", "placebo:rotation")
    lines = [
        "| figure | none | rotation | placebo | rotation minus none | rotation minus placebo |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in SHOWN.items():
        means = [summary[arm]["metrics"].get(name) for arm in arms]
        if all(value is None for value in means):
            continue
        cells = ["" if value is None else percent(value) for value in means]
        for other in ("plain", "placebo:rotation"):
            gain = summary[f"rotation minus {other}"].get(name)
            least = detectable(gain)
            cells.append(interval(gain) + (f" [{least}]" if least else ""))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def fewshot(result: dict[str, Any], _: dict[str, Any] | None) -> str:
    """Tiny-ImageNet's novel classes: what rotation, location, both and a placebo gain over a cosine classifier."""
    recipe, summary = result["recipe"], result["summary"]
    own = recipe["episodes"]
    lines = [
        "### New classes from a few labels",
        "",
        f"Tiny-ImageNet, 64 base and 20 novel classes of 60 images at {recipe['data']['image_size']} px, "
        f"`{recipe['encoder']['backbone']}` from random weights, {recipe['training']['steps']} steps of "
        f"{recipe['training']['batch_size']}; {own['episodes']} {own['ways']}-way episodes with {own['queries']} "
        f"queries a class, classified by {own['classifier'] or 'cosine'} prototypes, the same for every run. In "
        "percent; differences to the cosine classifier alone are paired by seed with their 95 % interval, and in "
        "brackets the smallest that so many seeds could have detected. Location has, as published, a classifier of the "
        "patches beside it; the placebos have random answers about turns and sides, and true classes. "
        "Published, with a WRN-28-10 on miniImageNet, 1-shot and 5-shot: rotation 62.8 and 80.0, location "
        "60.7 and 77.6 (Gidaris et al., ICCV 2019).",
        "",
        "| beside the cosine classifier | seeds | 1-shot | 5-shot | 1-shot, difference | 5-shot, difference | 5-shot, "
        "minus its placebo |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, entry in summary.items():
        if not entry["seeds"]:
            continue
        cells = [percent(entry["metrics"][f"novel_accuracy_{shots}"]) for shots in (1, 5)]
        for against, shots in (("gain", 1), ("gain", 5), ("gain_over_placebo", 5)):
            gain = entry.get(against, {}).get(f"novel_accuracy_{shots}")
            least = detectable(gain)
            cells.append(interval(gain) + (f" [{least}]" if least else ""))
        lines.append(f"| {'nothing' if arm == 'plain' else arm} | {listed(entry['seeds'])} | {' | '.join(cells)} |")
    return "\n".join(lines)
