"""The tables of the study of in-domain pre-training on histology."""

from typing import Any

from benchmarks.common import mean
from benchmarks.formats import interval, listed, percent
from benchmarks.paired_tables import detectable

ALL = "linear_auroc"
FIGURES = (ALL, "linear_auroc_10", "linear_auroc_1", "knn_auroc", "linear_accuracy", "linear_ece")
SHARE = "linear_auroc_10"
STAINS = ("haematoxylin", "eosin")


def histology(result: dict[str, Any], one: dict[str, Any] | None) -> str:
    """LC25000's lung images: what pre-training in the domain gains over the weights that it started from."""
    recipe, summary = result["recipe"], result["summary"]
    training, groups = recipe["training"], summary["groups"]
    originals = ", ".join(f"{name} {own['groups']} of {own['images']}" for name, own in groups["per_class"].items())
    lines = [
        "### Histology, pre-trained in the domain",
        "",
        f"LC25000's lung images: {groups['groups']} originals ({originals}), the others copies of them, turned, "
        f"mirrored or shifted; no split divides an original's copies ({groups['test_groups']} groups are tested on). "
        f"`{recipe['encoder']['backbone']}` at {recipe['data']['image_size']} px, {training['steps']} steps of "
        f"{training['batch_size']} images without labels, then a linear classifier on frozen features; seeds "
        f"{listed(summary['seeds'])}. In percent; differences of AUROC to the weights that it started from are paired "
        "by seed with their 95 % interval, and in brackets the smallest that so many seeds could have detected. "
        "Placebo: MoCo with the views of other images as positives.",
        "",
        "| start | AUROC, all labels | 10 % | 1 % | kNN AUROC | accuracy | calibration error "
        "| all: minus its start | 10 %: minus its start |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    gains = {(gain["start"], gain["against"]): gain["metrics"] for gain in summary["differences"]}
    for arm in summary["starts"]:
        own = gains.get((arm["start"], arm["initial"]), {})
        cells = [percent(arm["metrics"][name]) for name in FIGURES] + [_gained(own.get(name)) for name in (ALL, SHARE)]
        lines.append(f"| {arm['start']} | {' | '.join(cells)} |")
    lines += ["", _leak(summary)]
    return "\n".join(lines if one is None else [*lines, "", *_one_image(one)])


def _gained(gain: dict[str, Any] | None) -> str:
    least = detectable(gain)
    return interval(gain) + (f" [{least}]" if least else "")


def _leak(summary: dict[str, Any]) -> str:
    """Return what the same probes say where the copies of an original stand on both sides of the split."""
    starts = {arm["start"]: arm["metrics"] for arm in summary["starts"]}
    said = []
    for initial in dict.fromkeys(row["initial"] for row in summary["leak"]):
        rows = [row["metrics"] for row in summary["leak"] if row["initial"] == initial]
        figures = ", ".join(
            f"{title} {percent(starts[initial][name])} → {percent(mean([row[name] for row in rows]))}"
            for name, title in ((SHARE, "AUROC of 10 %"), ("knn_accuracy", "kNN accuracy"))
        )
        said.append(f"{initial}: {figures}")
    return (
        f"With the copies divided by a random split, as is often done, the plain weights say: {'; '.join(said)}. These "
        "are means over the seeds on other test images, too few to tell such changes from chance."
    )


def _one_image(one: dict[str, Any]) -> list[str]:
    """Return what pre-training on tiles of a single image comes to."""
    said = [
        f"{name}: AUROC {', '.join(percent(found['metrics'][figure]) for figure in FIGURES[:3])}"
        for name, found in one["starts"].items()
    ]
    return [
        f"From tiles of one image alone (scikit-image's immunohistochemistry, {one['steps']} steps, one seed; all "
        f"labels, 10 %, 1 %): {'; '.join(said)}."
    ]


def tissue(result: dict[str, Any], more: dict[str, Any] | None) -> str:
    """A class that only the target has: what is rejected, with the target stained otherwise or as it comes."""
    del more
    recipe, shown = result["recipe"], ("known_accuracy", "unknown_accuracy", "closed_accuracy", "auroc")
    rows = {(row["missing"], row["arm"], row["stain"]): row for row in result["summary"]}
    seeds = next(iter(rows.values()))["seeds"]
    factors = " and ".join(
        f"{name} times {of:g}" for name, of in zip(STAINS, result["staining"]["other"], strict=False)
    )
    lines = [
        "### A tissue that the source has not",
        "",
        "LC25000's lung images, divided by original into two centers; the target's are stained otherwise "
        f"({factors}) / as they come; the source lacks one class, or nothing. "
        f"`{recipe['encoder']['backbone']}` with ImageNet weights at {recipe['data']['image_size']} px, frozen, "
        f"{recipe['training']['steps']} steps, rule `{recipe['rejection']}`, means over seeds {listed(seeds)} in "
        "percent; last, the AUROC of the unknown class minus source-only's under the other stain, paired by seed. "
        "With two source classes no entropy is further than .35 from log(K)/2, so that at the published margin of .5 "
        "entropy separation never acts; .12 is the same share of the range.",
        "",
        "| only the target has | arm | known | unknown | closed | AUROC | AUROC minus source-only's |",
        "|---|---|---|---|---|---|---|",
    ]
    for missing, arm, stain in rows:
        if stain == "other":
            own, same = rows[missing, arm, stain], rows[missing, arm, "same"]
            cells = " | ".join(f"{percent(own[name])} / {percent(same[name])}" for name in shown)
            gain = interval((own["minus_source_only"] or {}).get("auroc"))
            lines.append(f"| {missing} | {arm} | {cells.replace('null / null', '')} | {gain} |")
    return "\n".join(lines)
