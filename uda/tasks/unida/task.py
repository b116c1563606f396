"""Universal domain adaptation: labels or `unknown` for every image of an unlabelled domain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import ClassBalanced, Shuffled
from uda.datasets.streams import Images, Stream, Subset
from uda.metrics import UNIDA_METRICS, private_nmi, unida_metrics
from uda.nn.encoder import Encoder
from uda.nn.statistics import estimate_batch_statistics
from uda.probes.answer import Answer
from uda.probes.rejection import RULES, Rule, find_rule
from uda.probes.selection import COLUMN, VALIDATORS, validate
from uda.ssl.objective import Augment, Objective, assign_where_due
from uda.tasks.task import Task, finite_answers, two_rates
from uda.tasks.unida.evidence import gather
from uda.tasks.unida.method import Features, Look, Method


@dataclass(frozen=True)
class UnidaData:
    """Both domains' images and what is known of them.

    source_labels: (N,) in 0 … K−1; target_labels: 0 … K−1 for shared classes, K and above for target-private ones, −1
    unknown to us; they are read by `evaluate` alone. class_names: the source's K, in the classifier's order.
    labelled: target images that the user lets training see with their labels (M,) in 0 … K−1; not among `target`.
    source_groups: (N,) int64, of source images that belong together, and target_groups: (M,); None: each stands for
    itself.
    """

    source: Images
    source_labels: np.ndarray
    target: Images
    target_labels: np.ndarray
    class_names: tuple[str, ...]
    labelled: Images | None = None
    labelled_labels: np.ndarray | None = None
    source_groups: np.ndarray | None = None
    target_groups: np.ndarray | None = None

    @property
    def n_classes(self) -> int:
        """K, the number of source classes; also the number that stands for `unknown` in predictions."""
        return len(self.class_names)


class UniDA(Task):
    """An encoder, an adaptation method and any auxiliary objectives on the target.

    held_out: rows of the source that are not trained on, for the validators that want such.
    """

    metric_names: tuple[str, ...] = (*UNIDA_METRICS, *(COLUMN + name for name in VALIDATORS))
    threshold: Tensor

    def __init__(
        self,
        encoder: Encoder,
        method: Method,
        objectives: Sequence[tuple[Objective, float]],
        data: UnidaData,
        augment: Augment,
        view: Callable[[Tensor], Tensor],
        rejection: str,
        batch_size: int,
        seed: int,
        backbone_lr_scale: float = 0.1,
        target_statistics: bool = False,
        held_out: np.ndarray | None = None,
    ):
        super().__init__()
        self.encoder, self.method = encoder, method
        self.objectives = nn.ModuleList([objective for objective, _ in objectives])
        self.weights = [weight for _, weight in objectives]
        self.data, self.augment, self.view = data, augment, view
        self.rule: Rule = find_rule(rejection)
        self.batch_size, self.seed = batch_size, seed
        self.target_statistics = target_statistics
        self.held_out = np.arange(0) if held_out is None else held_out
        self.backbone_lr_scale = backbone_lr_scale
        # The line found on the target belongs to the model: `predict` uses it on images that come later.
        self.register_buffer("threshold", torch.tensor(float("nan"), dtype=torch.float64))
        self._features: Features | None = None
        self._carries: list[tuple[Objective, object]] = []
        self.last_answer: Answer | None = None
        self._nmi: tuple[np.ndarray, float | None] | None = None

    def streams(self) -> dict[str, Stream]:
        """Class-balanced source with labels; shuffled target without, where anything looks at it; labelled target."""
        labels = self.data.source_labels.copy()
        labels[self.held_out] = -1  # never drawn
        balanced = ClassBalanced(labels, self.batch_size, self.seed, "source")
        found = {"source": Stream("source", self.data.source, balanced, labels)}
        if self.method.uses_target or len(self.objectives):
            shuffled = Shuffled(len(self.data.target), self.batch_size, self.seed, "target")
            found["target"] = Stream("target", self.data.target, shuffled)
        few, known = self.data.labelled, self.data.labelled_labels
        if few is not None and known is not None:
            # An image drawn twice in a step would be augmented alike both times: no more are drawn than there are.
            drawn = ClassBalanced(known, min(self.batch_size, len(few)), self.seed, "labelled target")
            found["labelled_target"] = Stream("labelled_target", few, drawn, known)
        return found

    def players(self) -> dict[str, list[dict[str, Any]]]:
        """One player; the backbone's rate is a fraction of the heads'."""
        return {"all": two_rates(self, self.encoder.backbone_parameters(), self.backbone_lr_scale)}

    def start(self) -> None:
        """Give batch norm the target's statistics, where the recipe wants that."""
        self._take_target_statistics()

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """One pass over the source, one over the target (batch statistics are per domain), then the method's losses.

        Labelled target images go through the network with the source's, as in MME (Saito et al., ICCV 2019): they are
        too few for statistics of their own. Their supervised loss is a term of its own, of the source's weight.
        """
        self.method.before_step()
        source, few = batches["source"], batches.get("labelled_target")
        assert source.labels is not None
        losses: dict[str, Tensor] = {}
        if few is None:
            source_features = self.encoder(self.augment(source, clock))
        else:
            assert few.labels is not None
            both = self.encoder(torch.cat([self.augment(source, clock), self.augment(few, clock)]))
            source_features, few_features = both[: len(source)], both[len(source) :]
            losses["labelled_target"] = self.method.supervised(few_features, few.labels)
        target_features: Tensor | None = None
        target = batches.get("target")
        if target is not None:
            own, adapts = self.target_clock(clock), self.method.adapts(clock)
            for objective, weight in zip(self.objectives, self.weights, strict=True):
                assert isinstance(objective, Objective)
                objective.before_step(self.encoder, own)
                views, features, loss = objective.passed(self.encoder, target, own)
                losses[str(objective.name)] = weight * loss.value
                self._carries.append((objective, loss.carry))
                if adapts and target_features is None and views.plain is not None:
                    target_features = objective.pooled(self.encoder, features)[views.plain]
            if adapts and target_features is None:
                target_features = self.encoder(self.augment(target, clock))
        self._features = Features(
            source_features, source.labels, target_features, None if target is None else target.index
        )
        return self.method(self._features, clock) | losses

    def after_step(self) -> None:
        """Let the method update its state with the features that the losses saw."""
        assert self._features is not None
        self.method.after_step(self._features)
        self._features = None
        for objective, carry in self._carries:
            objective.after_step(carry)
        self._carries.clear()

    def prepare(self, clock: Clock) -> list[nn.Parameter] | None:
        """Let the method and the objectives look at all target images, where that is due."""
        self.method.prepare(clock, cache(self._look))  # whoever looks at this step sees the same
        own = self.target_clock(clock)
        return assign_where_due(self.objectives, self.encoder, lambda: self._views(self.data.target), own)

    def target_clock(self, clock: Clock) -> Clock:
        """Return the clock of the objectives: their epochs are those of the target, which is all they see."""
        return replace(clock, images_per_step=self.batch_size, n_images=len(self.data.target))

    def _look(self) -> Look:
        """Return what the model says of all target images now."""
        self._take_target_statistics()
        features, logits = self.encode(self.data.target)
        return Look(torch.from_numpy(features), torch.from_numpy(logits))

    def _views(self, images: Images) -> Iterator[Tensor]:
        """Yield the evaluation views of all images, in order."""
        return (self.view(pixels) for pixels in self._batches(images, 128))

    def _take_target_statistics(self) -> None:
        """Give batch norm the target's statistics, if the recipe wants it; training steps use their own batch's."""
        if self.target_statistics:
            estimate_batch_statistics(self.encoder, self._views(self.data.target))

    def _batches(self, images: Images, batch_size: int) -> Iterator[Tensor]:
        """Yield all images as they are stored, in order, on the task's device."""
        for first in range(0, len(images), batch_size):
            rows = np.arange(first, min(first + batch_size, len(images)))
            yield images.batch(rows).to(self.threshold.device)

    @torch.no_grad()
    def encode(self, images: Images, batch_size: int = 128) -> tuple[np.ndarray, np.ndarray]:
        """Return features (N, D) and logits (N, K) of all images in their evaluation view, in evaluation mode."""
        training = self.training
        self.eval()
        features, logits = [], []
        for pixels in self._batches(images, batch_size):
            encoded = self.encoder(self.view(pixels))
            features.append(encoded.float().cpu())
            logits.append(self.method.classifier(encoded).float().cpu())
        self.train(training)
        return torch.cat(features).numpy(), finite_answers(torch.cat(logits)).numpy()

    def answer(self, images: Images, threshold: float | None = None) -> Answer:
        """Classify images; the threshold is found on their own scores by the recipe's rule unless one is given."""
        features, logits = self.encode(images)
        return self._answer(Look(torch.from_numpy(features), torch.from_numpy(logits)), threshold, of_target=False)

    def _answer(self, seen: Look, threshold: float | None, of_target: bool) -> Answer:
        probabilities, unknown = self.method.answers(seen.features, seen.logits, of_target)
        scores = unknown.numpy().astype(np.float64)
        if threshold is None:
            threshold = self.rule(scores, self.method.fixed_threshold)
        return Answer(seen.features.numpy(), probabilities.numpy(), scores, threshold)

    def measure(self, answer: Answer, threshold: float | None = None) -> dict[str, float | None]:
        """Return the metrics of an answer about the target domain, at its own threshold or at another."""
        labels, unknown = self.data.target_labels, self.data.n_classes
        line = answer.threshold if threshold is None else threshold
        return unida_metrics(
            labels=np.minimum(labels, unknown),
            predictions=np.where(answer.scores > line, unknown, answer.closed),
            closed_predictions=answer.closed,
            unknown_scores=answer.scores,
            unknown=unknown,
            nmi=self._private_nmi(answer),
        )

    def _private_nmi(self, answer: Answer) -> float | None:
        """Return the oracle figure of an answer's features; k-means is slow, and every threshold has the same."""
        if self._nmi is None or self._nmi[0] is not answer.features:
            private = np.where(self.data.target_labels >= self.data.n_classes, self.data.target_labels, -1)
            self._nmi = (answer.features, private_nmi(answer.features, private, self.seed))
        return self._nmi[1]

    def evaluate(self) -> dict[str, float | None]:
        """Classify the target, keep the threshold that was found; return the metrics and the validators' scores."""
        seen = self._look()
        self.method.remember(seen)
        answer = self._answer(seen, None, of_target=True)
        self.threshold.fill_(answer.threshold)
        self.last_answer = answer
        return self.measure(answer) | self.validate(answer)

    def validate(self, answer: Answer) -> dict[str, float | None]:
        """Return the scores that need no target label, of an answer about the target."""

        def ask(images: Images) -> Answer:
            return self.answer(images, answer.threshold)

        source = Subset(self.data.source, self.held_out)
        return validate(gather(answer, self.data.target, source, self.data.source_labels[self.held_out], ask))

    def measure_by_rule(self, answer: Answer) -> dict[str, dict[str, float | None]]:
        """Return the metrics under every rejection rule, beside the threshold each one chose."""
        found: dict[str, dict[str, float | None]] = {}
        for name, rule in RULES.items():
            threshold = rule(answer.scores, self.method.fixed_threshold)
            found[name] = {"threshold": threshold, **self.measure(answer, threshold)}
        return found
