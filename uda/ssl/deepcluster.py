"""DeepCluster: classify images by the k-means clusters of their own features."""

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


class DeepCluster(Objective):
    """Cluster all features anew every epoch and learn the clusters as classes (Caron et al., ECCV 2018, section 3).

    Features → 256 principal components, whitened, L2-normalized → k-means with a new seed; the classifier and its
    optimizer state restart, and pre-training draws images uniformly over the clusters (as an auxiliary head it sees
    what its task draws). `clusters` None: one for 128 images. The strong view stands for the paper's crops, flips and
    Sobel filter, which keeps color out of the clusters.
    """

    name: ClassVar[str] = "deepcluster"
    needs: ClassVar[Need] = Need.PIXELS | Need.INDEX
    assignments: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        clusters: Annotated[int, Field(ge=2)] | None = None,
        every: Positive = 1.0,
        components: Count = 256,
    ):
        super().__init__(encoder, info)
        self.every, self.components = every, components
        clusters = clusters or default_clusters(info.n_images)
        self.clusters = check_clusters(self.name, "clusters", clusters, info.n_images)
        self.head = nn.Linear(encoder.dim, self.clusters)
        self.register_buffer("assignments", torch.zeros(info.n_images, dtype=torch.int64))

    @property
    def sampling_labels(self) -> Tensor:  # type: ignore[override]
        """The clusters, over which training draws uniformly, (N,)."""
        return self.assignments

    def views(self, batch: Batch, clock: Clock) -> Views:
        """One strong view; the targets are the clusters of its images."""
        return Views(self.info.random_view(batch, clock, "a"), targets=self.assignments[batch.index])

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy of the clusters."""
        assert views.targets is not None  # this class made them
        logits = self.head(features)
        accuracy = (logits.argmax(1) == views.targets).float().mean().detach()
        return Loss(F.cross_entropy(logits, views.targets), accuracy=accuracy, chance=math.log(self.clusters))

    def assign_due(self, clock: Clock) -> bool:
        """Return whether `every` epochs have passed."""
        return due_every(self.every, clock)

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Cluster all images and restart the classifier; its parameters are returned."""
        seed = derived_seed(clock.seed, clock.step, "deepcluster")
        labels, _ = k_means(whitened(all_features(encoder, views), self.components), self.clusters, seed)
        self.assignments.copy_(labels)
        return restart(self.head, seed)
