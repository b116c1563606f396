"""Tables of the report: metrics under readable names, arms beside each other, what was confused with what."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from uda.report.page import MISSING

Interval = Sequence[float] | None
"""A 95 % confidence interval, (low, high); None where there is none."""


@dataclass(frozen=True)
class Metric:
    """How a metric is called and what it is, in one line."""

    title: str
    definition: str
    share: bool = True  # shown in per cent


METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "Share of test images that the trained classifier names right."),
    "many_accuracy": Metric("Accuracy, many", "Mean over the classes of more than 100 training images."),
    "medium_accuracy": Metric("Accuracy, medium", "Mean over the classes of 20 to 100 training images."),
    "few_accuracy": Metric("Accuracy, few", "Mean over the classes of fewer than 20 training images."),
    "balanced_error": Metric("Balanced error", "Mean over all classes of the share named wrong."),
    "balancedness": Metric(
        "Balancedness, features",
        "How alike classes are to linear probes on the features: mean over pairs of exp(-|difference| / 0.2).",
        share=False,
    ),
    "classifier_balancedness": Metric(
        "Balancedness, classifier", "The same of the trained classifier's accuracies.", share=False
    ),
    "kid": Metric("KID", "Kernel distance of generated and real images, over disjoint parts.", share=False),
    "fid": Metric("FID", "Fréchet distance of generated and real images; larger with fewer images.", share=False),
    "precision": Metric("Precision", "Share of generated images that lie among the real ones."),
    "recall": Metric("Recall", "Share of real images that lie among the generated ones."),
    "probe_accuracy": Metric("Probe accuracy", "Share named right by linear probes fitted on other images."),
    "confidence": Metric("Confidence", "Mean confidence with which a classifier of real images names generated ones."),
    "effective_classes": Metric("Classes, effective", "exp of the entropy of the classes it names.", share=False),
    "asked_accuracy": Metric("Accuracy, as asked", "Share of generated images of the class that was asked for."),
    "universal_score": Metric(
        "Universal score",
        "H-score where the target has unknown classes, else class-mean accuracy with every rejection an error.",
    ),
    "h_score": Metric("H-score", "Harmonic mean of known and unknown accuracy; low as soon as either is low."),
    "known_accuracy": Metric("Known accuracy", "Mean over the shared classes of the share of images named right."),
    "unknown_accuracy": Metric("Unknown accuracy", "Share of the images of unknown classes that were rejected."),
    "per_class_accuracy": Metric("Per-class accuracy", "Mean recall over the classes, 'unknown' counted as one more."),
    "closed_accuracy": Metric(
        "Closed accuracy", "Share of the images of known classes named right when nothing may be rejected."
    ),
    "auroc": Metric(
        "AUROC", "Chance that an unknown image scores more unknown than a known one; independent of the threshold."
    ),
    "oscr": Metric(
        "OSCR", "Area under correct-and-accepted share of known images against accepted share of unknown ones."
    ),
    "source_accuracy": Metric("Source accuracy", "Share named right of the source images kept from training."),
    "leave_one_out_accuracy": Metric(
        "Leave-one-domain-out accuracy", "Mean accuracy on each source domain of a run trained on the others."
    ),
    "aupr_in": Metric("AUPR-in", "Area under precision and recall of finding the known images."),
    "aupr_out": Metric("AUPR-out", "Area under precision and recall of finding the others."),
    "fpr95_in": Metric("FPR95-in", "Share of others taken for known when 95 % of the known are accepted."),
    "fpr95_out": Metric("FPR95-out", "Share of known images called unknown when 95 % of the others are found."),
    "ece": Metric("Calibration error", "Mean distance of confidence and accuracy over 15 bins of confidence."),
    "ece_scaled": Metric("Calibration error, scaled", "The same after the temperature was fitted."),
    "adaptive_ece": Metric("Adaptive calibration error", "The same over bins of equally many images."),
    "adaptive_ece_scaled": Metric("Adaptive calibration error, scaled", "The same after the temperature was fitted."),
    "brier": Metric("Brier score", "Mean squared distance of the probabilities from the truth, 0 … 2.", share=False),
    "brier_scaled": Metric("Brier score, scaled", "The same after the temperature was fitted.", share=False),
    "nll": Metric("Negative log-likelihood", "Mean over images of -log p(label), in nats.", share=False),
    "nll_scaled": Metric("Negative log-likelihood, scaled", "The same after the temperature was fitted.", share=False),
    "corruption_accuracy": Metric("Accuracy, corrupted", "Mean over corruptions and severities."),
    "corruption_ece": Metric("Calibration error, corrupted", "Mean over corruptions and severities."),
    "corruption_ece_scaled": Metric("Calibration error, corrupted, scaled", "With the temperature of clean images."),
    "mce": Metric("mCE", "Mean over corruptions of the error in per cent of the baseline's.", share=False),
    "relative_mce": Metric(
        "Relative mCE", "The same for what is lost by corruption: clean errors are subtracted first.", share=False
    ),
    "knn_accuracy": Metric("kNN accuracy", "Share of images whose nearest neighbors' labels give the right one."),
    "linear_accuracy": Metric("Linear accuracy", "Share named right by a linear classifier on the frozen features."),
    "linear_auroc": Metric("Linear AUROC", "Mean over classes of the AUROC against all others, linear classifier."),
    "linear_auroc_10": Metric("Linear AUROC, 10 % of labels", "The same, trained on a tenth of the labels."),
    "linear_auroc_1": Metric("Linear AUROC, 1 % of labels", "The same, trained on a hundredth of the labels."),
    "knn_auroc": Metric("kNN AUROC", "The same of the nearest neighbors' votes."),
    "linear_ece": Metric("Linear calibration error", "Mean distance of confidence and accuracy, linear classifier."),
    "linear_ece_10": Metric("Linear calibration error, 10 % of labels", "The same, trained on a tenth."),
    "linear_ece_1": Metric("Linear calibration error, 1 % of labels", "The same, trained on a hundredth."),
    "knn_ece": Metric("kNN calibration error", "The same of the nearest neighbors' votes."),
    "linear_accuracy_1": Metric("Linear accuracy, 1 % of labels", "Trained on a class-balanced hundredth."),
    "linear_accuracy_10": Metric("Linear accuracy, 10 % of labels", "Trained on a class-balanced tenth."),
    "finetune_accuracy_1": Metric("Fine-tuned, 1 % of labels", "The whole backbone trained on a hundredth."),
    "finetune_accuracy_10": Metric("Fine-tuned, 10 % of labels", "The whole backbone trained on a tenth."),
    "fewshot_accuracy_1": Metric("5-way 1-shot", "Mean accuracy of episodes of 5 classes, one labelled image each."),
    "fewshot_accuracy_5": Metric("5-way 5-shot", "Mean accuracy of episodes of 5 classes, five labelled images each."),
    "base_accuracy": Metric("Base accuracy", "Share named right of base images that were not trained on."),
    "svm_accuracy": Metric("Linear SVM accuracy", "Share named right by a linear support vector machine."),
    "uniformity": Metric("Uniformity", "Log mean exp(-2 d²) over pairs of images; lower is more even.", share=False),
    "alignment": Metric("Alignment", "Mean squared distance of two views of an image; 0 is best.", share=False),
    "effective_rank": Metric("Effective rank", "How many directions the features use; 1 is collapse.", share=False),
    "feature_std": Metric("Feature spread", "Standard deviation of normalized features; 1/√D is even.", share=False),
    "nmi": Metric(
        "NMI (oracle)", "Agreement of k-means clusters of unknown images with their true classes, k given as the truth."
    ),
    "h3_score": Metric(
        "H³-score (oracle)", "Harmonic mean of known accuracy, unknown accuracy and NMI; needs the true k as NMI does."
    ),
}

_ATTACKED = re.compile(r"(.+)_(linf|l2)_([\d.]+)_accuracy")  # "pgd-20_linf_8_accuracy"
_NOVEL = re.compile(r"novel_accuracy_(\d+)")
_TOLD = re.compile(r"(near|far)_auroc_(.+)")  # "far_auroc_max_softmax"

ORACLE_NOTE = (
    "NMI and the H³-score are oracle figures: k-means is given the true number of private target classes, "
    "which nobody knows in practice. A dash means that the figure is undefined here."
)


def readable(name: str) -> str:
    """Return the name under which a metric is shown."""
    if name in METRICS:
        return METRICS[name].title
    if found := _ATTACKED.fullmatch(name):
        attack, norm, levels = found.groups()
        return f"Accuracy, {attack.upper()} {norm} {levels}/255"
    if found := _NOVEL.fullmatch(name):
        return f"Novel classes, {found[1]}-shot"
    if found := _TOLD.fullmatch(name):
        return f"AUROC, {found[1]} images, {found[2].replace('_', ' ')}"
    return name.replace("_", " ")


def definition(name: str) -> str:
    """Return in a line what a metric is, nothing for one that is not known."""
    if name in METRICS:
        return METRICS[name].definition
    if _NOVEL.fullmatch(name):
        return "Mean accuracy of episodes of novel classes with so many labelled images of each."
    if _ATTACKED.fullmatch(name):
        return "Share named right of the attacked images, radius in gray levels."
    return "Mean over those sets of the AUROC of that unknown-score." if _TOLD.fullmatch(name) else ""


def is_share(name: str) -> bool:
    """Return whether a metric is a fraction that is shown in per cent."""
    if name in METRICS:
        return METRICS[name].share
    known = (_ATTACKED, _TOLD, _NOVEL)
    return name.startswith("finetune_accuracy") or any(pattern.fullmatch(name) for pattern in known)


def number(name: str, value: float | None) -> str:
    """Return a metric's value as text: per cent for the known metrics, four digits for others, a dash for None."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{100 * value:.1f} %" if is_share(name) else f"{value:.4g}"


