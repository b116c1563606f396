"""Robustness and uncertainty, as an experiment: a training (or none), and the report on what came of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from uda.datasets.packed import PackedImages
from uda.datasets.streams import Images, Subset
from uda.errors import UserError
from uda.experiments.content import accuracy_differences, groups_content, interval_kind
from uda.experiments.experiment import Experiment, SeedResult, Settings, loop_options
from uda.experiments.learned import seen_before
from uda.experiments.parts import (
    check_moves,
    check_objectives,
    check_sizes,
    given_by,
    pixel_view,
    training_warnings,
    write_backbone,
)
from uda.experiments.predict import predictions_table
from uda.experiments.robustness.assemble import Inputs, build_task, noise_rate, prepare_inputs, robust_data, tested_rows
from uda.experiments.robustness.classifier import (
    check_classifier,
    give_classifier,
    learned_warnings,
    saved_run,
    subject_of,
    write_classifier,
)
from uda.experiments.robustness.estimate import time_lines
from uda.experiments.robustness.examination import (
    baseline_of,
    check_autoattack,
    corruption_names,
    examined,
    plan_of,
    setting,
    settings_text,
)
from uda.experiments.robustness.images import Found, Loaded, find_images, load_images
from uda.experiments.robustness.one_class import check_one_class, interval_of, write_one_class
from uda.experiments.robustness.outputs import write_findings
from uda.experiments.robustness.sample import corrupted_figure
from uda.experiments.seed import page_frame, seed_frame
from uda.experiments.seen import Seen
from uda.nn.encoder import TimmEncoder, create_encoder
from uda.probes.robustness import Examined, Findings, examine
from uda.recipe import RobustnessRecipe
from uda.ssl import Need
from uda.ssl.views import NoAugmentation, to_bytes
from uda.tasks import find_method
from uda.tasks.robustness import OneClass, OneClassTask, Robust, RobustData
from uda.training.checkpoint import Identity
from uda.training.history import History
from uda.training.loop import train
from uda.training.outputs import write_text


class RobustnessExperiment(Experiment):
    """Images with classes, a method with objectives, and what is left of its answers when the images change."""

    headline: ClassVar[str] = "corruption_accuracy"

    def check(self, recipe: RobustnessRecipe) -> None:
        """Refuse parts that do not fit together."""
        check_moves(recipe, "training for robustness", ", or give --steps 0 for the report of a probe on it")
        check_sizes(recipe)
        if recipe.method["name"] == OneClass.name:
            check_one_class(recipe)
        if recipe.data.noise == "none" and recipe.data.noise_rate is not None:
            raise UserError(
                "data.noise_rate says how many labels go wrong; say how by data.noise=symmetric, or leave it out"
            )
        plan_of(recipe.report)
        corruption_names(recipe.report)
        baseline_of(recipe.report, recipe.data.image_size)

    def find(self, recipe: RobustnessRecipe, settings: Settings) -> Found:
        """Find the images and the weights, and what the backbone gives to objectives."""
        found = find_images(recipe.data, settings.download)
        check_autoattack(recipe.report, len(found.pool.table.classes))
        check_classifier(recipe, found.pool.table.classes)
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        find_method("robustness", recipe.method["name"])(encoder, 2, **recipe.method_options)
        given = Need.INDEX | Need.PIXELS | Need.LABELS | given_by(encoder)
        check_objectives(recipe, given, f"task 'robustness' with backbone '{recipe.encoder.backbone}'")
        warnings = [*found.warnings, *training_warnings(recipe, len(found.pool.table))]
        if found.pool.test is None and saved_run(recipe) is None:
            warnings += seen_before(recipe.encoder.weights, recipe.data.source)
        return replace(found, warnings=tuple(warnings))

    def load(self, found: Found, recipe: RobustnessRecipe, settings: Settings) -> Loaded:
        """Decode the images; those of a saved run's training are not to be told from others here, so that is said."""
        loaded = load_images(found, recipe.data, settings.progress)
        run = saved_run(recipe)
        if run is None or recipe.report.class_map is not None:
            return loaded
        return replace(loaded, warnings=(*loaded.warnings, *learned_warnings(run, recipe, loaded.fingerprints)))

    def prepare(self, recipe: RobustnessRecipe, loaded: Loaded, settings: Settings) -> Inputs:
        """Lay out squares."""
        return prepare_inputs(recipe, loaded, settings)

    def build(self, recipe: RobustnessRecipe, loaded: Loaded, inputs: Inputs, seed: int) -> Robust:
        """Return the task with its initial weights."""
        data = robust_data(recipe, loaded, inputs, seed)
        if recipe.method["name"] != OneClass.name:  # one class: what evaluation tells is all there is
            data = replace(data, examined=images_of(recipe, data, loaded, inputs))
        return build_task(recipe, data, seed)

    def label(self, recipe: RobustnessRecipe) -> str:
        """Return the method's name with its objectives and the noise of its labels."""
        name = "+".join([recipe.method["name"], *recipe.objectives]) if recipe.training.steps else "as it comes"
        name += f" of {recipe.method['normal']}" if recipe.method.get("normal") else ""
        noise = f"{recipe.data.noise} noise {noise_rate(recipe):g}" if recipe.data.noise != "none" else ""
        return f"{name} ({noise})" if noise else name

    def look_before(
        self, recipe: RobustnessRecipe, loaded: Loaded, inputs: Inputs, task: Robust, settings: Settings
    ) -> dict[str, Any]:
        """Say how long training and the report will take; a resumed run has been told."""
        if recipe.preflight and not settings.resume:
            with torch.random.fork_rng():
                for line in time_lines(recipe, task, settings):
                    settings.say(line)
        return {}

    def fit(
        self, recipe: RobustnessRecipe, task: Robust, folder: Path, identity: Identity, seed: int, settings: Settings
    ) -> None:
        """Train the task, or without steps give the backbone a classifier; then look at everything."""
        task.to(settings.device)
        if not recipe.training.steps:
            settings.say(give_classifier(recipe, task))
        train(task, loop_options(recipe, seed, settings), folder, identity, settings.device, settings.resume)
        if task.data.examined is None:
            return
        settings.say("robustness report")
        task.findings = examine(
            subject_of(task),
            task.data.examined,
            plan_of(recipe.report, recipe.training.batch_size),
            baseline_of(recipe.report, recipe.data.image_size),
            settings.say if settings.progress else lambda text: None,
        )

    def content(
        self, folder: Path, recipe: RobustnessRecipe, loaded: Loaded, task: Robust, seed: int
    ) -> dict[str, Any]:
        """Return the figures of the report."""
        learned = task.data.rows
        images = {"pool": len(task.data.labels), "train": len(learned), "validation": len(task.data.validation)}
        metrics, more = task.last_metrics, {}
        if isinstance(task, OneClassTask):
            ci95 = {"auroc": interval_of(task)}
            images["test"] = len(task.data.test_labels)
        else:
            findings = _findings(task)
            metrics = findings.metrics()
            ci95 = {name: None if ends is None else list(ends) for name, ends in findings.intervals().items()}
            images |= {"test": len(findings.clean.right), "attacked": len(findings.clean_attacked)}
            baseline = None if findings.baseline is None else findings.baseline.name
            more = {"temperature": findings.temperature, "baseline": baseline}
        kind, device = interval_kind(task.data.test_groups is not None), task.threshold.device
        frame = seed_frame(recipe, self.label(recipe), seed, loaded, metrics, ci95, kind, device)
        wrong = float((task.data.labels != task.data.true_labels)[learned].mean()) if len(learned) else None
        examined = recipe.report.model_dump_json() + str(recipe.data.image_size)
        frame["fingerprints"]["report"] = hashlib.sha256(examined.encode()).hexdigest()[:32]
        more |= groups_content(task.data.test_groups)
        return frame | {"source": loaded.title, "images": images, "wrong_labels": wrong} | more

    def write(
        self,
        folder: Path,
        recipe: RobustnessRecipe,
        loaded: Loaded,
        inputs: Inputs,
        task: Robust,
        content: dict[str, Any],
    ) -> None:
        """Write backbone, classifier, predictions, tables and the page."""
        assert isinstance(task.encoder, TimmEncoder)
        write_backbone(folder / "backbone.safetensors", task.encoder)
        if not isinstance(task, OneClassTask):
            write_classifier(folder, task)
        side = loaded.pool.test or loaded.pool.train
        own_test = loaded.pool.test is not None
        rows = np.arange(len(side.table)) if own_test else tested_rows(recipe, loaded)
        paths = tuple(side.table.paths[row] for row in rows)
        frame = page_frame(recipe, loaded, content, self.origin(task, inputs), task.seed)
        if isinstance(task, OneClassTask):
            write_one_class(folder, recipe, loaded, task, paths, frame)
            return
        assert task.last_answer is not None
        table = predictions_table(paths, task.last_answer, loaded.class_names)
        write_text(folder / "predictions.csv", table.to_csv(index=False))
        frame["history"] = History(folder / "history.csv", ()).read()
        sample = corrupted_figure(task.data.examined)
        own = recipe.report, recipe.data.image_size
        write_findings(folder, _findings(task), frame, settings_text(*own), setting(*own), sample)

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of differences over images, where both arms were tested on the same ones."""
        if isinstance(ours.task, OneClassTask) or isinstance(theirs.task, OneClassTask):
            return {}
        found, others = (_findings(arm.task) for arm in (ours, theirs))
        same = ours.content["fingerprints"] == theirs.content["fingerprints"]
        return accuracy_differences(found.right(), others.right(), ours.seed, found.belonging()) if same else {}


def images_of(recipe: RobustnessRecipe, data: RobustData, loaded: Loaded, inputs: Inputs) -> Examined:
    """Return what the report looks at, as the model sees it."""
    view = pixel_view(recipe)

    def seen(images: Images) -> Seen:
        return Seen(images, view)

    return examined(
        recipe.report,
        (seen(data.test_images), data.test_labels),
        recipe.data.image_size,
        data.class_names,
        (seen(Subset(data.images, data.validation)), data.true_labels[data.validation]),
        (seen(Subset(data.images, data.rows)), data.labels[data.rows]),
        {} if inputs.near is None or loaded.near is None else {loaded.near.table.name: seen(inputs.near)},
        {} if inputs.far is None or loaded.far is None else {loaded.far.table.name: seen(inputs.far)},
        partial(_as_stored, recipe, view),
        data.test_groups,
    )


def _as_stored(recipe: RobustnessRecipe, view: NoAugmentation, images: Tensor) -> Tensor:
    """Return what the model sees of images (B, 3, H, W) uint8 that are read like those of the pool."""
    packed = PackedImages.from_tensor(images)
    return to_bytes(view.plain(packed.square(np.arange(len(images)), recipe.data.packed_size, recipe.data.fit)))


def _findings(task: Robust) -> Findings:
    assert task.findings is not None  # a run ends with the report
    return task.findings
