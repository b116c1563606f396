"""What an adaptation method is: a classifier and the losses that train it, on features of both domains."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from uda.clock import Clock
from uda.nn.heads import CosineClassifier
from uda.ranges import Positive
from uda.ssl.functional import entropy


@dataclass(frozen=True)
class Setup:
    """dim: width of the features; n_classes: K, the source's classes; n_target: rows of the target's table."""

    dim: int
    n_classes: int
    n_target: int


@dataclass(frozen=True)
class Features:
    """One step's features of both domains.

    source: (B, D) with labels (B,); target: (B, D) with its rows in the target's table (B,), None where not asked for.
    """

    source: Tensor
    labels: Tensor
    target: Tensor | None
    index: Tensor | None


@dataclass(frozen=True)
class Look:
    """All target images in their evaluation view, as the model stands: features (N, D) and logits (N, K)."""

    features: Tensor
    logits: Tensor


class Method(nn.Module):
    """A cosine classifier trained with cross-entropy on the source; subclasses add what adapts it.

    The options of a method are its constructor's keyword arguments; recipes set them by those names. What a constructor
    passes on (`**`) are the options of the class above.
    """

    name: ClassVar[str]
    uses_target: ClassVar[bool] = False
    moves_features: ClassVar[bool] = False
    rejection: ClassVar[str] = "otsu"
    """Which of `uda.probes.rejection.RULES` draws the line unless the recipe names another."""

    def __init__(self, setup: Setup, *, temperature: Positive = 0.05):
        super().__init__()
        self.setup, self.temperature = setup, temperature
        self.classifier = CosineClassifier(setup.dim, setup.n_classes, temperature)

    @property
    def fixed_threshold(self) -> float:
        """The unknown-score above which the paper rejects: log(K)/2, half the largest entropy (DANCE, section 3.3)."""
        return math.log(self.setup.n_classes) / 2

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return the weighted loss terms of one step."""
        return {"classification": F.cross_entropy(self.classifier(features.source), features.labels)}

    def supervised(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of labelled target images, features (B, D) with labels (B,): all that labels teach here."""
        return F.cross_entropy(self.classifier(features), labels)

    def adapts(self, clock: Clock) -> bool:
        """Return whether the target's features are wanted in this step; a pure function of the clock."""
        return self.uses_target

    def prepare(self, clock: Clock, look: Callable[[], Look]) -> None:
        """Make what needs a look at all target images (a memory's first rows), before the step that needs it."""

    def before_step(self) -> None:
        """Move what must move before the forward passes."""

    def after_step(self, features: Features) -> None:
        """Move what must move after the optimizer's step."""

    def remember(self, seen: Look) -> None:
        """Keep what `answers` wants to know of all target images; called before each evaluation."""

    def answers(self, features: Tensor, logits: Tensor, of_target: bool) -> tuple[Tensor, Tensor]:
        """Return probabilities (N, K) and unknown scores (N,), higher for more unknown: here the entropy in nats.

        features: (N, D) with logits (N, K), of all target images in order (`of_target`) or of any others.
        """
        return logits.softmax(1), entropy(logits)
