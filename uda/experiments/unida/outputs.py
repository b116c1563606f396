"""What a finished seed leaves behind: backbone, predictions and report."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from uda.datasets.sampling import spread
from uda.datasets.streams import Subset
from uda.experiments.parts import thumbnails, write_backbone
from uda.experiments.predict import predictions_table
from uda.experiments.seed import page_frame
from uda.experiments.unida.assemble import Inputs
from uda.experiments.unida.candidates import CANDIDATES, candidates_part, find_candidates
from uda.experiments.unida.domains import Domains
from uda.experiments.unida.preflight import lines, sides
from uda.nn.encoder import TimmEncoder
from uda.recipe import UnidaRecipe
from uda.report.page import Section
from uda.report.preflight import preflight_section
from uda.report.unida import UnidaReport, select_thumbnails, write_unida_report
from uda.tasks.unida import Answer, UniDA
from uda.training.history import History
from uda.training.outputs import write_text

PAIRS = 6
"""Near-duplicates of each kind that the report shows."""


def write_seed_outputs(
    folder: Path,
    recipe: UnidaRecipe,
    domains: Domains,
    inputs: Inputs,
    task: UniDA,
    answer: Answer,
    content: dict[str, Any],
    origin: str,
) -> None:
    """Write `backbone.safetensors`, `predictions.csv`, `candidates.csv` and `report.html` of one seed."""
    write_backbone(folder / "backbone.safetensors", backbone_of(task, inputs))
    table = predictions_table(domains.target.table.paths, answer, domains.class_names)
    write_text(folder / "predictions.csv", table.to_csv(index=False))
    candidates = find_candidates(domains, answer)
    write_text(folder / CANDIDATES, candidates.table.to_csv(index=False))
    labels = np.minimum(task.data.target_labels, len(domains.class_names))
    known = labels if (labels >= 0).any() else None
    shown = select_thumbnails(answer.scores, answer.predictions, answer.confidences, answer.threshold, known)
    sample = spread(len(task.data.source), 1000)
    write_unida_report(
        folder / "report.html",
        UnidaReport(
            **page_frame(recipe, domains, content, origin, task.seed),
            history=History(folder / "history.csv", ()).read(),
            scores=answer.scores,
            threshold=answer.threshold,
            fixed_threshold=task.method.fixed_threshold,
            rejection=recipe.rejection,
            predictions=answer.predictions,
            confidences=answer.confidences,
            labels=known,
            target_images=thumbnails(recipe, domains.target, shown),
            thumbnail_rows=shown,
            target_paths=domains.target.table.paths,
            source_features=task.encode(Subset(task.data.source, sample))[0],
            source_labels=task.data.source_labels[sample],
            target_features=answer.features,
            selection=content["selection"],
            before=before_training(recipe, domains, content.get("preflight")),
            candidates=candidates_part(candidates, recipe, domains, folder),
            unknown_share=content["unknown_share"],
        ),
    )


def before_training(recipe: UnidaRecipe, domains: Domains, found: dict[str, Any] | None) -> Section | None:
    """Return the report's section of what was seen before training, with the nearest of the near-duplicates."""
    if not found:
        return None
    shown = {}
    for kind, pair in sides(domains).items():
        rows = np.array([near["rows"] for near in found["near_duplicates"][kind]["nearest"][:PAIRS]], dtype=np.int64)
        both = [thumbnails(recipe, side, part) for side, part in zip(pair, rows.reshape(-1, 2).T, strict=True)]
        shown[kind] = torch.stack(both, dim=1).flatten(0, 1)
    return preflight_section(found, lines(found), shown)


def backbone_of(task: UniDA, inputs: Inputs) -> TimmEncoder:
    """Return the timm model of a run: the task's own, or in frozen mode the one that computed the features."""
    backbone = inputs.backbone or task.encoder
    assert isinstance(backbone, TimmEncoder)
    return backbone
