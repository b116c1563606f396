"""Few-shot boosting, as an experiment."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from uda.datasets.sampling import spread
from uda.datasets.streams import Concatenated, Subset
from uda.errors import UserError, unknown_name
from uda.experiments.content import accuracy_differences
from uda.experiments.experiment import Experiment, SeedResult, Settings, loop_options
from uda.experiments.fewshot.assemble import (
    Inputs,
    build_task,
    check_episodes,
    fewshot_data,
    held_out_rows,
    prepare_inputs,
)
from uda.experiments.fewshot.images import Found, Loaded, find_classes, labels_of, load_classes
from uda.experiments.learned import same_source
from uda.experiments.parts import (
    check_moves,
    check_objectives,
    check_sizes,
    given_by,
    thumbnails,
    training_warnings,
    write_backbone,
)
from uda.experiments.preflight import for_each, supervised_time
from uda.experiments.seed import page_frame, seed_frame
from uda.metrics import accuracy_interval
from uda.nn.encoder import TimmEncoder, create_encoder
from uda.probes.episodes import CLASSIFIERS
from uda.recipe import FewshotRecipe
from uda.report.fewshot import FewshotReport, write_fewshot_report
from uda.ssl import Need
from uda.tasks import find_method
from uda.tasks.fewshot import Fewshot
from uda.training.history import History

_SHOWN, _QUERIES_SHOWN = 1500, 3


class FewshotExperiment(Experiment):
    """Base classes, a method with objectives, and novel classes told by a few images each."""

    headline: ClassVar[str] = "novel_accuracy_1"

    def check(self, recipe: FewshotRecipe) -> None:
        """Refuse parts that do not fit together."""
        check_moves(recipe, "few-shot training", ", or test features as they come with --steps 0")
        named = recipe.episodes.classifier
        if named is not None and named not in CLASSIFIERS:
            raise unknown_name("episode classifier", named, CLASSIFIERS, "set one by episodes.classifier")
        if len(set(recipe.episodes.shots)) < len(recipe.episodes.shots):
            raise UserError(f"episodes.shots={recipe.episodes.shots} has a number twice; name each once")
        if recipe.data.unlabelled is not None and not recipe.objectives:
            raise UserError("--unlabelled images join the self-supervised objectives; add one by --objective")
        check_sizes(recipe)

    def find(self, recipe: FewshotRecipe, settings: Settings) -> Found:
        """Find the classes and the weights, and that there is enough for episodes of both trainings and tests."""
        found = find_classes(recipe.data, settings.download)
        encoder = create_encoder(recipe.encoder.backbone, recipe.encoder.weights, recipe.data.image_size)
        check_episodes(recipe, found.novel)
        made = find_method("fewshot", recipe.method["name"])(encoder, len(found.base.classes), **recipe.method_options)
        if recipe.training.steps:
            made.sampler(labels_of(found.base, held_out_rows(recipe, found.base)), recipe.training.batch_size, 0)(0)
        labels = Need.NOTHING if recipe.data.unlabelled else Need.LABELS
        given = Need.INDEX | Need.PIXELS | labels | given_by(encoder)
        check_objectives(recipe, given, f"task 'fewshot' with backbone '{recipe.encoder.backbone}'")
        warnings = [*found.warnings, *training_warnings(recipe, len(found.base))]
        if found.cut and same_source(recipe.encoder.weights, recipe.data.source):
            warnings.append(
                "the weights were learned from these very images, the novel classes among them; pre-train on the base "
                "classes alone (a folder with base/ and novel/)"
            )
        if recipe.encoder.weights != "none" and not (recipe.encoder.weights and Path(recipe.encoder.weights).exists()):
            warnings.append(
                "the pretrained weights may have learned the novel classes already; --weights none starts from none"
            )
        return replace(found, warnings=tuple(warnings))

    def load(self, found: Found, recipe: FewshotRecipe, settings: Settings) -> Loaded:
        """Decode the images; those that cannot be read may have been one too many."""
        loaded = load_classes(found, recipe.data, settings.progress)
        check_episodes(recipe, loaded.novel.table)
        return loaded

    def prepare(self, recipe: FewshotRecipe, loaded: Loaded, settings: Settings) -> Inputs:
        """Lay out squares."""
        return prepare_inputs(recipe, loaded, settings)

    def build(self, recipe: FewshotRecipe, loaded: Loaded, inputs: Inputs, seed: int) -> Fewshot:
        """Return the task with its initial weights."""
        return build_task(recipe, fewshot_data(recipe, loaded, inputs), seed)

    def label(self, recipe: FewshotRecipe) -> str:
        """Return the method's name with its objectives."""
        name = "+".join([recipe.method["name"], *recipe.objectives]) if recipe.training.steps else "as it comes"
        return f"{name} (with unlabelled images)" if recipe.data.unlabelled else name

    def look_before(
        self, recipe: FewshotRecipe, loaded: Loaded, inputs: Inputs, task: Fewshot, settings: Settings
    ) -> dict[str, Any]:
        """Say how long training will take; a resumed run has been told."""
        if recipe.preflight and not settings.resume:
            images = Concatenated((task.data.novel, Subset(task.data.images, task.data.held_out)))
            options, runs = loop_options(recipe, recipe.seeds[0], settings), for_each(len(recipe.seeds))
            with torch.random.fork_rng():
                settings.say(supervised_time(task, options, settings.device, images, "all images tested on", runs))
        return {}

    def content(self, folder: Path, recipe: FewshotRecipe, loaded: Loaded, task: Fewshot, seed: int) -> dict[str, Any]:
        """Return the figures of the novel classes: of every classifier, and of every class."""
        chosen, device, ci95 = task.protocol.classifier, task.threshold.device, {}
        for one in task.tested:
            found = one.by_classifier[chosen]
            half = found.ci95
            ends = None if half is None else [max(0.0, found.mean - half), min(1.0, found.mean + half)]
            ci95[f"novel_accuracy_{one.shots}"] = ends
        right = task.last_right["base_accuracy"]
        base = accuracy_interval(right, np.ones(len(right), dtype=bool))
        ci95["base_accuracy"] = None if base.low is None or base.high is None else [base.low, base.high]
        kind = "1.96 standard errors over episodes; of base_accuracy a bootstrap over images"
        frame = seed_frame(recipe, self.label(recipe), seed, loaded, task.last_metrics, ci95, kind, device)
        images = {"base": len(loaded.base.table), "novel": len(loaded.novel.table), "held_out": len(task.data.held_out)}
        return frame | {
            "source": loaded.base.table.name,
            "target": loaded.novel.table.name,
            "novel_classes": list(task.data.novel_names),
            "images": images | {"unlabelled": 0 if loaded.unlabelled is None else len(loaded.unlabelled.table)},
            "by_classifier": {
                str(one.shots): {
                    name: {"accuracy": found.mean, "ci95": found.ci95} for name, found in one.by_classifier.items()
                }
                for one in task.tested
            },
            "per_class": {
                str(one.shots): {
                    task.data.novel_names[number]: accuracy
                    for number, accuracy in one.by_classifier[chosen].per_class(one.episodes.classes).items()
                }
                for one in task.tested
            },
        }

    def write(
        self,
        folder: Path,
        recipe: FewshotRecipe,
        loaded: Loaded,
        inputs: Inputs,
        task: Fewshot,
        content: dict[str, Any],
    ) -> None:
        """Write the backbone and the report."""
        assert isinstance(task.encoder, TimmEncoder)
        assert task.last_answer is not None
        write_backbone(folder / "backbone.safetensors", task.encoder)
        rows = spread(len(loaded.novel.table), _SHOWN)
        first = task.tested[0].episodes
        queries = first.query[0, :, :_QUERIES_SHOWN]
        shown = np.concatenate([first.support[0].flatten().numpy(), queries.flatten().numpy()])
        frame = page_frame(recipe, loaded, content, self.origin(task, inputs), task.seed)
        write_fewshot_report(
            folder / "report.html",
            FewshotReport(
                **frame,
                history=History(folder / "history.csv", ()).read(),
                by_classifier=content["by_classifier"],
                per_class=content["per_class"],
                ways=task.protocol.ways,
                classifier=task.protocol.classifier,
                episodes=task.protocol.episodes,
                features=task.last_answer.features[rows],
                labels=task.data.novel_labels[rows],
                novel_names=task.data.novel_names,
                example=thumbnails(recipe, loaded.novel, shown).numpy(),
                example_ways=[task.data.novel_names[int(number)] for number in first.classes[0]],
                example_shots=int(first.support.shape[2]),
                example_queries=int(queries.shape[1]),
            ),
        )

    def over_images(self, ours: SeedResult, theirs: SeedResult) -> Mapping[str, list[float] | None]:
        """Return the intervals of differences over episodes, where both arms were tested on the same ones."""
        mine, others = ours.task.last_right, theirs.task.last_right
        same = ours.content["fingerprints"] == theirs.content["fingerprints"]
        same &= ours.task.protocol == theirs.task.protocol
        return accuracy_differences(mine, others, ours.seed) if same else {}
