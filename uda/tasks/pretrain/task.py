"""Pre-training: one pool of images, any objectives, and a look at the features while they form."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import ClassBalanced, Shuffled, spread
from uda.datasets.streams import Images, Stream
from uda.metrics import accuracy_interval, uniformity
from uda.nn.encoder import Encoder
from uda.probes.collapse import collapse_figures, watch
from uda.probes.knn import knn, knn_leave_one_out
from uda.ssl.objective import Objective, assign_where_due
from uda.ssl.placebo import PREFIX
from uda.ssl.views import NoAugmentation
from uda.tasks.pretrain.method import SelfSupervised, Supervised
from uda.tasks.task import Task

MOST = 5000
"""Images that the figures during training are measured on: enough for a kNN, few enough to look often."""
RECENT = 20
"""Steps whose losses the collapse watch averages: a mini-batch alone says little."""
RESAMPLES = 1000
"""Of intervals over groups, which are drawn one by one."""
_PAIRS = 1000


@dataclass(frozen=True)
class Pool:
    """The images to learn from, and those to test on where the data set has a test split.

    labels: (N,) −1 where an image has none; usable: (N,) the same, −1 also where training must not see it; groups,
    test_groups: (N,) and (M,) int64, of images that belong together; None: each stands for itself.
    """

    images: Images
    labels: np.ndarray
    usable: np.ndarray
    class_names: tuple[str, ...]
    test_images: Images | None = None
    test_labels: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    groups: np.ndarray | None = None
    test_groups: np.ndarray | None = None


class PoolSampler:
    """Every image equally often, or the pseudo-classes of an objective, once it has made some."""

    def __init__(self, n: int, batch_size: int, seed: int, objectives: Sequence[nn.Module]):
        self.n, self.objectives, self.batch_size, self.seed = n, objectives, batch_size, seed
        self._drawn: Shuffled | ClassBalanced | None = None

    def renew(self) -> None:
        """Look at the pseudo-classes again before the next step is drawn."""
        self._drawn = None

    def __call__(self, step: int) -> np.ndarray:
        """Return the rows of a step, (B,) int64."""
        drawn = self._drawn = self._drawn or self._sampler()
        return drawn(step)

    def _sampler(self) -> Shuffled | ClassBalanced:
        for objective in self.objectives:
            labels = getattr(objective, "sampling_labels", None)
            if labels is not None:
                return ClassBalanced(labels.cpu().numpy(), self.batch_size, self.seed, "pseudo-classes")
        return Shuffled(self.n, self.batch_size, self.seed, "images")


class Pretrain(Task):
    """An encoder, objectives on all images, and cross-entropy on labelled ones if the method uses labels."""

    metric_names: tuple[str, ...] = ("knn_accuracy", "uniformity", "effective_rank", "feature_std")
    recent: Tensor
    chance: Tensor

    def __init__(
        self,
        encoder: Encoder,
        method: SelfSupervised | Supervised,
        objectives: Sequence[tuple[Objective, float]],
        pool: Pool,
        augment: NoAugmentation,
        batch_size: int,
        seed: int,
    ):
        super().__init__()
        self.encoder, self.method = encoder, method
        self.objectives = nn.ModuleList([objective for objective, _ in objectives])
        self.weights = [weight for _, weight in objectives]
        self.pool, self.augment, self.batch_size, self.seed = pool, augment, batch_size, seed
        self.sampler = PoolSampler(len(pool.images), batch_size, seed, list(self.objectives))
        if method.uses_labels:
            self.metric_names = ("accuracy", *self.metric_names)
        self._carries: list[tuple[Objective, object]] = []
        # Each objective's losses of the last steps (step t in column t modulo their number), and what chance or
        # constant embeddings cost, ∞ where unknown: a run that is resumed after its last step warns as before.
        self.register_buffer("recent", torch.full((len(objectives), RECENT), torch.inf))
        self.register_buffer("chance", torch.full((len(objectives), 2), torch.inf))
        self.warnings: list[str] = []
        self.last_metrics: dict[str, float | None] | None = None
        self.last_intervals: dict[str, list[float] | None] = {}
        self.last_right: dict[str, np.ndarray] = {}
        self.last_groups: dict[str, np.ndarray] = {}  # of the images that these are about

    def streams(self) -> dict[str, Stream]:
        """All images for the objectives; labelled ones, if the method uses labels, for the classifier."""
        pool, found = self.pool, {}
        if len(self.objectives):
            self.sampler.renew()  # a checkpoint may have brought other pseudo-classes
            found["images"] = Stream("images", pool.images, self.sampler, pool.usable)
        if self.method.uses_labels:
            rows = np.flatnonzero(pool.usable >= 0)
            drawn = Shuffled(len(rows), self.batch_size, self.seed, "labelled")
            found["labelled"] = Stream("labelled", pool.images, lambda step: rows[drawn(step)], pool.usable)
        return found

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """One player; biases and normalization are not decayed, as large-batch recipes have it (SimCLR, BYOL, DINO)."""
        moving = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in moving if p.ndim > 1], "lr_scale": 1.0},
            {"params": [p for p in moving if p.ndim <= 1], "lr_scale": 1.0, "weight_decay": 0.0},
        ]
        return {"all": [group for group in groups if group["params"]]}

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Let the objectives make their pseudo-labels anew, where that is due."""
        restarted = assign_where_due(self.objectives, self.encoder, lambda: self._views(self.pool.images), clock)
        if restarted is not None:
            self.sampler.renew()
        return restarted

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the weighted loss of every objective, and of the classifier."""
        losses: dict[str, Tensor] = {}
        for number, (objective, weight) in enumerate(zip(self.objectives, self.weights, strict=True)):
            assert isinstance(objective, Objective)
            objective.before_step(self.encoder, clock)
            loss = objective(self.encoder, batches["images"], clock)
            losses[objective.name] = weight * loss.value
            self._carries.append((objective, loss.carry))
            self.recent[number, clock.step % RECENT] = loss.value.detach()
            for column, value in enumerate((loss.chance, loss.constant)):
                self.chance[number, column] = math.inf if value is None else value
        if self.method.uses_labels:
            labelled = batches["labelled"]
            losses["classification"] = self.method(self.encoder(self.augment(labelled, clock)), labelled.labels)
        return losses

    def after_step(self) -> None:
        """Let the objectives update their state."""
        for objective, carry in self._carries:
            objective.after_step(carry)
        self._carries.clear()

    def exported(self) -> Encoder:
        """Return the encoder that was the aim of it all: an objective's teacher, if it prefers that."""
        for objective in self.objectives:
            assert isinstance(objective, Objective)
            if objective.export(self.encoder) is not self.encoder:
                return objective.export(self.encoder)
        return self.encoder

    def evaluate(self) -> dict[str, float | None]:
        """Return kNN accuracy (on the test split, else each training image among the others) and signs of collapse."""
        rows = spread(len(self.pool.images), MOST)
        features = self.encode(self.pool.images, rows)
        figures = collapse_figures(features)
        self.warnings = self._signs_of_collapse(features)
        test, truth, groups = None, None, None
        own: dict[str, float | None] = {"accuracy": None} if self.method.uses_labels else {}
        if self.pool.test_images is not None:
            labelled = np.flatnonzero(self.pool.test_labels >= 0)
            tested = labelled[spread(len(labelled), MOST)]
            test, truth = self.encode(self.pool.test_images, tested), self.pool.test_labels[tested]
            groups = None if self.pool.test_groups is None else self.pool.test_groups[tested]
            if self.method.uses_labels:
                answers = self.classify(self.pool.test_images, tested)
                own["accuracy"] = self._classified("accuracy", answers, truth, groups)
        self.last_groups = {} if groups is None else dict.fromkeys(("accuracy", "knn_accuracy"), groups)
        self.last_metrics = own | {
            "knn_accuracy": self._knn_accuracy(features, self.pool.labels[rows], test, truth, groups),
            "uniformity": uniformity(features[torch.from_numpy(spread(len(features), _PAIRS))]),
            "effective_rank": figures.effective_rank,
            "feature_std": figures.feature_std,
        }
        return self.last_metrics

    def _signs_of_collapse(self, features: Tensor) -> list[str]:
        """Return a sentence for each sign in the features, then for each in an objective's mean loss of late.

        That a placebo learns nothing is what it is for.
        """
        found = watch(features)
        for objective, losses, levels in zip(self.objectives, self.recent.tolist(), self.chance.tolist(), strict=True):
            seen = [loss for loss in losses if math.isfinite(loss)]
            if seen and not str(objective.name).startswith(PREFIX):
                known = (level if math.isfinite(level) else None for level in levels)
                found += [f"{objective.name}: {text}" for text in watch(features[:0], sum(seen) / len(seen), *known)]
        return found

    def _knn_accuracy(
        self,
        features: Tensor,
        labels: np.ndarray,
        test: Tensor | None,
        truth: np.ndarray | None,
        groups: np.ndarray | None,
    ) -> float | None:
        """Return the accuracy on the test images, or without a test split of each image among the others."""
        known = labels >= 0
        if known.sum() < (1 if test is not None else 2):
            return None
        bank, answers = features[torch.from_numpy(known)], labels[known]
        n_classes = len(self.pool.class_names)
        if test is None or truth is None:
            return self._classified("knn_accuracy", knn_leave_one_out(bank, answers, n_classes).predictions, answers)
        return self._classified("knn_accuracy", knn(test, bank, answers, n_classes).predictions, truth, groups)

    @torch.no_grad()
    def classify(self, images: Images, rows: np.ndarray | None = None) -> Tensor:
        """Return the classifier's answers for all (or some) images, (N,), on the encoder that it was trained with."""
        assert isinstance(self.method, Supervised)
        features = self.encode(images, rows, self.encoder).to(self.method.classifier.weight.device)
        return self.method.classifier(features).argmax(1).cpu()

    def _classified(
        self, name: str, predictions: Tensor, truth: np.ndarray | None, groups: np.ndarray | None = None
    ) -> float | None:
        """Return an accuracy, and keep its interval and which of the images were answered right, (N,)."""
        assert truth is not None
        self.last_right[name] = predictions.numpy() == truth
        accuracy = accuracy_interval(
            predictions, truth, groups, n_resamples=RESAMPLES if groups is not None else 10_000
        )
        low, high = accuracy.low, accuracy.high
        self.last_intervals[name] = None if low is None or high is None else [low, high]
        return accuracy.estimate

    @torch.no_grad()
    def encode(self, images: Images, rows: np.ndarray | None = None, encoder: Encoder | None = None) -> Tensor:
        """Return the features of all (or some) images in their evaluation view, (N, D) float32 on the CPU.

        encoder: None: the one that is exported.
        """
        encoder = encoder or self.exported()
        training = encoder.training
        encoder.eval()
        features = [encoder(views).float().cpu() for views in self._views(images, rows)]
        encoder.train(training)
        return torch.cat(features)

    def _views(self, images: Images, rows: np.ndarray | None = None, batch_size: int = 256) -> Iterator[Tensor]:
        """Yield the evaluation views of images, in order."""
        rows = np.arange(len(images)) if rows is None else rows
        device = next(self.encoder.parameters()).device
        for first in range(0, len(rows), batch_size):
            yield self.augment.plain(images.batch(rows[first : first + batch_size]).to(device))

    @torch.no_grad()
    def shown_views(self, count: int = 8) -> list[tuple[str, Tensor]]:
        """Return, for each objective, what it sees of a few images at the first step: (name, (M, 3, S, S))."""
        rows = torch.from_numpy(spread(len(self.pool.images), count))
        batch = Batch(self.pool.images.batch(rows.numpy()), rows, torch.from_numpy(self.pool.usable[rows]), "images")
        batch = batch.to(next(self.encoder.parameters()).device)
        clock = Clock(0, 1, self.seed, self.batch_size, len(self.pool.images))
        found = []
        for objective in self.objectives:
            assert isinstance(objective, Objective)
            found.append((objective.name, objective.views(batch, clock).images[: 2 * len(rows)].cpu()))
        return found
