"""Bags of visual words: predict which words an image holds from a perturbed view of it."""

import math
from dataclasses import replace
from typing import Annotated, ClassVar, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder, TimmEncoder
from uda.nn.heads import CosineClassifier
from uda.nn.teacher import Teacher
from uda.random import derived_seed, hash_bits
from uda.ranges import Count, Positive
from uda.ssl.kmeans import k_means
from uda.ssl.objective import AllViews, Info, Loss, Need, Objective, Views

_SAMPLES = 50_000  # local features that a vocabulary is made of, at least


class VisualWords(Objective):
    """Predict the bag of visual words of the clean image from a perturbed one (Gidaris et al., BoWNet, CVPR 2020).

    This is the offline form, iterated: `rounds` times in a run the encoder as it stands is copied (the first time as it
    starts, so pre-trained weights help), k-means makes a vocabulary of the copy's local features, and the copy then
    stays as it is and names the words of clean images until the next round. Prediction is by cosines with one row a
    word, which start anew with each vocabulary. Deviations: the encoder goes on from round to round, where the paper
    trains a new one on a RotNet's words; the bag holds shares of the words (the paper's CIFAR form); the softmax
    temperature is fixed where the paper learns it; views are strongly augmented, without CutMix. `words` is an upper
    limit: there is never more than one for 16 local features.
    """

    name: ClassVar[str] = "visual_words"
    needs: ClassVar[Need] = Need.PIXELS | Need.MAP
    vocabulary: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        words: Annotated[int, Field(ge=2)] = 512,
        rounds: Count = 4,
        temperature: Positive = 0.1,
    ):
        super().__init__(encoder, info)
        self.rounds = rounds
        self.teacher = Teacher(encoder)
        self.teacher.eval()
        device = next(encoder.parameters()).device
        size = info.image_size
        _, places, channels = self._local_features(torch.zeros(1, 3, size, size, device=device)).shape
        self.words = min(words, max(2, info.n_images * places // 16))
        self.head = CosineClassifier(encoder.dim, self.words, temperature)
        self.register_buffer("vocabulary", torch.zeros(self.words, channels))

    def train(self, mode: bool = True) -> "VisualWords":
        """Set the mode of all but the teacher, whose words must not depend on the batch."""
        super().train(mode)
        self.teacher.eval()
        return self

    def views(self, batch: Batch, clock: Clock) -> Views:
        """A strong view for the student; the task's own view for the teacher."""
        return Views(self.info.random_view(batch, clock, "a"), teacher=self.info.augment(batch, clock))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy from the clean image's bag to the predicted one."""
        assert views.teacher is not None  # this class made it
        value = F.cross_entropy(self.head(features).float(), self.bags(views.teacher))
        return Loss(value, chance=math.log(self.words))

    def bags(self, images: Tensor) -> Tensor:
        """Return each word's share of an image's places, (B, 3, S, S) → (B, words), rows summing to 1."""
        local = self._local_features(images)
        nearest = torch.cdist(local, self.vocabulary).argmin(2)  # (B, places)
        shares = torch.full_like(nearest, 1 / nearest.shape[1], dtype=self.vocabulary.dtype)
        return shares.new_zeros(len(local), self.words).scatter_add_(1, nearest, shares)

    def assign_due(self, clock: Clock) -> bool:
        """Return whether a round begins."""
        before = replace(clock, step=clock.step - 1)
        return clock.step == 0 or int(clock.progress * self.rounds) > int(before.progress * self.rounds)

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Copy the encoder, make the vocabulary of its local features, restart the head, whose rows are returned."""
        self.teacher.module.load_state_dict(encoder.state_dict())
        seed = derived_seed(clock.seed, clock.step, "visual words")
        self.vocabulary.copy_(k_means(self._sample(views, clock), self.words, seed)[1])
        rows = torch.randn(self.head.weight.shape, generator=torch.Generator().manual_seed(seed))
        self.head.weight.copy_(F.normalize(rows))
        return [self.head.weight]

    def _sample(self, views: AllViews, clock: Clock) -> Tensor:
        """Return local features from random places of all images, or of every so-many-th, (samples, C)."""
        samples = max(_SAMPLES, 16 * self.words)
        per_image = max(1, math.ceil(samples / self.info.n_images))
        stride = max(1, self.info.n_images // samples)
        start, parts = 0, []
        for images in views():
            rows = torch.arange(start, start + len(images), device=images.device)
            start += len(images)
            local = self._local_features(images)
            places = hash_bits(clock.seed, clock.step, rows, "visual words", local.shape[1]).argsort(1)[:, :per_image]
            picked = local.gather(1, places[:, :, None].expand(-1, -1, local.shape[2]))
            parts.append(picked[rows % stride == 0].flatten(0, 1))
        return torch.cat(parts)

    @torch.no_grad()
    def _local_features(self, images: Tensor) -> Tensor:
        """Return the teacher's map place by place, (B, 3, S, S) → (B, h · w, C) float32."""
        feature_map = cast(TimmEncoder, self.teacher.module).map(images)
        return feature_map.float().flatten(2).transpose(1, 2)
