"""The README's section "Measured", docs/ssl_cifar.md and docs/imbalance_cifar.png, all from the JSON in results/.

python -m benchmarks.tables    (rewrites what stands between the two markers in README.md, the page and the figure)
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.common import DOCS, RESULTS, mean
from benchmarks.formats import interval, listed, percent
from benchmarks.gan_tables import painted
from benchmarks.imbalance_page import FIGURE, figure, imbalance
from benchmarks.medical_tables import histology, tissue
from benchmarks.paired_tables import fewshot, generalization, robustness
from benchmarks.speed_tables import speed
from benchmarks.ssl_page import page
from benchmarks.unida_office_caltech10 import coverage, summary

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- measured: begin (python -m benchmarks.tables) -->", "<!-- measured: end -->"
PAIRED = (
    ("dg_pacs", "dg_pacs_small", generalization),
    ("robustness_cifar", "robustness_cifar_adversarial", robustness),
    ("fewshot_tiny_imagenet", "", fewshot),
    ("imbalance_cifar", "", imbalance),
    ("gan_digits", "gan_cifar", painted),
    ("medical_lung", "medical_one_image", histology),
    ("medical_tissue", "", tissue),
    ("speed_cpu", "corruptions", speed),
    ("speed_cuda", "", speed),
)
ARMS = {"source_only": "source-only", "dance": "DANCE"}


def main() -> None:
    """Put the tables into the README, and write page and figure."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n{section()}\n{END}{after}", encoding="utf-8")
    studies = [read(name) for name in ("ssl_cifar", "ssl_cifar_240000", "jpeg_shortcut")]
    if studies[0] is not None:
        DOCS.mkdir(exist_ok=True)
        (DOCS / "ssl_cifar.md").write_text(page(studies[0], *studies[1:]) + "\n", encoding="utf-8")
    tails = read("imbalance_cifar")
    drawn = None if tails is None else figure(tails)
    if drawn is not None:
        (DOCS / f"{FIGURE}.png").write_bytes(drawn)


