"""Probing, as an experiment: any timm model or exported backbone, on any labelled images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uda.errors import UserError
from uda.experiments.content import accuracy_differences, interval_kind
from uda.experiments.experiment import Experiment, SeedResult, Settings
from uda.experiments.learned import seen_before
from uda.experiments.parts import (
    check_sizes,
    check_unused,
    random_view,
    starting_encoder,
    training_view,
    write_backbone,
)
from uda.experiments.pool import PoolFound, PoolLoaded, find_pool, load_pool, usable_labels
from uda.experiments.pretrain.experiment import Inputs, groups_content, prepare_pool, same_images
from uda.experiments.probe.finetune import finetune
from uda.experiments.seed import page_frame, seed_frame
from uda.nn.encoder import create_encoder
from uda.nn.layer import LayerEncoder
from uda.recipe import ProbeRecipe
from uda.report.attention import attention_figure, cls_attention
from uda.report.probe import ProbeReport, write_probe_report
from uda.ssl.views import NoAugmentation, to_bytes
from uda.tasks.pretrain import Pool
from uda.tasks.probe import Probe, Probing, check_classes, held_out
from uda.training.checkpoint import Identity
from uda.training.history import History

OVER_EPISODES = "; over episodes for few-shot figures"
"""What the kind of a probe's intervals says behind it."""
_ATTENDED = 8
"""Images whose attention maps the report shows."""


