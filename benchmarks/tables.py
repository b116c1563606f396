"""The README's section "Measured" and docs/ssl_cifar.md, written from the JSON in results/ and from nothing else.

python -m benchmarks.tables    (rewrites what stands between the two markers in README.md, and the page)
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, mean

README = Path(__file__).parents[1] / "README.md"
DOCS = README.parent / "docs"
BEGIN, END = "<!-- measured: begin (python -m benchmarks.tables) -->", "<!-- measured: end -->"
ARMS = {"source_only": "source-only", "dance": "DANCE"}


def main() -> None:
    """Put the tables into the README."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{section()}\n{END}{after}", encoding="utf-8")
    if (RESULTS / "ssl_cifar.json").is_file():
        DOCS.mkdir(exist_ok=True)
        page = ssl_cifar(json.loads((RESULTS / "ssl_cifar.json").read_text()))
        (DOCS / "ssl_cifar.md").write_text(page + "\n", encoding="utf-8")


def section() -> str:
    """Return all tables, each under its heading, of the results that are there."""
    makers = {"demo": demo, "unida_frozen": frozen, "unida_finetune": finetune, "resume": resume}
    found = [(make, RESULTS / f"{name}.json") for name, make in makers.items()]
    return "\n\n".join(make(json.loads(path.read_text())) for make, path in found if path.is_file())


def demo(result: dict[str, Any]) -> str:
    """The built-in data: every arm's means, and the paired differences."""
    runs = result["runs"]
    seeds = [run["seed"] for run in next(iter(runs.values()))]
    differences = next(value for key, value in result.items() if key.startswith("h_score of"))
    lines = [
        "### The demo",
        "",
        f"Printed → handwritten digits, rejection rule `{result['rejection']}` in every arm, seeds {listed(seeds)} "
        "(the recipe was chosen on others), mean over seeds in percent; last, the demo's H-score minus the arm's, "
        "paired by seed, with its 95 % interval.",
        "",
        "| arm | H-score | known | unknown | closed | AUROC | demo minus this |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, means in result["means"].items():
        columns = ("h_score", "known_accuracy", "unknown_accuracy", "closed_accuracy", "auroc")
        cells = " | ".join(percent(means[name]) for name in columns)
        lines.append(f"| {arm} | {cells} | {interval(differences.get(arm))} |")
    return "\n".join(lines)


def frozen(result: dict[str, Any]) -> str:
    """All pairs of Office-Caltech10 on frozen features."""
    means = result["means"]
    arms = list(dict.fromkeys(key.rsplit(" / ", 1)[0] for key in means))
    pairs = list(next(iter(means.values()))["pairs"])
    seeds = sorted({run["seed"] for run in result["runs"]})
    lines = [
        "### Frozen features, 12 pairs of Office-Caltech10",
        "",
        f"`tf_efficientnet_lite0` at {result['recipe']['data']['image_size']} px, ImageNet weights, split 4/3/3, "
        f"{result['recipe']['training']['steps']} steps, seeds {listed(seeds)}. H-score with the fixed / the "
        "data-driven threshold, per-class accuracy with the same two, and AUROC, in percent.",
        "",
        "| pair | " + " | ".join(arms) + " |",
        "|---|" + "---|" * len(arms),
    ]
    for pair in [*pairs, "mean over pairs"]:
        cells = []
        for arm in arms:
            rules = [means[f"{arm} / {rule}"] for rule in ("fixed", "otsu")]
            fixed, driven = (rule["pairs"][pair] if pair in pairs else rule[pair] for rule in rules)
            h_scores = f"{percent(fixed['h_score'])} / {percent(driven['h_score'])}"
            per_class = f"{percent(fixed['per_class_accuracy'])} / {percent(driven['per_class_accuracy'])}"
            cells.append(f"{h_scores}; {per_class}; {percent(fixed['auroc'])}")
        lines.append(f"| {pair} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def finetune(result: dict[str, Any]) -> str:
    """Both arms with all weights moving, and their curves."""
    recipe = result["recipe"]
    lines = [
        "### All weights moving",
        "",
        f"`{recipe['encoder']['backbone']}` with ImageNet weights at {recipe['data']['image_size']} px, "
        f"{recipe['training']['steps']} steps of {recipe['training']['batch_size']} images a domain, Office-Caltech10, "
        "split 4/3/3, fixed threshold; means over the seeds named. The curve is the H-score at the evaluations.",
        "",
        "| pair | seeds | method | H-score | known | unknown | AUROC | curve |",
        "|---|---|---|---|---|---|---|---|",
    ]
    more = RESULTS / "unida_finetune_more.json"
    for each in [result, *([json.loads(more.read_text())] if more.is_file() else [])]:
        lines += [row for pair in each["pairs"] for row in _finetune_rows(pair, each["recipe"]["seeds"])]
    return "\n".join(lines)


def _finetune_rows(pair: dict[str, Any], seeds: list[int]) -> list[str]:
    """Return a row for each method of a pair."""
    rows = []
    for method, arm in pair["arms"].items():
        metrics = arm["by_rejection"]["fixed"]
        cells = [percent(metrics[k]) for k in ("h_score", "known_accuracy", "unknown_accuracy", "auroc")]
        steps = list(dict.fromkeys(row["step"] for row in arm["curves"]))
        at = {step: [row["h_score"] for row in arm["curves"] if row["step"] == step] for step in steps}
        curve = ", ".join(f"{step}: {percent(mean(values))}" for step, values in at.items())
        head = f"| {pair['source']} → {pair['target']} | {listed(seeds)} | {ARMS[method]} |"
        rows.append(f"{head} {' | '.join(cells)} | {curve} |")
    return rows


def resume(result: dict[str, Any]) -> str:
    """What became of the run that was killed again and again."""
    kills, equal = result["kills"], all(result["equal"].values())
    return (
        "### Killed and resumed\n\n"
        f"A fine-tuning run ({' → '.join(result['pair'])}, {result['reference_seconds']:.0f} s when left alone) was "
        f"killed with SIGKILL {len(kills)} times, {result['kills_while_writing']} of them while a checkpoint was being "
        "written, and resumed each time. Metrics, weights, optimizer state, history and predictions are "
        f"{'equal, bit for bit, to' if equal else 'NOT equal to'} those of the run that was never stopped."
    )


def ssl_cifar(result: dict[str, Any]) -> str:
    """Every objective's features: accuracy, gain over the untrained weights, cost, and whether it collapsed."""
    training, runs = result["recipe"]["training"], result["runs"]
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
    stuck = {run["arm"]: w for run in runs for w in run["warnings"] if "chance" in w}
    if stuck:
        lines += ["", "Losses that ended at chance:", ""]
        lines += [f"- `{arm}`: {warning}" for arm, warning in stuck.items()]
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """Return a fraction in percent with one digit."""
    return "null" if value is None else f"{100 * value:.1f}"


def interval(difference: dict[str, Any] | None) -> str:
    """Return a paired difference with its interval, in points."""
    if difference is None:
        return ""
    if difference["ci95"] is None:
        return f"{100 * difference['mean']:+.1f}"
    low, high = difference["ci95"]
    return f"{100 * difference['mean']:+.1f} ({100 * low:+.1f} … {100 * high:+.1f})"


def listed(values: list[int]) -> str:
    """Return numbers separated by commas."""
    return ", ".join(map(str, values))


if __name__ == "__main__":
    main()
