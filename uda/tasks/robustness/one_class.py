"""One class: from images of a single class to a score of whatever is not of it."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from uda.clock import Clock
from uda.datasets.streams import Images
from uda.errors import UserError
from uda.metrics import ood_metrics
from uda.nn.encoder import Encoder
from uda.probes.ood import by_image, one_class_score
from uda.ssl.objective import Objective, Views
from uda.ssl.rotation import Rotation, rotate_four_ways
from uda.ssl.turn_shift import TurnShift
from uda.tasks.robustness.method import Method
from uda.tasks.robustness.task import Robust
from uda.tasks.supervised import Sample


class OneClass(Method):
    """Hendrycks et al., NeurIPS 2019, section 4.2: nothing but the objective learns, from images of the class `normal`.

    normal: a class's name, None: the first.
    """

    name: ClassVar[str] = "one_class"

    def __init__(self, encoder: Encoder, n_classes: int, *, normal: str | None = None):
        super().__init__(encoder, n_classes)
        self.normal = normal
        self.classifier.requires_grad_(False)

    @staticmethod
    def number_of(normal: str | None, class_names: Sequence[str]) -> int:
        """Return which class is normal; UserError for a name that is none of theirs."""
        if normal is not None and normal not in class_names:
            listed = ", ".join(class_names[:10])
            raise UserError(f"method.normal='{normal}' is no class of these images; name one of {listed}")
        return 0 if normal is None else list(class_names).index(normal)

    def encode(self, encoder: Encoder, views: Tensor, sample: Sample, clock: Clock) -> Tensor:
        """Encode nothing: there is no class loss."""
        return views

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return no loss."""
        return {}


class OneClassTask(Robust):
    """Objectives on images of one class; the test images of all others are to be told from its own."""

    last_scores: np.ndarray
    metric_names: tuple[str, ...] = ("auroc", "aupr_in", "aupr_out", "fpr95_in", "fpr95_out")

    def evaluate(self) -> dict[str, float | None]:
        """Return how well −log p of the right transforms tells other classes from the normal one."""
        scores, normal = self.scores(self.data.test_images), self.normal_rows()
        self.last_scores = scores
        self.last_metrics = dict(ood_metrics(scores[normal], scores[~normal]))
        return self.last_metrics

    def normal_class(self) -> int:
        """Return which class was learned from."""
        assert isinstance(self.method, OneClass)
        return OneClass.number_of(self.method.normal, self.data.class_names)

    def normal_rows(self) -> np.ndarray:
        """Return which test images are of that class, (M,) bool."""
        return self.data.test_labels == self.normal_class()

    @torch.no_grad()
    def scores(self, images: Images, batch_size: int = 64) -> np.ndarray:
        """Return the unknown-score of each image, (N,): over all rotations, and shifts where these were learned."""
        training = self.training
        self.eval()
        found = [transform_score(self.encoder, self._judge(), views) for views in self.plain_views(images, batch_size)]
        self.train(training)
        return torch.cat(found).cpu().numpy()

    def _judge(self) -> Objective:
        judges = [one for one in self.objectives if isinstance(one, Rotation | TurnShift)]
        return judges[0]


def transform_score(encoder: Encoder, objective: Objective, views: Tensor) -> Tensor:
    """Return −Σ log p(right transform) of views (B, 3, S, S) in [0, 1], over all transforms and heads, (B,)."""
    if isinstance(objective, TurnShift):
        images, what = objective.every_transform(views)
        features, heads = encoder(images), list(objective.heads)
    else:
        assert isinstance(objective, Rotation)
        images, _ = rotate_four_ways(views)
        what = torch.arange(4, device=views.device)[:, None]
        features, heads = objective.encode(encoder, Views(images)), [objective.head]
    logits = [by_image(head(features).float(), len(what)) for head in heads]
    return one_class_score(logits, list(what.T))
