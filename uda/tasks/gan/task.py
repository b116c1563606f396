"""Two players: a generator that paints images, and a discriminator that judges them and learns from them besides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import Shuffled
from uda.datasets.streams import Images, Stream
from uda.nn.discriminator import Discriminator
from uda.nn.generator import Generator, gather_statistics, latents, random_classes
from uda.probes.generation import REGULARIZATION, Measured, Yardstick, fitted_and_tested, probe_accuracy
from uda.probes.linear import fit_linear
from uda.random import uniform
from uda.ssl.differentiable import augmented, draws_for
from uda.ssl.objective import Objective, assign_where_due
from uda.ssl.views import NoAugmentation, to_bytes
from uda.tasks.gan.losses import gradient_penalty
from uda.tasks.gan.sngan import SNGAN
from uda.tasks.task import Task

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
STANDING = 16
"""Batches that the averaged generator's batch norm takes its statistics from."""


@dataclass(frozen=True)
class GanData:
    """The images to learn to paint; labels: (N,), −1 unlabelled.

    probed, tested: rows on which a linear probe of the discriminator's features is fitted and tested; of `test_images`
    where these are there, else of the images. Both are empty where there are fewer than two classes.
    """

    images: Images
    labels: np.ndarray
    class_names: tuple[str, ...]
    probed: np.ndarray
    tested: np.ndarray
    test_images: Images | None = None
    test_labels: np.ndarray | None = None


