"""DeeperCluster: rotation prediction and clustering in one, by a hierarchy of classes."""

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import derived_seed
from uda.ranges import Count, Positive
from uda.ssl.kmeans import all_features, check_clusters, default_clusters, due_every, k_means, restart, whitened
from uda.ssl.objective import AllViews, Info, Loss, Need, Objective, Views
from uda.ssl.rotation import rotate_four_ways


class DeeperCluster(Objective):
    """Predict rotation and cluster of an image together (Caron et al., ICCV 2019, section 3).

    A super-class is one of 4 rotations × one of m = `super_clusters` clusters of the upright images; within each of
    those 4m, the features of its images, in its rotation, are clustered again into `sub_clusters` sub-classes (None:
    one for 128 images), which a head of their own tells apart. Everything is clustered anew every 3 epochs and both
    heads restart. All four rotations of each image are in the batch, where the paper draws one; pre-training draws
    images uniformly over the m clusters (as an auxiliary head it sees what its task draws).
    """

    name: ClassVar[str] = "deepercluster"
    needs: ClassVar[Need] = Need.PIXELS | Need.INDEX
    clusters: Tensor
    sub_classes: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        super_clusters: Annotated[int, Field(ge=2)] = 4,
        sub_clusters: Annotated[int, Field(ge=2)] | None = None,
        every: Positive = 3.0,
        components: Count = 256,
    ):
        super().__init__(encoder, info)
        self.every, self.components = every, components
        self.super_clusters = check_clusters(self.name, "super_clusters", super_clusters, info.n_images)
        self.sub_clusters = sub_clusters or max(2, default_clusters(info.n_images) // super_clusters)
        self.super_head = nn.Linear(encoder.dim, 4 * super_clusters)
        self.sub_head = nn.Linear(encoder.dim, 4 * super_clusters * self.sub_clusters)
        self.register_buffer("clusters", torch.zeros(info.n_images, dtype=torch.int64))
        self.register_buffer("sub_classes", torch.zeros(info.n_images, 4, dtype=torch.int64))

    @property
    def sampling_labels(self) -> Tensor:  # type: ignore[override]
        """The clusters of the upright images, over which training draws uniformly, (N,)."""
        return self.clusters

    def views(self, batch: Batch, clock: Clock) -> Views:
        """All rotations of a strong view, (4B, …); targets: (4B, 2), super-class and sub-class of each."""
        images, turns = rotate_four_ways(self.info.random_view(batch, clock, "a"))
        super_classes = 4 * self.clusters[batch.index].repeat(4) + turns
        sub_classes = self.sub_classes[batch.index].T.flatten()
        return Views(images, targets=torch.stack([super_classes, sub_classes], 1))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the super-class + that of the sub-class among those of the true super-class."""
        assert views.targets is not None  # this class made them
        super_classes, sub_classes = views.targets.unbind(1)
        coarse = self.super_head(features)
        fine = self.sub_head(features).unflatten(1, (-1, self.sub_clusters))  # (4B, 4m, sub-classes)
        fine = fine[torch.arange(len(fine), device=fine.device), super_classes]
        value = F.cross_entropy(coarse, super_classes) + F.cross_entropy(fine, sub_classes)
        accuracy = (coarse.argmax(1) == super_classes).float().mean().detach()
        return Loss(value, accuracy=accuracy, chance=math.log(4 * self.super_clusters * self.sub_clusters))

    def assign_due(self, clock: Clock) -> bool:
        """Return whether `every` epochs have passed."""
        return due_every(self.every, clock)

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Cluster all images, then the members of each super-class; restart both heads, which are returned."""

        def seed(purpose: str) -> int:
            return derived_seed(clock.seed, clock.step, f"deepercluster/{purpose}")

        def four_features(images: Tensor) -> Tensor:
            return torch.stack(encoder(rotate_four_ways(images)[0]).chunk(4), 1)

        features = all_features(four_features, views)  # (N, 4, D)
        features = whitened(features.flatten(0, 1), self.components).unflatten(0, (-1, 4))
        self.clusters.copy_(k_means(features[:, 0], self.super_clusters, seed("super"))[0])
        for cluster in range(self.super_clusters):
            members = (self.clusters == cluster).nonzero()[:, 0]
            count = min(self.sub_clusters, len(members))
            for turn in range(4):
                labels, _ = k_means(features[members, turn], count, seed(f"{cluster}/{turn}"))
                self.sub_classes[members, turn] = labels
        return restart(self.super_head, seed("super head")) + restart(self.sub_head, seed("sub head"))
