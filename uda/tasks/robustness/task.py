"""Training for robustness: standard, adversarial or AugMix, each with any objectives on the same images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import Shuffled
from uda.datasets.streams import Images, Stream, Subset
from uda.errors import UserError
from uda.metrics import expected_calibration_error, negative_log_likelihood
from uda.nn.encoder import Encoder
from uda.probes.robustness import Examined, Findings
from uda.ssl.objective import Objective
from uda.ssl.views import NoAugmentation
from uda.tasks.robustness.method import Method
from uda.tasks.supervised import Sample, Supervised


@dataclass(frozen=True)
class RobustData:
    """The images to learn from and those to be tested on.

    labels: (N,) as training is given them, noise and all; −1 where it shall not see an image (validation). validation:
    rows of those, whose true labels are `true_labels` (N,); test_labels: (M,), read by `evaluate` alone. test_groups:
    (M,), None where nothing says what belongs together. examined: what the report at the end looks at, None where there
    is none.
    """

    images: Images
    labels: np.ndarray
    true_labels: np.ndarray
    validation: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    test_groups: np.ndarray | None = None
    examined: Examined | None = None

    @property
    def rows(self) -> np.ndarray:
        """Which images training may see."""
        return np.flatnonzero(self.labels >= 0)


class Robust(Supervised):
    """A supervised method and any objectives, on images as they come or on those that an attack has made of them."""

    method: Method
    metric_names: tuple[str, ...] = ("accuracy", "ece", "nll")

    def __init__(
        self,
        encoder: Encoder,
        method: Method,
        objectives: Sequence[tuple[Objective, float]],
        data: RobustData,
        augment: NoAugmentation,
        batch_size: int,
        seed: int,
        backbone_lr_scale: float = 1.0,
    ):
        super().__init__(encoder, method, objectives, augment, backbone_lr_scale)
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self.judges: list[nn.Module] = []  # a saved run's head that tells turns, where nothing is trained
        self.findings: Findings | None = None  # of the report at the end

    def streams(self) -> dict[str, Stream]:
        """All images that training may see, each once an epoch, by their numbers among these."""
        drawn = Shuffled(len(self.data.rows), self.batch_size, self.seed, "images")
        labels = self.data.labels[self.data.rows]
        return {"images": Stream("images", self.learned(), drawn, labels)}

    def learned(self) -> Images:
        """All images that training may see: pseudo-labels are made of no others."""
        return Subset(self.data.images, self.data.rows)

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the method and of each objective, both on attacked images where the method attacks."""
        batch = batches["images"]
        assert batch.labels is not None
        sample = Sample(batch.labels, torch.zeros_like(batch.labels), batch.index)
        if self.method.attacks:
            batch = replace(batch, images=self._attacked(batch, sample, clock))
        auxiliary, shared = self.auxiliary(batch, clock)
        return self.supervised(shared, batch, sample, clock) | auxiliary

    def _attacked(self, batch: Batch, sample: Sample, clock: Clock) -> Tensor:
        """Return the task's own views of a batch after the method's attack, (B, 3, S, S) float in [0, 1]."""

        def ascend(labels: Tensor, weight: float) -> Callable[[Tensor], Tensor]:
            def losses(views: Tensor) -> Tensor:
                logits = self.method.classifier(self.encoder(views))
                found = F.cross_entropy(logits.float(), labels, reduction="none")
                for objective in self.objectives if weight else ():
                    # The same draws as in the step itself: what an image undergoes is a hash of seed, step and row.
                    assert isinstance(objective, Objective)
                    found = found + weight * self._ascended(objective, replace(batch, images=views), clock)
                return found

            return losses

        return self.method.attacked(self, self.augment(batch, clock), sample, ascend, clock)

    def _ascended(self, objective: Objective, batch: Batch, clock: Clock) -> Tensor:
        try:
            return objective(self.encoder, batch, clock).value
        except RuntimeError as error:
            if "automatic differentiation" not in str(error):
                raise
            raise UserError(
                f"no gradient passes through the views of objective '{objective.name}' to an attack; give "
                "--set views.name=differentiable, or method.attack_objectives=0"
            ) from error

    def evaluate(self) -> dict[str, float | None]:
        """Return accuracy and calibration on clean test images."""
        answer, labels = self.answer(self.data.test_images), self.data.test_labels
        right = answer.closed == labels
        self.last_answer, self.last_right = answer, {"accuracy": right}
        self.last_metrics = {
            "accuracy": float(right.mean()) if len(right) else None,
            "ece": expected_calibration_error(answer.probabilities, labels),
            "nll": negative_log_likelihood(answer.probabilities, labels),
        }
        return self.last_metrics
