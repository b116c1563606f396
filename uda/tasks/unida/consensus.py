"""DANCE with a consensus of neighbors: where features cluster but a classifier from random weights lags behind."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from uda.clock import Clock
from uda.ranges import Count, Fraction, NotNegative
from uda.tasks.unida.method import Features, Look, Setup
from uda.tasks.unida.vote import Vote, neighbors_answers


class Consensus(Vote):
    """The vote, and every target image learns what its nearest neighbors in the target say on average.

    Where a cluster of the target lies across the source's decision boundary, the mean over neighbors outvotes single
    images; where a whole cluster is unsure, as unknown ones are, the mean stays unsure and nothing is forced. The
    answers of all images are made anew `rounds` times, evenly over the part of the run after `start`. Close to NRC
    (Yang et al., NeurIPS 2021), which asks a memory at every step and without a source.

    consensus: weight of the cross-entropy with the neighbors' answers; ramp: fraction of the part after `start` over
    which all terms on the target rise to their weights.
    """

    name: ClassVar[str] = "consensus"
    taught: Tensor

    def __init__(
        self,
        setup: Setup,
        *,
        start: Fraction = 0.5,
        consensus: NotNegative = 1.0,
        rounds: Count = 1,
        ramp: Fraction = 0.1,
        **vote: Any,
    ):
        super().__init__(setup, start=start, **vote)
        self.consensus, self.rounds, self.ramp = consensus, rounds, ramp
        self.register_buffer("taught", torch.full((setup.n_target, setup.n_classes), 1 / setup.n_classes))

    def prepare(self, clock: Clock, look: Callable[[], Look]) -> None:
        """Ask the neighbors anew at the start of each round."""
        super().prepare(clock, look)
        if not self.adapts(clock):
            return
        before = replace(clock, step=clock.step - 1)
        if not self.adapted_before(clock) or self._round(clock) > self._round(before):
            seen = look()
            self.taught.copy_(
                neighbors_answers(seen.features, seen.features, seen.logits.softmax(1), self.neighbors, themselves=True)
            )

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return DANCE's terms and the cross-entropy with the neighbors' answers."""
        losses = super().forward(features, clock)
        if features.target is None:
            return losses | {"consensus": features.source.new_zeros(())}
        assert features.index is not None
        log_probabilities = self.classifier(features.target).log_softmax(1)
        losses["consensus"] = -self.consensus * (self.taught[features.index] * log_probabilities).sum(1).mean()
        rise = min(1.0, self._phase(clock) / self.ramp) if self.ramp else 1.0
        return {name: loss if name == "classification" else rise * loss for name, loss in losses.items()}

    def _phase(self, clock: Clock) -> float:
        """Fraction of the part after `start` that is done."""
        return (clock.progress - self.start_at) / max(1e-9, 1 - self.start_at)

    def _round(self, clock: Clock) -> int:
        return int(self._phase(clock) * self.rounds)
