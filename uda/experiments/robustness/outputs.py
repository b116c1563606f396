"""What a robustness report leaves behind: its tables as JSON, CSV and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from uda.experiments.content import interval_kind
from uda.experiments.robustness.examination import RESULT
from uda.metrics import accuracy_interval, reliability_bins
from uda.probes.robustness import Findings
from uda.probes.temperature import BOUNDS
from uda.report.robustness import RobustnessPage, records, write_robustness_report
from uda.training.outputs import write_json, write_text

TABLE = "robustness.csv"


def tables(findings: Findings) -> dict[str, pd.DataFrame]:
    """Return what was found as tables: corruptions, attacks, others; one row a measurement."""
    corruptions = [
        {"corruption": cell.name, "severity": cell.severity, "images": len(cell.right)}
        | _accuracy(cell.right, findings.corrupted_groups)
        | dict(cell.before)
        | {f"{name}_scaled": value for name, value in cell.after.items()}
        for cell in findings.corruptions
    ]
    attacks: list[dict[str, Any]] = []
    if findings.attacks:
        clean = findings.clean_attacked
        attacks.append({"attack": "none", "norm": "", "eps": 0.0, "steps": 0, "restarts": 0, "images": len(clean)})
        attacks[0] |= _accuracy(clean, findings.attacked_groups)
    for cell in findings.attacks:
        setting = {"attack": cell.name, "norm": cell.norm, "eps": cell.levels, "steps": cell.steps}
        setting |= {"restarts": cell.restarts, "images": len(cell.right)}
        attacks.append(setting | _accuracy(cell.right, findings.attacked_groups))
    others = [
        {"set": cell.dataset, "distance": cell.distance, "score": cell.score, "images": cell.images}
        | dict(cell.metrics)
        | dict(zip(("auroc_low", "auroc_high"), cell.interval or (None, None), strict=True))
        for cell in findings.told
    ]
    return {name: pd.DataFrame(rows) for name, rows in _named(corruptions, attacks, others)}


def _accuracy(right: np.ndarray, groups: np.ndarray | None) -> dict[str, float | None]:
    """Return an accuracy with the ends of its bootstrap interval over images, or groups of them."""
    interval = accuracy_interval(right, np.ones(len(right), dtype=bool), groups)
    return {"accuracy": interval.estimate, "accuracy_low": interval.low, "accuracy_high": interval.high}


def _named(*parts: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return list(zip(("corruptions", "attacks", "others"), parts, strict=True))


def long_table(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return all tables as one, a row a measurement; `part` says which table it is of."""
    return pd.concat([table.assign(part=name) for name, table in found.items() if len(table)], ignore_index=True)


def content_of(findings: Findings, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `robustness.json` holds: every figure, every interval, and what a baseline needs.

    setting: what errors under corruption depend on beside the model and the images.
    """
    found = tables(findings)
    return {
        "metrics": findings.metrics(),
        "ci95": {name: None if ends is None else list(ends) for name, ends in findings.intervals().items()},
        "ci95_kind": interval_kind(findings.groups is not None),
        "images": len(findings.clean.right),
        "setting": dict(setting),
        "temperature": findings.temperature,
        "temperature_fitted_on": findings.fitted_on,
        "baseline": None if findings.baseline is None else findings.baseline.name,
        "clean_error": 1 - findings.clean.accuracy,
        "errors": findings.errors(),
        **{name: records(table) for name, table in found.items()},
    }


def write_findings(
    folder: Path,
    findings: Findings,
    frame: Mapping[str, Any],
    settings: str,
    setting: Mapping[str, Any],
    sample: bytes | None,
) -> None:
    """Write `robustness.json`, `robustness.csv` and `report.html`.

    frame: the fields of `RobustnessPage` that every page has; settings: what corruptions are, in a sentence, and
    setting: the same for `content_of`; sample: a picture of corrupted images.
    """
    found = tables(findings)
    write_json(folder / RESULT, content_of(findings, setting))
    write_text(folder / TABLE, long_table(found).to_csv(index=False) if any(map(len, found.values())) else "")
    write_robustness_report(
        folder / "report.html",
        RobustnessPage(
            **frame,
            corruptions=found["corruptions"],
            attacks=found["attacks"],
            others=found["others"],
            reliability=[(title, reliability_bins(p, y)) for title, p, y in findings.diagrams],
            temperature=findings.temperature,
            text=texts(findings, settings),
            sample=sample,
        ),
    )


def texts(findings: Findings, settings: str) -> dict[str, str]:
    """Return what each section of the page says before its figures."""
    baseline = (
        "There is no baseline to divide errors by, so there is no mCE."
        if findings.baseline is None
        else f"The mCE divides by the errors of {findings.baseline.name}; 100 is as bad as that."
    )
    fitted = (
        "images that were neither trained on nor counted here"
        if findings.fitted_on == "validation"
        else "one half of the test images for the other, as no images were kept for it"
    )
    bound = (
        " It is at the end of the range looked through: the images it was fitted on are all named right."
        if findings.temperature in BOUNDS
        else ""
    )
    return {
        "answer": (
            f"On {len(findings.clean.right)} test images. Intervals are bootstraps over images. Figures that end in "
            "“scaled” are those after the temperature was fitted."
        ),
        "corruptions": f"{settings} {baseline}",
        "attacks": (
            f"On {len(findings.clean_attacked)} of the test images, the same for every attack. Radii are in gray "
            "levels of 255. Projected gradient descent takes steps of a quarter of the radius and keeps the best of "
            "all it went through, so that more steps never help the model. eps 0 is the accuracy without an attack."
        ),
        "others": (
            "How well each unknown-score tells images of no known class from the test images. AUPR depends on the "
            "numbers of both. fpr95_in: share of other images taken for known when 95 % of the known ones are; "
            "fpr95_out: share of known images called unknown when 95 % of the others are."
        ),
        "calibration": (
            f"Whether the model is as often right as it says. The temperature divides the logits; it is fitted on "
            f"{fitted}, and changes no answer.{bound}"
        ),
    }
