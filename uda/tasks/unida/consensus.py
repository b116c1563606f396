"""DANCE with a consensus of neighbors: our own recipe where features cluster but the classifier lags behind them."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.clock import Clock
from uda.ranges import Count, Fraction, NotNegative, Positive
from uda.tasks.unida.dance import Dance
from uda.tasks.unida.method import Features, Look, Setup


def neighbors_answers(features: Tensor, bank: Tensor, answers: Tensor, neighbors: int, themselves: bool) -> Tensor:
    """Return for each image the mean answer of its nearest ones in a bank by cosine similarity.

    features: (M, D); bank: (N, D) with answers (N, K), rows of which sum to 1 → (M, K). themselves: the features are
    the bank's, row by row; no image is its own neighbor, nor that of a stranger with the very same features, so that
    an image has one answer whether it comes with the target or alone. Of fewer others all are taken.
    """
    if len(bank) == 1:  # there is nobody else to ask
        return answers.expand(len(features), -1)
    queries, bank = F.normalize(features), F.normalize(bank)
    found = []
    for first in range(0, len(queries), 1024):  # memory stays at 1,024 × N
        similarity = queries[first : first + 1024] @ bank.T
        if themselves:
            similarity.diagonal(first).fill_(-torch.inf)
        else:
            similarity.masked_fill_(similarity > 1 - 1e-6, -torch.inf)
        nearest = similarity.topk(min(neighbors, len(bank) - 1), dim=1).indices
        found.append(answers[nearest].mean(1))
    return torch.cat(found)


class Consensus(Dance):
    """DANCE, and every target image learns what its nearest neighbors in the target say on average.

    Where a cluster of the target lies across the source's decision boundary, the mean over neighbors outvotes single
    images; where a whole cluster is unsure, as unknown ones are, the mean stays unsure and nothing is forced. The
    answers of all images are made anew `rounds` times, evenly over the part of the run after `start`. Close to NRC
    (Yang et al., NeurIPS 2021), which asks a memory at every step and without a source. In the end too an image is
    given the mean answer of its nearest neighbors in the target, whose entropy is its unknown-score.

    consensus: weight of the cross-entropy with the neighbors' answers; neighbors: how many are asked; ramp: fraction of
    the part after `start` over which all terms on the target rise to their weights.
    """

    name: ClassVar[str] = "consensus"
    taught: Tensor
    bank: Tensor
    bank_answers: Tensor

    def __init__(
        self,
        setup: Setup,
        *,
        temperature: Positive = 0.05,
        eta: NotNegative = 0.05,
        margin: NotNegative = 0.5,
        start: Fraction = 0.5,
        compat: Literal["paper", "official"] = "paper",
        consensus: NotNegative = 1.0,
        neighbors: Count = 32,
        rounds: Count = 1,
        ramp: Fraction = 0.1,
    ):
        super().__init__(setup, temperature=temperature, eta=eta, margin=margin, start=start, compat=compat)
        self.consensus, self.neighbors, self.rounds, self.ramp = consensus, neighbors, rounds, ramp
        unsure = torch.full((setup.n_target, setup.n_classes), 1 / setup.n_classes)
        self.register_buffer("taught", unsure)
        # What new images are compared with: the target as the last evaluation saw it.
        self.register_buffer("bank", torch.zeros(setup.n_target, setup.dim))
        self.register_buffer("bank_answers", unsure.clone())

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

    def remember(self, seen: Look) -> None:
        """Keep all target features and what the classifier says of each."""
        self.bank.copy_(seen.features)
        self.bank_answers.copy_(seen.logits.softmax(1))

    def answers(self, features: Tensor, logits: Tensor, of_target: bool) -> tuple[Tensor, Tensor]:
        """Return the mean answers of the nearest target images, and their entropy."""
        bank, said = self.bank.cpu(), self.bank_answers.cpu()
        probabilities = neighbors_answers(features, bank, said, self.neighbors, themselves=of_target)
        return probabilities, -torch.special.xlogy(probabilities, probabilities).sum(1)

    def _phase(self, clock: Clock) -> float:
        """Fraction of the part after `start` that is done."""
        return (clock.progress - self.start_at) / max(1e-9, 1 - self.start_at)

    def _round(self, clock: Clock) -> int:
        return int(self._phase(clock) * self.rounds)
