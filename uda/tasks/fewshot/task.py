"""Few-shot boosting: base classes are learned with self-supervision, novel ones are told by a few images each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.sampling import Shuffled
from uda.datasets.streams import Concatenated, Images, Stream, Subset
from uda.nn.encoder import Encoder
from uda.probes.episodes import CLASSIFIERS, EpisodeAccuracy, Episodes, evaluate_episodes, sample_episodes
from uda.ssl.objective import Objective
from uda.ssl.views import NoAugmentation
from uda.tasks.fewshot.method import Method
from uda.tasks.supervised import Sample, Supervised, joined

_WATCHED = 200
"""Episodes that evaluations during training have; the last one has all."""


@dataclass(frozen=True)
class FewshotData:
    """Base images to learn from, novel ones to be tested on.

    labels: (N,) in 0 … K−1, −1 where training shall not see an image; held_out: rows of base images that are not
    trained on, with `true_labels` (N,). novel_labels: (M,), read by `evaluate` alone. unlabelled: further images for
    the objectives, or None.
    """

    images: Images
    labels: np.ndarray
    true_labels: np.ndarray
    held_out: np.ndarray
    novel: Images
    novel_labels: np.ndarray
    class_names: tuple[str, ...]
    novel_names: tuple[str, ...]
    unlabelled: Images | None = None


@dataclass(frozen=True)
class Protocol:
    """What novel classes are tested by: episodes of `ways` classes, each of `shots`, `queries` images of each.

    unlabelled: further images of each way that a semi-supervised classifier may look at; seed: of the episodes, which
    are the same for every model.
    """

    ways: int = 5
    shots: tuple[int, ...] = (1, 5)
    queries: int = 15
    episodes: int = 2000
    unlabelled: int = 0
    classifier: str = "cosine"
    seed: int = 0


@dataclass(frozen=True)
class Tested:
    """What episodes with so many shots gave, by classifier."""

    shots: int
    episodes: Episodes
    by_classifier: Mapping[str, EpisodeAccuracy] = field(default_factory=dict)


class Fewshot(Supervised):
    """A method on base classes and any objectives; unlabelled images, where there are any, join the objectives."""

    method: Method

    def __init__(
        self,
        encoder: Encoder,
        method: Method,
        objectives: Sequence[tuple[Objective, float]],
        data: FewshotData,
        protocol: Protocol,
        augment: NoAugmentation,
        batch_size: int,
        seed: int,
        backbone_lr_scale: float = 1.0,
    ):
        super().__init__(encoder, method, objectives, augment, backbone_lr_scale)
        self.data, self.protocol, self.batch_size, self.seed = data, protocol, batch_size, seed
        self.metric_names = (*(f"novel_accuracy_{shots}" for shots in protocol.shots), "base_accuracy")
        self.step, self.total = 0, 0
        self.tested: list[Tested] = []

    def streams(self) -> dict[str, Stream]:
        """Base images as the method draws them; unlabelled ones beside them, if objectives want any."""
        labels = self.data.labels
        found = {
            "base": Stream("base", self.data.images, self.method.sampler(labels, self.batch_size, self.seed), labels)
        }
        if self.data.unlabelled is not None and len(self.objectives):
            drawn = Shuffled(len(self.data.unlabelled), self.batch_size, self.seed, "unlabelled")
            found["unlabelled"] = Stream("unlabelled", self.data.unlabelled, drawn)
        return found

    def learned(self) -> Images:
        """The base images, the unlabelled ones after them."""
        own = self.data.images
        return own if self.data.unlabelled is None else Concatenated((own, self.data.unlabelled))

    def forward(self, batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        """Return the losses of the method on base images and of each objective on all images of the step."""
        self.step, self.total = clock.step + 1, clock.total
        base, more = batches["base"], batches.get("unlabelled")
        assert base.labels is not None
        sample = Sample(base.labels, torch.zeros_like(base.labels), base.index)
        auxiliary, shared = self.auxiliary(base if more is None else joined(base, more, len(self.data.images)), clock)
        return self.supervised(shared, base, sample, clock) | auxiliary

    def evaluate(self) -> dict[str, float | None]:
        """Return the accuracy on novel classes by the protocol, and on base images that were not trained on."""
        last = self.step >= self.total
        count = self.protocol.episodes if last else min(_WATCHED, self.protocol.episodes)
        novel = self.answer(self.data.novel)
        self.tested = self.test(torch.from_numpy(novel.features), count, every=last)
        held = self.data.held_out
        right = self.answer(Subset(self.data.images, held)).closed == self.data.true_labels[held]
        chosen = self.protocol.classifier
        self.last_answer = novel
        self.last_right = {"base_accuracy": right} | {
            f"novel_accuracy_{one.shots}": one.by_classifier[chosen].per_episode for one in self.tested
        }
        self.last_metrics = {
            name: float(values.mean()) if len(values) else None for name, values in self.last_right.items()
        }
        return {name: self.last_metrics[name] for name in self.metric_names}

    def test(self, features: Tensor, count: int, every: bool) -> list[Tested]:
        """Return what episodes on features (M, D) of the novel images give, by every classifier or the chosen one."""
        own, found = self.protocol, []
        names = CLASSIFIERS if every else [own.classifier]
        for shots in own.shots:
            episodes = sample_episodes(
                self.data.novel_labels, count, own.ways, shots, own.queries, own.seed, own.unlabelled
            )
            found.append(Tested(shots, episodes, {name: evaluate_episodes(features, episodes, name) for name in names}))
        return found