def points(name: str, value: float | None, sign: str = "+") -> str:
    """Return a difference as text: percentage points (pp) for the known metrics; `sign` as in format strings."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{100 * value:{sign}.1f} pp" if is_share(name) else f"{value:{sign}.4g}"
    return text.replace("-", "\u2212")


def bounds(interval: Interval) -> tuple[float, float] | None:
    """Return (low, high) of an interval; None where there is none."""
    low, high = interval if interval is not None else (math.nan, math.nan)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def interval_text(name: str, interval: Interval, difference: bool = False) -> str:
    """Return an interval as "low … high", a dash where there is none."""
    ends = bounds(interval)
    write = points if difference else number
    return MISSING if ends is None else " … ".join(write(name, bound) for bound in ends)


def ordered(names: set[str]) -> list[str]:
    """Return names of metrics in the order in which they are shown."""
    return [name for name in METRICS if name in names] + sorted(names - METRICS.keys())


def metrics_table(
    metrics: Mapping[str, float | None],
    std: Mapping[str, float | None] | None = None,
    ci95: Mapping[str, Interval] | None = None,
) -> pd.DataFrame:
    """Return one row a metric: name, value, spread and interval where given, and the definition.

    Columns: metric, value, then "std" and "95 % interval" if given, then "what it is". Undefined figures are "–".
    """
    names = ordered(set(metrics))
    columns: dict[str, list[str]] = {
        "metric": [readable(name) for name in names],
        "value": [number(name, metrics[name]) for name in names],
    }
    if std:
        columns["std"] = [number(name, std.get(name)) for name in names]
    if ci95:
        columns["95 % interval"] = [interval_text(name, ci95.get(name)) for name in names]
    columns["what it is"] = [definition(name) for name in names]
    return pd.DataFrame(columns)


def comparison_table(
    arms: Mapping[str, Mapping[str, float | None]],
    std: Mapping[str, Mapping[str, float | None]] | None = None,
    metrics: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return one row an arm, one column a metric, cells "mean" or "mean ± std"; metrics nobody has are left out."""
    defined = {name for values in arms.values() for name, value in values.items() if value is not None}
    names = ordered(defined) if metrics is None else list(metrics)
    rows = []
    for arm, values in arms.items():
        row = {"arm": arm}
        for name in names:
            text = number(name, values.get(name))
            spread = number(name, ((std or {}).get(arm) or {}).get(name))
            both = text != MISSING and spread != MISSING
            row[readable(name)] = f"{text.removesuffix(' %')} ± {spread}" if both else text
        rows.append(row)
    return pd.DataFrame(rows, columns=["arm", *map(readable, names)])


