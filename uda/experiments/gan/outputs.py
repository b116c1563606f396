"""What a finished seed leaves behind, and what two arms show side by side."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uda.datasets.sampling import spread
from uda.experiments.experiment import SeedResult
from uda.experiments.pool import PoolLoaded
from uda.experiments.seed import page_frame, seed_frame
from uda.recipe import GanRecipe
from uda.report.gan import GanReport, forgetting_section, samples_section, write_gan_report
from uda.report.grid import grid
from uda.report.page import Section
from uda.ssl.views import to_bytes
from uda.tasks.gan import Adversarial
from uda.training.history import History
from uda.training.outputs import write_tensors

COLUMNS = 10
_ROWS = 8
_STRIPS, _BETWEEN = 4, 10
"""Pairs of latents in the report, and images from one to the other."""


def seed_content(recipe: GanRecipe, label: str, loaded: PoolLoaded, task: Adversarial, seed: int) -> dict[str, Any]:
    """Return what a seed's `metrics.json` holds; nothing in it depends on when or how fast the run was."""
    measured, yardstick = task.last_measured, task.yardstick
    assert measured is not None  # training ends with an evaluation
    kind = "Student's t over disjoint parts of the images"
    frame = seed_frame(recipe, label, seed, loaded, task.last_metrics, measured.ci95, kind, task.device)
    extractor = yardstick.extractor.title
    counts = {"n_real": len(yardstick.real), "n_fake": task.n_images, "extractor": extractor}
    # What the real images are measured by: of other weights or views, figures are of another kind.
    seen = (sorted(counts.items()), yardstick.extractor.key, recipe.data.augment, recipe.data.fit)
    report = hashlib.sha256(repr(seen).encode()).hexdigest()[:32]
    return frame | {
        "source": loaded.title,
        "images": {"train": len(task.data.images)},
        **counts,
        "fingerprints": frame["fingerprints"] | {"report": report},
        "classifier_accuracy": yardstick.classifier_accuracy,
        "answers": label_counts(task),
    }


def label_counts(task: Adversarial) -> dict[str, int] | None:
    """Return how many generated images a classifier of real ones takes for each class; None without classes."""
    assert task.last_measured is not None
    if task.last_measured.labels is None:
        return None
    counts = np.bincount(task.last_measured.labels, minlength=len(task.data.class_names))
    return dict(zip(task.data.class_names, counts.tolist(), strict=True))


def write_seed_outputs(
    folder: Path, recipe: GanRecipe, loaded: PoolLoaded, task: Adversarial, content: dict[str, Any], origin: str
) -> None:
    """Write `generator.safetensors`, `samples.png` and `report.html` of one seed."""
    write_tensors(folder / "generator.safetensors", task.generator.state_dict(), task.generator.metadata)
    samples = shown(task)
    (folder / "samples.png").write_bytes(grid(samples.numpy(), COLUMNS))
    rows = spread(len(task.data.images), COLUMNS * 2)
    measured = task.last_measured
    assert measured is not None
    write_gan_report(
        folder / "report.html",
        GanReport(
            **page_frame(recipe, loaded, content, origin, task.seed),
            history=History(folder / "history.csv", ()).read(),
            samples=samples.numpy(),
            real=to_bytes(task.augment.plain(task.data.images.batch(rows))).cpu().numpy(),
            strips=interpolated(task).numpy(),
            n_real=content["n_real"],
            n_fake=content["n_fake"],
            extractor=content["extractor"],
            classifier_accuracy=content["classifier_accuracy"],
            labels=measured.labels,
            confidences=measured.confidences,
        ),
    )


def shown(task: Adversarial) -> Tensor:
    """Return the samples of the report, (80, 3, S, S) uint8: of the same latents at every look, in every arm.

    Of a conditional generator the columns are classes.
    """
    index = torch.arange(COLUMNS * _ROWS)
    z, _ = task.latents(index, task.seed, 0, "shown")
    classes = index % COLUMNS % max(1, task.method.n_classes)
    return _painted(task, z, classes)


def interpolated(task: Adversarial) -> Tensor:
    """Return strips of images from one latent to another, (4 · 10, 3, S, S) uint8, along the great circle.

    Latents lie close to a sphere, and the straight way leads through its inside, where none are (White, 2016).
    """
    z, classes = task.latents(torch.arange(2 * _STRIPS), task.seed, 0, "ends")
    a, b = z[:_STRIPS, None], z[_STRIPS:, None]
    cos = torch.nn.functional.cosine_similarity(a, b, dim=2).clamp(-1 + 1e-6, 1 - 1e-6)[:, :, None]
    angle, t = cos.acos(), torch.linspace(0, 1, _BETWEEN, device=z.device)[None, :, None]
    between = ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b
    kept = None if classes is None else classes[:_STRIPS].repeat_interleave(_BETWEEN)
    return _painted(task, between.flatten(0, 1), kept)


@torch.no_grad()
def _painted(task: Adversarial, z: Tensor, classes: Tensor | None) -> Tensor:
    """Return images of the averaged generator, whose last evaluation has set batch norm's statistics."""
    wanted = None if classes is None or not task.method.n_classes else classes.to(z.device)
    return to_bytes(task.generator.eval()(z, wanted)).cpu()


def beside_sections(ours: SeedResult, theirs: SeedResult) -> Sequence[Section]:
    """Return the samples of two arms from the same latents, and how their discriminators' features went."""
    arms = [(arm.content["method"], arm) for arm in (ours, theirs)]
    if arms[0][0] == arms[1][0]:
        arms = [(f"{name} ({number})", arm) for number, (name, arm) in enumerate(arms, 1)]
    samples = samples_section([(name, shown(arm.task).numpy()) for name, arm in arms], COLUMNS)
    curves = [(name, History(arm.folder / "history.csv", ()).read()) for name, arm in arms]
    return [samples, forgetting_section(curves)]