class ProbeExperiment(Experiment):
    """An encoder and labelled images; what its features are worth."""

    headline: ClassVar[str] = "linear_accuracy"

    def check(self, recipe: ProbeRecipe) -> None:
        """Refuse parts that do not fit together."""
        if recipe.objectives:
            raise UserError("probing trains no objective; leave --objective out, or pre-train by --task pretrain")
        if recipe.encoder.freeze or recipe.encoder.adapter:
            raise UserError("probing never moves the backbone; leave --freeze and encoder.adapter out")
        Probing(**recipe.method_options)
        check_sizes(recipe)
        check_unused(recipe, "backbone_lr_scale", "in task 'probe'")

    def find(self, recipe: ProbeRecipe, settings: Settings) -> PoolFound:
        """Find the images and the weights."""
        found = find_pool(recipe.data, settings.download)
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        layer = Probing(**recipe.method_options).layer
        if layer:
            LayerEncoder(encoder, layer)
        if found.test is None:
            seen = seen_before(recipe.encoder.weights, recipe.data.source)
            found = replace(found, warnings=(*found.warnings, *seen))
        if recipe.data.tiles is None:  # of which there are more than images
            _probed_labels(recipe, found.table.labels, found.test is not None, recipe.seeds[0])
        return found

    def load(self, found: PoolFound, recipe: ProbeRecipe, settings: Settings) -> PoolLoaded:
        """Decode the images."""
        return load_pool(found, recipe.data, settings.progress)

    def prepare(self, recipe: ProbeRecipe, loaded: PoolLoaded, settings: Settings) -> Inputs:
        """Lay out squares."""
        return prepare_pool(recipe, loaded, settings)

    def build(self, recipe: ProbeRecipe, loaded: PoolLoaded, inputs: Inputs, seed: int) -> Probe:
        """Return the task."""
        table = loaded.train.table
        view = training_view(recipe, inputs.train)
        assert isinstance(view, NoAugmentation)
        pool = Pool(
            images=inputs.train,
            labels=table.labels,
            usable=_probed_labels(recipe, table.labels, loaded.test is not None, seed, loaded.train_groups),
            class_names=table.classes,
            test_images=inputs.test,
            test_labels=loaded.test.table.labels if loaded.test else table.labels[:0],
            groups=loaded.train_groups,
            test_groups=loaded.test_groups,
        )
        probing = Probing(**recipe.method_options)
        return Probe(starting_encoder(recipe, seed), probing, pool, view, random_view(recipe, inputs.train), seed)

    def label(self, recipe: ProbeRecipe) -> str:
        """Return the subject's name."""
        return f"{recipe.encoder.backbone}, weights {recipe.encoder.weights or 'pretrained'}"

    def fit(
        self, recipe: ProbeRecipe, task: Probe, folder: Path, identity: Identity, seed: int, settings: Settings
    ) -> None:
        """Compute the features, ask the probes, and fine-tune where that was asked for."""
        task.to(settings.device)
        row: dict[str, Any] = {"step": 0} | task.evaluate()
        for spoken, share in task.probing.finetune.items():
            name = f"finetune_accuracy_{spoken}"
            figure = finetune(recipe, task, share, folder / name, identity, seed, settings)
            task.figures[name] = figure
            row[name] = figure.value
        history = History(folder / "history.csv", ())
        history.cut(0)
        history.append([row])

    def content(self, folder: Path, recipe: ProbeRecipe, loaded: PoolLoaded, task: Probe, seed: int) -> dict[str, Any]:
        """Return every figure with its interval."""
        metrics = {name: figure.value for name, figure in task.figures.items()}
        ci95 = {name: figure.ci95 for name, figure in task.figures.items()}
        kind = f"{interval_kind(loaded.groups is not None)}{OVER_EPISODES}"
        device = next(task.encoder.parameters()).device
        return seed_frame(recipe, self.label(recipe), seed, loaded, metrics, ci95, kind, device) | {
            "steps": recipe.training.steps if task.probing.finetune else 0,
            "source": loaded.title,
            "images": {"train": len(task.train_rows), "test": len(task.test_rows)},
            **groups_content(loaded),
        }

    def write(
        self,
        folder: Path,
        recipe: ProbeRecipe,
        loaded: PoolLoaded,
        inputs: Inputs,
        task: Probe,
        content: dict[str, Any],
    ) -> None:
        """Write the backbone and the report."""
        write_backbone(folder / "backbone.safetensors", task.encoder)
        assert task.test_features is not None
        side = loaded.test or loaded.train
        labels = side.table.labels[task.test_rows]
        write_probe_report(
            folder / "report.html",
            ProbeReport(
                **page_frame(recipe, loaded, content, task.encoder.origin, task.seed),
                features=task.test_features.numpy(),
                labels=labels,
                attention=_attention(task),
            ),
        )

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of the differences in accuracy, where both subjects were tested on the same images."""
        tested = np.array_equal(ours.task.test_rows, theirs.task.test_rows)
        if ours.content["fingerprints"] != theirs.content["fingerprints"] or not tested:
            return {}
        if not same_images(ours.task.pool, theirs.task.pool):
            return {}
        right = [
            {name: figure.right for name, figure in arm.task.figures.items() if figure.right is not None}
            for arm in (ours, theirs)
        ]
        groups = ours.task.test_groups
        belong = {} if groups is None else dict.fromkeys(right[0], groups)
        return accuracy_differences(right[0], right[1], ours.seed, belong)


def _probed_labels(
    recipe: ProbeRecipe, labels: np.ndarray, own_split: bool, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the labels (N,) that probes may learn from: all, or the share asked for of those not tested on."""
    if own_split:
        given = labels
        check_classes(labels)
    else:
        given = labels.copy()
        given[held_out(labels)] = -1
    return usable_labels(given, recipe.data.labels, seed, groups)


def _attention(task: Probe) -> bytes | None:
    """Return the picture of what a ViT's class token attends to in a few test images; None for other backbones."""
    rows = task.test_rows[np.linspace(0, len(task.test_rows) - 1, min(_ATTENDED, len(task.test_rows))).astype(np.int64)]
    images = task.pool.images if task.pool.test_images is None else task.pool.test_images
    views = task.view.plain(images.batch(rows).to(next(task.encoder.parameters()).device))
    try:
        maps = cls_attention(task.encoder, views)
    except UserError:  # no ViT, or one without a class token
        return None
    return attention_figure(to_bytes(views).cpu().numpy(), maps)
