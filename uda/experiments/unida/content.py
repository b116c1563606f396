"""What `metrics.json` says of universal domain adaptation."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from uda.experiments.content import groups_content, interval_kind
from uda.experiments.predict import UNKNOWN
from uda.experiments.seed import seed_frame
from uda.experiments.selection import selection_content
from uda.experiments.unida.assemble import method_label
from uda.experiments.unida.domains import Domains
from uda.metrics import UNIDA_METRICS, bootstrap_ci, unida_metrics
from uda.probes.rejection import otsu_or_none
from uda.probes.unknown_share import unknown_share
from uda.recipe import UnidaRecipe
from uda.tasks.unida import Answer, UniDA


def seed_content(
    recipe: UnidaRecipe, domains: Domains, task: UniDA, answer: Answer, seed: int, history: pd.DataFrame
) -> dict[str, Any]:
    """Return what a seed's `metrics.json` holds; nothing in it depends on when or how fast the run was."""
    metrics = task.measure(answer)
    images = {"source": len(domains.source.table), "target": len(domains.target.table)}
    if domains.labelled is not None:
        images["labelled_target"] = len(domains.labelled.table)
    ci95, device = image_bootstrap(task, answer, seed), task.threshold.device
    groups = task.data.target_groups
    kind = interval_kind(groups is not None, "target images")
    frame = seed_frame(recipe, method_label(recipe), seed, domains, metrics, ci95, kind, device)
    return (
        frame
        | groups_content(groups)
        | {
            "rejection": {"rule": recipe.rejection, "threshold": answer.threshold},
            "by_rejection": task.measure_by_rule(answer),
            "answers": answer_counts(answer, domains.class_names),
            "unknown_share": share_of(answer, task.method.fixed_threshold, seed),
            "selection": selection_content(recipe.selection, history, metrics["universal_score"], len(task.held_out)),
            "source": domains.source.table.name,
            "target": domains.target.table.name,
            "setting": domains.sets.setting,
            "images": images,
        }
    )


def answer_counts(answer: Answer, class_names: tuple[str, ...]) -> dict[str, int]:
    """Return how many target images got each label, `unknown` last."""
    counts = np.bincount(answer.predictions, minlength=len(class_names) + 1)
    return {name: int(count) for name, count in zip((*class_names, UNKNOWN), counts, strict=True)}


def share_of(answer: Answer, published: float, seed: int) -> dict[str, float] | None:
    """Return how much of the target is unknown, as far as can be said without its labels.

    It is what `otsu_or_none` rejects, whatever rule the run has: other rules cut where nothing is unknown too, and no
    interval makes up for that. None for a method whose published threshold is zero: its scores are relative to their
    own mean, which cannot say that nothing is unknown.
    """
    if published <= 0:
        return None
    rejected = answer.scores > otsu_or_none(answer.scores, published)
    return asdict(unknown_share(answer.features, rejected, answer.probabilities.shape[1], seed))


def image_bootstrap(
    task: UniDA, answer: Answer, seed: int, minus: Answer | None = None, resamples: int = 500
) -> dict[str, list[float] | None]:
    """Return 95 % intervals over resampled target images, or groups of them; None for NMI and H³ (k-means anew).

    minus: another model's answer about the same images; then the intervals are those of the paired difference.
    """
    labels, unknown = task.data.target_labels, task.data.n_classes
    known = np.minimum(labels, unknown)

    def measure(of: Answer, rows: np.ndarray) -> dict[str, float | None]:
        return unida_metrics(known[rows], of.predictions[rows], of.closed[rows], of.scores[rows], unknown)

    measured: dict[int, Mapping[str, float | None]] = {}

    def figures(rows: np.ndarray) -> Mapping[str, float | None]:
        # Every figure has the same resamples, and one pass gives them all.
        key = hash(rows.tobytes())
        if key not in measured:
            own = measure(answer, rows)
            measured[key] = own if minus is None else _minus(own, measure(minus, rows))
        return measured[key]

    def figure(name: str) -> Callable[[np.ndarray], float | None]:
        return lambda rows: figures(rows)[name]

    if not (labels >= 0).any():
        return dict.fromkeys(UNIDA_METRICS)
    found: dict[str, list[float] | None] = {}
    for name in UNIDA_METRICS:
        if name in ("nmi", "h3_score"):
            found[name] = None
            continue
        interval = bootstrap_ci(figure(name), len(labels), resamples, seed, task.data.target_groups)
        found[name] = None if interval.low is None or interval.high is None else [interval.low, interval.high]
    return found


def _minus(a: Mapping[str, float | None], b: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return a − b figure by figure; None where either is undefined."""
    found: dict[str, float | None] = {}
    for name, first in a.items():
        second = b[name]
        found[name] = None if first is None or second is None else first - second
    return found
