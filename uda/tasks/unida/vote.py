"""DANCE whose target images vote: our own recipe, one set of constants for all four settings."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ranges import Count
from uda.tasks.unida.dance import Dance
from uda.tasks.unida.method import Look, Setup


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


class Vote(Dance):
    """DANCE, and in the end each image is given the mean answer of its nearest neighbors in the target.

    Where a cluster of the target lies across the source's decision boundary, the vote is right where single images are
    not; where a whole cluster is unsure, as unknown ones are, the vote is unsure too. So the entropies of votes fall
    into two groups more clearly than those of single answers, and `otsu_or_none` reads from them whether there is
    anything unknown at all.

    neighbors: how many vote; None: √N of N target images.
    """

    name: ClassVar[str] = "vote"
    rejection: ClassVar[str] = "otsu_or_none"
    bank: Tensor
    bank_answers: Tensor

    def __init__(self, setup: Setup, *, neighbors: Count | None = None, **dance: Any):
        super().__init__(setup, **dance)
        self.neighbors = neighbors or max(1, round(setup.n_target**0.5))
        # What new images are compared with: the target as the last evaluation saw it.
        self.register_buffer("bank", torch.zeros(setup.n_target, setup.dim))
        self.register_buffer("bank_answers", torch.full((setup.n_target, setup.n_classes), 1 / setup.n_classes))

    def remember(self, seen: Look) -> None:
        """Keep all target features and what the classifier says of each."""
        self.bank.copy_(seen.features)
        self.bank_answers.copy_(seen.logits.softmax(1))

    def answers(self, features: Tensor, logits: Tensor, of_target: bool) -> tuple[Tensor, Tensor]:
        """Return the mean answers of the nearest target images, and their entropy."""
        bank, said = self.bank.cpu(), self.bank_answers.cpu()
        probabilities = neighbors_answers(features, bank, said, self.neighbors, themselves=of_target)
        return probabilities, -torch.special.xlogy(probabilities, probabilities).sum(1)
