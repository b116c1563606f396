"""UniOT: optimal transport to source prototypes finds common classes, to target prototypes private ones."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.clock import Clock
from uda.nn.heads import BottleneckClassifier, CosineClassifier
from uda.nn.memory import Queue
from uda.random import permutation
from uda.ranges import Count, Fraction, NotNegative, Positive
from uda.ssl.functional import adaptive_filling, plan_rows, sinkhorn, swapped_prediction, transport
from uda.tasks.unida.method import Features, Look, Method, Setup


class UniOt(Method):
    """Unified optimal transport for universal domain adaptation (UniOT, Chang et al., NeurIPS 2022).

    Loss: cross-entropy(source) + weight · (common classes + private classes).
    Common classes: unbalanced transport of the batch and a queue of target features to the source prototypes (the
    classifier's rows), with adaptive filling. An image whose largest entry of the plan is above the mean of all rows,
    and whose class there receives more than the mean of all classes, learns that class; the masses of the classes are a
    moving average of what they received.
    Private classes: balanced transport (Sinkhorn, with SwAV's constants) of the batch, its nearest neighbors in batch
    and queue and some of the queue to the target prototypes; the mean of predicting one's own code and of predicting
    one's neighbor's, both ways.
    At the end all target features are transported to the source prototypes. The unknown-score is 1 − the smaller of the
    two confidences, each as a multiple of its mean, at 0. Images that come later are rows of the same plan: its columns
    are kept.

    All this happens behind a linear bottleneck, which makes cosines as large as gamma supposes; it can learn on frozen
    features too. It differs from the paper in a queue that starts full of target features and is never longer than the
    target, in a fixed number of Sinkhorn iterations that start where the last step ended, and in what adaptive filling
    adds: all candidates, each counted as the fraction that is missing, in place of a draw.

    bottleneck: its width; prototypes, queue: numbers of target prototypes and of features remembered (as published for
    Office-31); gamma: cosine above which an image is near a prototype; mu: momentum of the masses; epsilon, kappa:
    weights of the entropy and of the marginals in the unbalanced transport.
    """

    name: ClassVar[str] = "uniot"
    uses_target: ClassVar[bool] = True
    moves_features: ClassVar[bool] = True
    classifier: BottleneckClassifier
    remembered: Tensor
    potentials: Tensor
    masses: Tensor
    columns: Tensor
    shares: Tensor
    log_rows: Tensor
    log_total: Tensor

    def __init__(
        self,
        setup: Setup,
        *,
        temperature: Positive = 0.1,
        weight: NotNegative = 0.1,
        bottleneck: Count = 256,
        prototypes: Count = 50,
        queue: Count = 2000,
        gamma: Fraction = 0.7,
        mu: Fraction = 0.7,
        epsilon: Positive = 0.01,
        kappa: Positive = 0.5,
    ):
        super().__init__(setup, temperature=temperature)
        self.weight, self.gamma, self.mu = weight, gamma, mu
        self.epsilon, self.kappa = epsilon, kappa
        self.classifier = BottleneckClassifier(setup.dim, setup.n_classes, temperature, bottleneck)
        self.target_prototypes = CosineClassifier(bottleneck, prototypes, temperature)
        self.queue = Queue(min(queue, setup.n_target), bottleneck)
        self.register_buffer("remembered", torch.full((len(self.queue.rows),), -1))  # whose features the queue holds
        self.register_buffer("potentials", torch.zeros(setup.n_classes))
        self.register_buffer("masses", torch.full((setup.n_classes,), 1 / setup.n_classes))
        # The plan of the last evaluation: potentials of its columns, logarithms of what each received as a multiple of
        # the mean, of the number of rows, and of its sum.
        self.register_buffer("columns", torch.zeros(setup.n_classes))
        self.register_buffer("shares", torch.zeros(setup.n_classes))
        self.register_buffer("log_rows", torch.zeros(1))
        self.register_buffer("log_total", torch.zeros(()))
        self._step: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def fixed_threshold(self) -> float:
        """Zero: the confidence is the mean."""
        return 0.0

    def prepare(self, clock: Clock, look: Callable[[], Look]) -> None:
        """Fill the queue with target features before the first step."""
        if clock.step == 0:
            rows = torch.from_numpy(permutation(self.setup.n_target, clock.seed, 0, "queue")[: len(self.remembered)])
            with torch.no_grad():
                self.queue.push(self.classifier.bottleneck(look().features[rows].to(self.masses.device)))
            self.remembered.copy_(rows)

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return the three weighted terms."""
        assert features.target is not None
        assert features.index is not None
        projected = self.classifier.bottleneck(features.target)
        target = F.normalize(projected)
        common, columns = self._common_classes(target)
        private = self._private_classes(target, features.index)
        self._step = (projected.detach(), *columns)
        return super().forward(features, clock) | {
            "common_classes": self.weight * common,
            "private_classes": self.weight * private,
        }

    def after_step(self, features: Features) -> None:
        """Remember the target's features and what the classes received."""
        assert features.index is not None
        assert self._step is not None
        projected, potentials, received = self._step
        written = self.queue.push(projected)
        self.remembered[written] = features.index[-len(written) :]
        self.potentials.copy_(potentials)
        self.masses.mul_(self.mu).add_((1 - self.mu) * received)
        self._step = None

    def _common_classes(self, target: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the cross-entropy with the plan's classes over the images that seem common, and what is to be kept.

        That is the potentials and the masses of the plan's columns. target: (B, bottleneck), unit rows.
        """
        prototypes = F.normalize(self.classifier.weight)
        cosines = target @ prototypes.T
        seen = torch.cat([cosines, self.queue.rows.to(target.dtype) @ prototypes.T]).detach()
        rows, counts = adaptive_filling(seen, prototypes, self.gamma, given=len(target))
        # The plan of the step before is near: a few iterations from it are worth many from nothing.
        log_plan, potentials = transport(
            rows, counts, self.masses, self.epsilon, self.kappa, iterations=10, start=self.potentials
        )
        log_received = _log_received(log_plan, counts)
        total = log_received.logsumexp(0)  # all copies together are to sum to 1
        received = (log_received - total).exp()
        confidence, labels = (log_plan[: len(target)] - total).max(1)
        common = (confidence > -counts.sum().log()) & (received[labels] > 1 / self.setup.n_classes)
        losses = F.cross_entropy(cosines / self.temperature, labels, reduction="none")
        return (common * losses).sum() / common.sum().clamp_min(1), (potentials, received)

    def _private_classes(self, target: Tensor, index: Tensor) -> Tensor:
        """Return the mean of the global and the local term; target: (B, bottleneck), unit rows."""
        neighbors = self._nearest(target, index)
        drawn = torch.randint(len(self.queue.rows), (len(self.target_prototypes.weight),), device=target.device)
        logits = self.target_prototypes(torch.cat([target, neighbors, self.queue.rows[drawn].to(target.dtype)]))
        codes = sinkhorn(logits * self.temperature, epsilon=0.05, iterations=3)
        own, others = slice(0, len(target)), slice(len(target), 2 * len(target))
        everywhere = F.cross_entropy(logits[own], codes[own])
        nearby = swapped_prediction(logits[own], logits[others], codes[own], codes[others])
        return (everywhere + nearby) / 2

    def _nearest(self, target: Tensor, index: Tensor) -> Tensor:
        """Return for each feature the most similar one of another image, in the queue or in the batch (B, D)."""
        candidates = torch.cat([target, self.queue.rows.to(target.dtype)])
        itself = index[:, None] == torch.cat([index, self.remembered])
        nearest = (target.detach() @ candidates.detach().T).masked_fill(itself, -2.0).argmax(1)
        return candidates[nearest]

    @torch.no_grad()
    def remember(self, seen: Look) -> None:
        """Transport all target features and keep the columns of the plan."""
        masses = self.masses
        prototypes = F.normalize(self.classifier.weight)
        similarities = seen.logits.to(masses.device) * self.temperature
        rows, counts = adaptive_filling(similarities, prototypes, self.gamma)
        plan = transport(rows, counts, masses, self.epsilon, self.kappa, iterations=200)
        received = _log_received(plan.log, counts)
        total = received.logsumexp(0)
        self.columns.copy_(plan.columns)
        self.shares.copy_(received - total + math.log(self.setup.n_classes))
        self.log_rows.copy_(counts.sum().log())
        self.log_total.copy_(total)

    def answers(self, features: Tensor, logits: Tensor, of_target: bool) -> tuple[Tensor, Tensor]:
        """Return the images' rows of the plan as probabilities, and how far below their means the confidences are."""
        columns, shares, log_rows, total = (
            kept.cpu() for kept in (self.columns, self.shares, self.log_rows, self.log_total)
        )
        plan = plan_rows(logits * self.temperature, columns, -log_rows, self.epsilon, self.kappa)
        best, labels = plan.max(1)
        return plan.softmax(1), 1 - torch.minimum(best - total + log_rows, shares[labels]).exp()


def _log_received(plan: Tensor, counts: Tensor) -> Tensor:
    """Return the logarithm of what each column receives from all copies of all rows of a plan (N, K) of logarithms."""
    return (plan + counts.log()[:, None]).logsumexp(0)
