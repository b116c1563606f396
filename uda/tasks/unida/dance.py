"""DANCE: neighborhood clustering and entropy separation."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from uda.clock import Clock
from uda.nn.memory import MemoryBank
from uda.ranges import Fraction, NotNegative
from uda.ssl.functional import entropy_separation, neighborhood_clustering
from uda.tasks.unida.method import Features, Look, Method, Setup


class Dance(Method):
    """Domain adaptive neighborhood clustering via entropy optimization (Saito et al., NeurIPS 2020).

    Loss: cross-entropy(source) + eta · (neighborhood clustering + entropy separation), equation 7.

    temperature: of the classifier and of the similarities; eta: weight of both terms; margin: of the entropy separation
    around log(K)/2; start: fraction of the run after which the target is looked at (0 in the paper; a network that
    starts from random weights is unsure of every target image at first, and entropy separation would make that
    permanent).
    bank: what the memory's numbers are kept in; bfloat16 takes half the room, two bytes a number.
    compat: "paper" is the clean form: the memory starts with the target's features, entropies are exact, and the
    classifier's rows are normalized in the forward pass. "official" is the released code: the memory starts at zero,
    1e-5 stands inside the logarithms, rows are normalized in place at the start of a step only, and log(K)/2 is cut to
    two decimals.
    """

    name: ClassVar[str] = "dance"
    uses_target: ClassVar[bool] = True
    moves_features: ClassVar[bool] = True

    def __init__(
        self,
        setup: Setup,
        *,
        eta: NotNegative = 0.05,
        margin: NotNegative = 0.5,
        start: Fraction = 0.0,
        bank: Literal["float32", "bfloat16"] = "float32",
        compat: Literal["paper", "official"] = "paper",
        **classifier: Any,
    ):
        super().__init__(setup, **classifier)
        self.eta, self.margin, self.start_at = eta, margin, start
        self.official = compat == "official"
        self.eps = 1e-5 if self.official else 0.0
        rho = self.fixed_threshold
        self.rho = math.floor(rho * 100) / 100 if self.official else rho
        self.classifier.normalize_rows = not self.official
        self.memory = MemoryBank(setup.n_target, setup.dim, getattr(torch, bank))

    def adapts(self, clock: Clock) -> bool:
        """From `start` on."""
        return clock.progress >= self.start_at

    def prepare(self, clock: Clock, look: Callable[[], Look]) -> None:
        """Fill the memory from one pass over the target; the released code lets it start at zero."""
        if not self.official and self.adapts(clock) and not self.adapted_before(clock):
            features = look().features
            self.memory.rows.copy_(features / features.norm(dim=1, keepdim=True).clamp_min(1e-12))

    def adapted_before(self, clock: Clock) -> bool:
        """Return whether the step before this one looked at the target too."""
        return clock.step > 0 and self.adapts(replace(clock, step=clock.step - 1))

    def before_step(self) -> None:
        """Renew the rows' norm, where the forward pass does not."""
        if self.official:
            self.classifier.normalize_()

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return the three weighted terms."""
        losses = super().forward(features, clock)
        if features.target is None:  # before `start`
            nothing = features.source.new_zeros(())
            return losses | {"neighborhood_clustering": nothing, "entropy_separation": nothing}
        assert features.index is not None
        logits = self.classifier(features.target)
        clustering = neighborhood_clustering(
            features.target, logits, self.memory.rows, features.index, self.temperature, self.eps
        )
        losses["neighborhood_clustering"] = self.eta * clustering
        losses["entropy_separation"] = self.eta * entropy_separation(logits, self.rho, self.margin, self.eps)
        return losses

    def after_step(self, features: Features) -> None:
        """Write this step's features, computed before the optimizer moved, into the memory."""
        if features.target is None:
            return
        assert features.index is not None
        self.memory.write(features.index, features.target)