def read(name: str) -> dict[str, Any] | None:
    """Return a study's results, None where there are none."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def section() -> str:
    """Return all tables, each under its heading, of the results that are there."""
    makers = {"demo": demo, "unida_office_caltech10": universal, "unida_finetune": finetune, "resume": resume}
    found = [(make, read(name)) for name, make in makers.items()]
    tables = [make(result) for make, result in found if result is not None]
    for name, more, both in PAIRED:
        result = read(name)
        tables += [] if result is None else [both(result, read(more))]
    return "\n\n".join(tables)


def demo(result: dict[str, Any]) -> str:
    """The built-in data: every arm's means, and the paired differences."""
    runs = result["runs"]
    seeds = [run["seed"] for run in next(iter(runs.values()))]
    differences = next(value for key, value in result.items() if key.startswith("h_score of"))
    lines = [
        "### The demo",
        "",
        f"Printed → handwritten digits, rejection rule `{result['rejection']}` in every arm, seeds {listed(seeds)} "
        "(the recipe was chosen by H-score on others, so by the labels of these same images: on your own it may be "
        "less right), mean over seeds in percent; last, the demo's H-score minus the arm's, paired by seed, with its "
        "95 % interval.",
        "",
        "| arm | H-score | known | unknown | closed | AUROC | demo minus this |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, means in result["means"].items():
        columns = ("h_score", "known_accuracy", "unknown_accuracy", "closed_accuracy", "auroc")
        cells = " | ".join(percent(means[name]) for name in columns)
        lines.append(f"| {arm} | {cells} | {interval(differences.get(arm))} |")
    return "\n".join(lines)


def universal(result: dict[str, Any]) -> str:
    """All methods in all four settings: what was chosen on beside what is held out."""
    parts, recipe = result["summary"], result["recipe"]
    chosen, held = parts["chosen on"], parts["held out"]
    settings = list(next(iter(held["dance"].values())))[:-1]
    lines = [
        "### All methods, four settings",
        "",
        f"`{recipe['encoder']['backbone']}` with ImageNet weights, frozen, {recipe['training']['steps']} steps of "
        f"{recipe['training']['batch_size']} images a domain. Everything was chosen on Office-Caltech10's amazon, dslr "
        "and webcam with the classes in alphabetical order (six pairs); held out are, run once with nothing changed: "
        "the six pairs with caltech10 (three seeds), all twelve under two other orders of the classes (one seed), PACS "
        "(twelve pairs, one seed) and the test images of MNIST and USPS (both ways, three seeds). Splits of ten "
        "classes: 4/3/3, 10/0/0, 5/5/0, 5/0/5. In percent, chosen on / held out: `universal_score` in each setting and "
        "its mean over the four. *: the rule that the method brings.",
        "",
        f"| method | rule | {' | '.join(settings)} | mean |",
        "|---|---|" + "---|" * (len(settings) + 1),
    ]
    for method, rules in held.items():
        for rule, figures in rules.items():
            both = [(chosen[method][rule][s]["universal_score"], figures[s]["universal_score"]) for s in settings]
            both.append((chosen[method][rule]["mean universal_score"], figures["mean universal_score"]))
            cells = [f"{percent(a)} / {percent(b)}" for a, b in both]
            lines.append(
                f"| {method} | {rule}{'*' if own_rule(result, method) == rule else ''} | {' | '.join(cells)} |"
            )
    lines += ["", *open_partial(result), "", *by_part(result), "", share_lines(result["runs"])]
    return "\n".join(lines)


def own_rule(result: dict[str, Any], method: str) -> str:
    """Return the rejection rule that a method brings."""
    return next(str(run["rule"]) for run in result["runs"] if run["method"] == method)


def open_partial(result: dict[str, Any]) -> list[str]:
    """The figures of the setting with private classes on both sides."""
    chosen, held = (result["summary"][part] for part in ("chosen on", "held out"))
    names = ("h_score", "h3_score", "per_class_accuracy", "auroc", "oscr")
    lines = [
        "Open-partial with the rule that each method brings, chosen on / held out:",
        "",
        "| method | H-score | H³ | per-class accuracy | AUROC | OSCR |",
        "|---|" + "---|" * len(names),
    ]
    for method in held:
        a, b = (part[method][own_rule(result, method)]["open-partial"] for part in (chosen, held))
        lines.append(f"| {method} | {' | '.join(f'{percent(a[name])} / {percent(b[name])}' for name in names)} |")
    return lines


def by_part(result: dict[str, Any]) -> list[str]:
    """Mean `universal_score`, and the H-score in open-partial, in each held-out part."""
    parts = {name: part for name, part in result["summary"].items() if name != "held out"}
    office = [run for run in result["runs"] if run["collection"] == "office_caltech10"]
    parts["Office-Caltech10, all held out"] = summary(office)["held out"]
    parts["all held out"] = result["summary"]["held out"]
    lines = [
        "The mean `universal_score` of the four settings / the H-score in open-partial by part, with the rule that "
        "each method brings:",
        "",
        f"| method | {' | '.join(parts)} |",
        "|---|" + "---|" * len(parts),
    ]
    for method in parts["chosen on"]:
        found = [part[method][own_rule(result, method)] for part in parts.values()]
        cells = [f"{percent(f['mean universal_score'])} / {percent(f['open-partial']['h_score'])}" for f in found]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def share_lines(runs: list[dict[str, Any]]) -> str:
    """How good the estimate of the unknown share is, where features separate and where they do not."""
    office = [run for run in runs if run["collection"] == "office_caltech10"]
    others = [run for run in runs if run["collection"] != "office_caltech10"]
    of_office = {f"Office-Caltech10, {part}": one for part, one in coverage(office, "vote").items()}
    found = of_office | {"PACS and digits": coverage(others, "vote")["held out"]}
    said = [
        f"{part}: mean absolute error {percent(one['mean_absolute_error'])} points; the 95 % interval, on average "
        f"{percent(one['mean_width'])} points wide, holds the true share in {percent(one['coverage'])} % of runs"
        for part, one in found.items()
    ]
    return f"The share of unknown target images, estimated without labels (`vote`). {'. '.join(said)}."


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
    more = read("unida_finetune_more")
    for each in [result, *([more] if more is not None else [])]:
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


if __name__ == "__main__":
    main()
