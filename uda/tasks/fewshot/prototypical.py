"""Prototypical networks: training is made of episodes as testing is."""

from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder
from uda.probes.episodes import sample_episodes
from uda.random import derived_seed
from uda.ranges import Count
from uda.tasks.fewshot.method import Method, Sampler
from uda.tasks.supervised import Sample


class Prototypical(Method):
    """Snell et al., NeurIPS 2017: queries are told by the squared distance to the means of an episode's support.

    train_ways, train_shots: of the episodes of training; the batch's other images are queries, as many of each way as
    its size allows. A linear classifier of the base classes is learned beside it, on features that its gradient does
    not reach, to say how well they are told apart.
    """

    name: ClassVar[str] = "prototypical"
    tells_by: ClassVar[str] = "euclidean"
    whole_batch: ClassVar[bool] = True  # an episode goes by places

    def __init__(
        self,
        encoder: Encoder,
        n_classes: int,
        *,
        train_ways: Annotated[int, Field(ge=2)] = 5,
        train_shots: Count = 5,
    ):
        super().__init__(encoder, n_classes)
        self.ways, self.shots = train_ways, train_shots

    def sampler(self, labels: np.ndarray, batch_size: int, seed: int) -> Sampler:
        """Return the rows of one episode a step, (ways · (shots + queries),), way by way, its support first."""
        queries = batch_size // self.ways - self.shots
        if queries < 1:
            raise UserError(
                f"a batch of {batch_size} leaves no queries beside {self.ways} ways of {self.shots} shots; give "
                f"--batch-size {self.ways * (self.shots + 1)} or more"
            )

        fitting = int((np.bincount(labels[labels >= 0]) >= self.shots + queries).sum())
        if fitting < self.ways:
            raise UserError(
                f"training episodes of {self.ways} ways, {self.shots} shots and {queries} queries (a batch of "
                f"{batch_size}) need {self.ways} base classes with {self.shots + queries} images each that are not "
                f"held out, and there are {fitting}; lower --batch-size, method.train_ways or method.train_shots"
            )

        def drawn(step: int) -> np.ndarray:
            own = derived_seed(seed, step, "training episode")
            episode = sample_episodes(labels, 1, self.ways, self.shots, queries, own)
            return torch.cat([episode.support, episode.query], dim=2).flatten().numpy()

        return drawn

    def forward(self, features: Tensor, sample: Sample, clock: Clock) -> dict[str, Tensor]:
        """Return the loss of the episode, and that of the classifier beside it."""
        losses = super().forward(features.detach(), sample, clock)
        logits = episode_logits(features.float(), self.ways, self.shots)
        true = torch.arange(self.ways, device=features.device).repeat_interleave(len(logits) // self.ways)
        return {"episode": F.cross_entropy(logits, true)} | losses


def episode_logits(features: Tensor, ways: int, shots: int) -> Tensor:
    """Return −‖q − mean of the support‖² of each query and each way, (ways · queries, ways), queries way by way.

    features: (ways · (shots + queries), D), way by way, the support of each first.
    """
    support, query = features.unflatten(0, (ways, -1)).split([shots, len(features) // ways - shots], dim=1)
    return -torch.cdist(query.flatten(0, 1), support.mean(1)).square()
