"""What a finished seed leaves behind, and what two arms show side by side."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from uda.datasets.sampling import spread
from uda.datasets.streams import Subset
from uda.experiments.content import groups_content, interval_kind
from uda.experiments.dg.assemble import method_label
from uda.experiments.dg.domains import Domains
from uda.experiments.dg.selection import selection_content
from uda.experiments.experiment import SeedResult
from uda.experiments.parts import thumbnails, write_backbone
from uda.experiments.predict import predictions_table
from uda.experiments.seed import page_frame, seed_frame
from uda.metrics import accuracy_interval
from uda.nn.encoder import TimmEncoder
from uda.probes.answer import Answer
from uda.probes.cam import activation_maps
from uda.recipe import DgRecipe
from uda.report.cam import activation_figure
from uda.report.dg import DgReport, select_examples, write_dg_report
from uda.report.page import Figure, Section
from uda.report.published import matching, with_notes
from uda.ssl.views import to_bytes
from uda.tasks.dg import DomainGeneralization
from uda.training.history import History
from uda.training.outputs import write_text

LEAVE_ONE_OUT = "leave one domain out"
"""The setting of published figures: all other domains of a data set are learned from."""

_SHOWN = 8
"""Images whose class activation maps are drawn."""


def seed_content(
    folder: Path, recipe: DgRecipe, domains: Domains, task: DomainGeneralization, seed: int
) -> dict[str, Any]:
    """Return what a seed's `metrics.json` holds; nothing in it depends on when or how fast the run was."""
    groups = task.last_groups
    intervals = {
        name: accuracy_interval(right, np.ones(len(right), bool), groups.get(name))
        for name, right in task.last_right.items()
    }
    ci95 = {name: None if i.low is None or i.high is None else [i.low, i.high] for name, i in intervals.items()}
    history = History(folder / "history.csv", ()).read()
    images = {"source": len(domains.labels), "validation": len(task.data.held_out)}
    device = task.threshold.device
    kind = interval_kind(bool(groups))
    frame = seed_frame(recipe, method_label(recipe), seed, domains, task.last_metrics, ci95, kind, device)
    return (
        frame
        | groups_content(groups.get("accuracy"))
        | {
            "chosen": selection_content(recipe, history),
            "target_images_used": recipe.adapt,
            "setting": LEAVE_ONE_OUT if domains.dataset and not recipe.adapt else None,
            "source": domains.source_name,
            "target": domains.target.table.name,
            "domains": [side.table.name for side in domains.sources],
            "images": images | {"target": len(domains.target.table)},
        }
    )


def write_seed_outputs(
    folder: Path, recipe: DgRecipe, domains: Domains, task: DomainGeneralization, content: dict[str, Any], origin: str
) -> None:
    """Write `backbone.safetensors`, `predictions.csv` and `report.html` of one seed."""
    assert isinstance(task.encoder, TimmEncoder)
    write_backbone(folder / "backbone.safetensors", task.encoder)
    answer, labels = _answer(task), task.data.target_labels
    table = predictions_table(domains.target.table.paths, answer, domains.class_names)
    write_text(folder / "predictions.csv", table.to_csv(index=False))
    groups = select_examples(answer.predictions, answer.confidences, labels)
    rows = np.unique(np.concatenate(list(groups.values())))
    sample = spread(len(task.data.source), 1000)
    published = matching(recipe.task, domains.dataset, content["setting"])
    write_dg_report(
        folder / "report.html",
        DgReport(
            **page_frame(recipe, domains, content, origin, task.seed),
            history=History(folder / "history.csv", ()).read(),
            predictions=answer.predictions,
            confidences=answer.confidences,
            labels=labels,
            images=thumbnails(recipe, domains.target, rows).numpy(),
            rows=rows,
            features=answer.features,
            source_features=task.answer(Subset(task.data.source, sample)).features,
            source_labels=task.data.labels[sample],
            selection=content["chosen"],
            target_used=recipe.adapt,
            pair=(str(domains.dataset), domains.target.table.name.rpartition("/")[2]),
            published=with_notes(published, recipe.encoder.model_dump(), recipe.training.steps, recipe.data.image_size),
        ),
    )


def activations_section(ours: SeedResult, theirs: SeedResult) -> Section:
    """Return where both arms see the true class (or, without labels, our answer) in images of the unseen domain.

    The images are spread evenly over the table; neither arm's success decides which are shown.
    """
    title = "Class activation maps"
    data = ours.task.data
    rows = spread(len(data.target), _SHOWN)
    labels = data.target_labels[rows]
    classes = np.where(labels >= 0, labels, _answer(ours.task).predictions[rows])
    columns, captions = [], [[data.class_names[number]] for number in classes]
    for arm in (ours, theirs):
        task = arm.task
        views = task.augment.plain(task.data.target.batch(rows).to(task.threshold.device))
        wanted = torch.from_numpy(classes).to(views.device)
        maps = activation_maps(task.encoder, task.method.classifier, views, wanted)
        if maps is None:
            return Section(title, "They want features that are the mean of a map, which this backbone does not give.")
        columns.append((arm.content["method"], maps.numpy()))
        for caption, number in zip(captions, _answer(task).predictions[rows], strict=True):
            caption.append(f"says {data.class_names[number]}")
    pixels = to_bytes(ours.task.augment.plain(data.target.batch(rows))).cpu().numpy()
    text = (
        "Where each model sees evidence for the class below the image (Zhou et al., CVPR 2016), on the same images of "
        "the held-out domain, evenly taken; each map has its own scale."
    )
    png = activation_figure(pixels, columns, captions)
    caption_text = "The image and its class, and the evidence with what the model says"
    return Section(title, text, [Figure(png, caption_text, "Class activation maps of both arms")])


def _answer(task: DomainGeneralization) -> Answer:
    assert task.last_answer is not None  # training ends with an evaluation
    return task.last_answer