class Adversarial(Task):
    """A generator and a discriminator in turns, any objectives on real and on generated images, and how both fare.

    In a step the discriminator has `n_dis` turns, each with images of its own, and the generator one. Objectives see
    real images in the discriminator's turns and generated ones in the generator's; only upright images, as they are
    stored, are judged. The history has the last turn's losses of each player.
    """

    def __init__(
        self,
        method: SNGAN,
        objectives: Sequence[tuple[Objective, float]],
        data: GanData,
        augment: NoAugmentation,
        yardstick: Yardstick,
        batch_size: int,
        seed: int,
        share: float,
        images: int,
        betas: tuple[float, float],
        discriminator_lr_scale: float = 1.0,
    ):
        super().__init__()
        self.method = method
        self.objectives = nn.ModuleList([objective for objective, _ in objectives])
        self.weights = [weight for _, weight in objectives]
        self.data, self.augment, self.yardstick = data, augment, yardstick
        self.batch_size, self.seed, self.n_images = batch_size, seed, images
        self.seen = max(2, round(share * batch_size))
        self.betas, self.discriminator_lr_scale = betas, discriminator_lr_scale
        self.turns = (*[DISCRIMINATOR] * method.n_dis, GENERATOR)
        self.metric_names = ("kid", "fid", "precision", "recall", "probe_accuracy")
        self.metric_names += ("confidence", "effective_classes", "asked_accuracy")
        both = [*self.encoder.parameters(), *self.objectives.parameters()]
        self._judging = [p for p in both if p.requires_grad]  # an objective's teacher does not learn
        self._turn = self._step = 0
        self._carries: list[tuple[Objective, object]] = []
        self.last_metrics: dict[str, float | None] = {}
        self.last_measured: Measured | None = None

    @property
    def encoder(self) -> Discriminator:
        """The discriminator, which objectives stand on."""
        return self.method.discriminator

    @property
    def generator(self) -> Generator:
        """The averaged generator, which is the aim of it all."""
        made = self.method.average.module
        assert isinstance(made, Generator)
        return made

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.method.generator.parameters()).device

    def streams(self) -> dict[str, Stream]:
        """Images for all turns of the discriminator at once; labels where it judges by them."""
        drawn = Shuffled(len(self.data.images), self.method.n_dis * self.batch_size, self.seed, "images")
        labels = self.data.labels if self.method.n_classes else None
        return {"images": Stream("images", self.data.images, drawn, labels, parts=self.method.n_dis)}

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """Generator and discriminator, the latter with the objectives' heads; both with the betas of their Adam."""
        painting = {"params": list(self.method.generator.parameters()), "lr_scale": 1.0, "betas": self.betas}
        judging = {"params": self._judging, "lr_scale": self.discriminator_lr_scale, "betas": self.betas}
        return {GENERATOR: [painting], DISCRIMINATOR: [judging]}

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Let the objectives make their pseudo-labels anew, where that is due."""
        return assign_where_due(self.objectives, self.encoder, lambda: self._views(self.data.images), clock)

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of a player's turn."""
        self._step = clock.step
        for parameter in self._judging:  # in the generator's turn the discriminator stays: no gradient to compute
            parameter.requires_grad_(turn == DISCRIMINATOR)
        if turn == GENERATOR:
            return self._generate(batches["images"], clock)
        number, self._turn = self._turn, self._turn + 1
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        return self._discriminate(_part(batches["images"], rows), number, clock)

    def _discriminate(self, real: Batch, number: int, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the discriminator's turn of that number on real images."""
        method, losses = self.method, {}
        with torch.no_grad():
            fake, fake_classes = self._paint(len(real), clock, f"turn {number}")
        shared: Tensor | None = None
        for objective, weight in self._weighted():
            objective.before_step(self.encoder, clock)
            views, features, loss = objective.passed(self.encoder, _part(real, slice(self.seen)), clock)
            losses[objective.name] = weight * loss.value
            self._carries.append((objective, loss.carry))
            if shared is None and views.plain is not None and not (method.augment or method.r1):
                shared = objective.pooled(self.encoder, features)[views.plain]  # upright images have been seen there
        upright = self.augment(real, clock)[0 if shared is None else len(shared) :]
        upright.requires_grad_(method.r1 > 0)
        judged = torch.cat(
            [self._judged(upright, clock, f"real {number}"), self._judged(fake, clock, f"fake {number}")]
        )
        features = self.encoder(judged)
        features = features if shared is None else torch.cat([shared, features])
        classes = None if fake_classes is None or real.labels is None else torch.cat([real.labels, fake_classes])
        scores = self.encoder.score(features, classes)
        losses[DISCRIMINATOR] = method.discriminator_loss(scores[: len(real)], scores[len(real) :])
        if method.r1:
            # By pixels in [−1, 1], as published: half the gradient by those in [0, 1].
            losses["gradient_penalty"] = method.r1 * gradient_penalty(scores[: len(real)], upright) / 4
        return losses

    def _generate(self, real: Batch, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the generator's turn."""
        method = self.method
        images, classes = self._paint(self.batch_size, clock, "turn of the generator")
        features = self.encoder(self._judged(images, clock, "generator"))
        losses = {GENERATOR: method.generator_loss(self.encoder.score(features, classes))}
        if not method.alpha:
            return losses
        index = torch.arange(self.seen, device=images.device)
        painted = Batch(images[: self.seen], index, None, "generated")
        for objective, weight in self._weighted():
            loss = objective(self.encoder, painted, clock)
            losses[f"{objective.name}_generated"] = method.alpha * weight * loss.value
        return losses

    def _paint(self, count: int, clock: Clock, purpose: str) -> tuple[Tensor, Tensor | None]:
        """Return images of the generator in training, (count, 3, S, S) in [0, 1], and their classes."""
        z, classes = self.latents(torch.arange(count), clock.seed, clock.step, purpose)
        return self.method.generator(z, classes), classes

    def _judged(self, views: Tensor, clock: Clock, side: str) -> Tensor:
        """Return views as the discriminator judges them."""
        names = self.method.augment
        if not names:
            return views
        index = torch.arange(len(views), device=views.device)
        return augmented(views, names, uniform(clock.seed, clock.step, index, f"augment {side}", draws_for(names)))

    def _weighted(self) -> Iterator[tuple[Objective, float]]:
        for objective, weight in zip(self.objectives, self.weights, strict=True):
            assert isinstance(objective, Objective)
            yield objective, weight

    def after_step(self) -> None:
        """Let the average follow the generator, and the objectives update their state."""
        self.method.follow(self._step)
        for objective, carry in self._carries:
            objective.after_step(carry)
        self._carries.clear()
        self._turn = 0
        for parameter in self._judging:
            parameter.requires_grad_(True)

    def latents(self, index: Tensor, seed: int, step: int, purpose: str) -> tuple[Tensor, Tensor | None]:
        """Return latent vectors (B, dim) and, where images have classes, classes (B,) for indices (B,)."""
        index, n = index.to(self.device), self.method.n_classes
        z = latents(index, self.method.generator.dim, seed, step, purpose)
        return z, random_classes(index, n, seed, step, f"class {purpose}") if n else None

    def evaluate(self) -> dict[str, float | None]:
        """Return the figures of images of the averaged generator, and of a probe of the discriminator's features."""
        images, classes = self.sample(torch.arange(self.n_images), "measured")
        self.last_measured = self.yardstick.measure(images, None if classes is None else classes.numpy())
        figures = self.last_measured.metrics | {"probe_accuracy": self._probe_accuracy()}
        self.last_metrics = {name: figures[name] for name in self.metric_names}
        return self.last_metrics

    @torch.no_grad()
    def sample(self, index: Tensor, purpose: str) -> tuple[Tensor, Tensor | None]:
        """Return images of the averaged generator, (B, 3, S, S) uint8, and their classes, for indices (B,) on the CPU.

        The same indices give the same latents throughout training, and in every run of a seed. Batch norm has the
        statistics of images that this generator makes (`gather_statistics`).
        """
        standing = torch.arange(STANDING * self.batch_size).split(self.batch_size)
        gather_statistics(self.generator, (self.latents(part, self.seed, 0, "standing") for part in standing))
        images, classes = [], []
        for part in index.split(256):
            z, wanted = self.latents(part, self.seed, 0, purpose)
            images.append(to_bytes(self.generator(z, wanted)).cpu())
            classes.append(wanted)
        found = [part.cpu() for part in classes if part is not None]
        return torch.cat(images), torch.cat(found) if found else None

    @torch.no_grad()
    def _probe_accuracy(self) -> float | None:
        """Return how well a linear probe of the discriminator's pooled features tells the classes, None without."""
        data = self.data
        if not len(data.probed):
            return None
        n_classes, labels = len(data.class_names), torch.from_numpy(data.labels[data.probed])
        features = self._features(data.images, data.probed)
        if data.test_images is None or data.test_labels is None:
            return fitted_and_tested(features, labels, n_classes)[1]
        probe = fit_linear(features, labels, n_classes, REGULARIZATION)
        tested = torch.from_numpy(data.test_labels[data.tested])
        return probe_accuracy(probe, self._features(data.test_images, data.tested), tested)

    def _features(self, images: Images, rows: np.ndarray) -> Tensor:
        training = self.encoder.training
        self.encoder.eval()
        found = [self.encoder(views).float().cpu() for views in self._views(images, rows)]
        self.encoder.train(training)
        return torch.cat(found)

    def _views(self, images: Images, rows: np.ndarray | None = None, batch_size: int = 256) -> Iterator[Tensor]:
        """Yield the evaluation views of images, in order."""
        rows = np.arange(len(images)) if rows is None else rows
        for first in range(0, len(rows), batch_size):
            yield self.augment.plain(images.batch(rows[first : first + batch_size]).to(self.device))


def _part(batch: Batch, rows: slice) -> Batch:
    """Return some images of a batch."""
    labels = None if batch.labels is None else batch.labels[rows]
    return Batch(batch.images[rows], batch.index[rows], labels, batch.domain)
