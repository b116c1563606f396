"""MoCo v2."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.nn.memory import Queue
from uda.nn.teacher import Teacher
from uda.ssl.functional.contrastive import info_nce
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class MoCo(Objective):
    """Find the key of an image's other view among a queue of earlier keys, which a slow encoder makes.

    He et al., CVPR 2020, section 3, with the head and the temperature of Chen et al., "Improved baselines with momentum
    contrastive learning", 2020. The published momentum is 0.999 and the queue 65,536, for runs of a million steps; the
    defaults suit small ones. The slow encoder moves before the keys are made and keys enter the queue after the step.
    Batch norm sees the whole batch of a device: shuffling within one device would change nothing. As published, earlier
    keys of the query's own image are negatives too, which is rare in a queue of less than an epoch; a queue of more
    keys than there are images holds some of every image, and there they are left out.
    """

    name: ClassVar[str] = "moco"
    needs: ClassVar[Need] = Need.PIXELS
    queue_ids: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        temperature: Annotated[float, Field(gt=0)] = 0.2,
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.99,
        queue: Annotated[int, Field(gt=0)] = 4096,
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info)
        self.temperature, self.momentum = temperature, momentum
        self.projector = mlp([encoder.dim, encoder.dim, projection], norm=False)
        self.slow_encoder, self.slow_projector = Teacher(encoder), Teacher(self.projector)
        self.queue = Queue(queue, projection)
        self.register_buffer("queue_ids", torch.full((queue,), -1))  # which image each key is of
        self.holds_all = queue > info.n_images

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Move the slow encoder towards the trained one."""
        self.slow_encoder.update(encoder, self.momentum)
        self.slow_projector.update(self.projector, self.momentum)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """One strong view for the query, another for the key."""
        query, key = (self.info.random_view(batch, clock, view) for view in ("a", "b"))
        return Views(query, teacher=key, ids=batch.index)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """InfoNCE of B queries against their keys and the queue; carries the keys and which images they are of."""
        assert views.ids is not None  # this class gave them
        keys = self.slow_projector(self.slow_encoder(views.teacher))
        rows = self.queue.rows
        own = views.ids[:, None] == self.queue_ids if self.holds_all else None
        value = info_nce(self.projector(features), keys, rows, self.temperature, own)
        return Loss(value, carry=(keys, views.ids), chance=math.log(len(rows) + 1))

    def after_step(self, carry: object) -> None:
        """Put the keys over the oldest of the queue."""
        assert isinstance(carry, tuple)  # what `loss` carried
        keys, ids = carry
        written = self.queue.push(keys)
        self.queue_ids[written] = ids[-len(written) :]