def difference_table(difference: Mapping[str, Any]) -> pd.DataFrame:
    """Return the paired comparison: one row a metric, with the interval and the smallest detectable difference.

    `difference["metrics"]` maps a metric to the fields of `uda.metrics.PairedDifference` that are used here (mean,
    ci95, smallest_detectable) and to both arms' means ("with", "without"); each may be missing or None. A verdict is
    given only where there is an interval: it either leaves zero out or it does not.
    """
    values: Mapping[str, Mapping[str, Any]] = difference.get("metrics", {})
    return pd.DataFrame(
        [{"metric": readable(name)} | difference_row(name, values[name]) for name in ordered(set(values))]
    )


def difference_row(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of one metric's paired comparison; entry: as `difference_table` takes it."""
    mean = entry.get("mean")
    ends = bounds(entry.get("ci95"))
    if ends is None:
        verdict = "no interval"
    elif ends[0] > 0 or ends[1] < 0:
        verdict = "higher" if ends[0] > 0 else "lower"
    else:
        verdict = "no difference shown"
    return {
        "with": number(name, entry.get("with")),
        "without": number(name, entry.get("without")),
        "difference": points(name, mean),
        "95 % interval": interval_text(name, entry.get("ci95"), difference=True),
        "smallest detectable": points(name, entry.get("smallest_detectable"), ""),
        "verdict": verdict,
    }


def label_counts(predictions: np.ndarray, confidences: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return how many images got which label, the most frequent first: label, images, share, median confidence.

    `predictions` (N,) index `names`, the last of which is "unknown"; labels no image got are left out.
    """
    counts = np.bincount(predictions, minlength=len(names))
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] > 0]
    return pd.DataFrame(
        {
            "label": [names[i] for i in order],
            "images": [int(counts[i]) for i in order],
            "share": [f"{100 * counts[i] / len(predictions):.1f} %" for i in order],
            "median confidence": [f"{np.median(confidences[predictions == i]):.2f}" for i in order],
        }
    )


def unknown_share_text(share: Mapping[str, float]) -> str:
    """Return in a sentence how much of the target is unknown; share: `unknown_share` of `metrics.json`."""
    estimate, low, high = (f"{100 * share[name]:.0f}" for name in ("estimate", "low", "high"))
    return (
        f"Estimated without labels: {estimate} % of the target are outside the known classes "
        f"(95 % interval, over groups of similar images: {low} … {high} %)."
    )


def confusions_table(y_true: np.ndarray, y_pred: np.ndarray, names: Sequence[str], top: int = 10) -> pd.DataFrame:
    """Return the most frequent mistakes: true label, predicted label, images, share of the true class."""
    wrong = y_true != y_pred
    pairs, counts = np.unique(np.stack([y_true[wrong], y_pred[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:top]
    size = np.bincount(y_true, minlength=len(names))
    rows = [
        (names[pairs[i, 0]], names[pairs[i, 1]], int(counts[i]), f"{100 * counts[i] / size[pairs[i, 0]]:.1f} %")
        for i in order
    ]
    return pd.DataFrame(rows, columns=["is", "was taken for", "images", "share of its class"])
