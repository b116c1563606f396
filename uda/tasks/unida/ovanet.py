"""OVANet: one binary classifier a class learns from the source where "unknown" begins."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from uda.clock import Clock
from uda.nn.heads import OneVsAllClassifier
from uda.ranges import NotNegative
from uda.ssl.functional import hard_negative_one_vs_all, open_set_entropy
from uda.tasks.unida.method import Features, Method, Setup


class OvaNet(Method):
    """One-vs-all network for universal domain adaptation (Saito and Saenko, ICCV 2021).

    Loss: cross-entropy(source) + one_vs_all · one-vs-all(source) with the hardest negative class only (section 3.1)
    + open_set · entropy of the binary classifiers(target) (section 3.2). At the end the closed-set classifier names the
    class, and 1 − the score of that class's binary classifier is the unknown-score, at 0.5 (section 3.4).

    It differs from the paper in the cosine classifiers with a temperature, where the released code normalizes the rows
    alone. As in that code the one-vs-all term is the mean of its two halves and the entropy is a mean over the classes;
    the paper's equations sum.
    """

    name: ClassVar[str] = "ovanet"
    uses_target: ClassVar[bool] = True
    moves_features: ClassVar[bool] = True

    def __init__(self, setup: Setup, *, one_vs_all: NotNegative = 0.5, open_set: NotNegative = 0.1, **classifier: Any):
        super().__init__(setup, **classifier)
        self.one_vs_all, self.open_set = one_vs_all, open_set
        self.binary = OneVsAllClassifier(setup.dim, setup.n_classes, self.temperature)

    @property
    def fixed_threshold(self) -> float:
        """One half: unknown is more likely than the class."""
        return 0.5

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return the three weighted terms."""
        assert features.target is not None
        return super().forward(features, clock) | {
            "one_vs_all": self._one_vs_all(features.source, features.labels),
            "open_set_entropy": self.open_set * open_set_entropy(self.binary(features.target)),
        }

    def supervised(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy and the one-vs-all loss of labelled target images."""
        return super().supervised(features, labels) + self._one_vs_all(features, labels)

    def _one_vs_all(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.one_vs_all * hard_negative_one_vs_all(self.binary(features), labels)

    @torch.no_grad()
    def answers(self, features: Tensor, logits: Tensor, of_target: bool) -> tuple[Tensor, Tensor]:
        """Return the closed-set probabilities, and 1 − the score of the best class's binary classifier."""
        binary = self.binary(features.to(self.classifier.weight.device)).float().cpu()
        return logits.softmax(1), (-binary.gather(1, logits.argmax(1, keepdim=True))[:, 0]).sigmoid()
