"""Supervised contrastive learning, with all positives or k of them."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.nn.memory import Queue
from uda.nn.teacher import Teacher
from uda.ranges import Fraction
from uda.ssl.functional.contrastive import k_positive_contrastive, supervised_contrastive
from uda.ssl.objective import Info, Loss, Need, Objective, Views, refuse_options
from uda.ssl.seeded import SeededViews, seed_of

_NO_CLASS = torch.iinfo(torch.int64).min  # of the random rows that a queue starts with


class KCL(Objective):
    """Draw an image to its other view and to k images of its class (Kang et al., ICLR 2021, section 3.2).

    positives: k, the same for frequent and rare classes, which balances the feature space; None: all of the class
    (Khosla et al., "Supervised contrastive learning", NeurIPS 2020). queue: how many keys of earlier steps positives
    and negatives come from, made by a slow encoder that follows by `momentum` (None: 0.99) as in MoCo; the paper has
    65,536. With queue=0 they come from the batch, in which a rare class has fewer than k. The unused positives stand
    in no denominator; compat "official" is the released code, which takes the first k of the queue and leaves the
    others among the negatives.
    """

    name: ClassVar[str] = "kcl"
    needs: ClassVar[Need] = Need.PIXELS | Need.LABELS
    queue_classes: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        positives: Annotated[int, Field(gt=0)] | None = 6,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        projection: Annotated[int, Field(gt=0)] = 128,
        queue: Annotated[int, Field(ge=0)] = 0,
        momentum: Fraction | None = None,
        compat: Literal["paper", "official"] = "paper",
    ):
        super().__init__(encoder, info)
        if not queue:
            official = compat if compat == "official" else None
            refuse_options(type(self), "queue=4096", momentum=momentum, compat=official)
        self.positives, self.temperature, self.official = positives, temperature, compat == "official"
        self.momentum = 0.99 if momentum is None else momentum
        self.projector = mlp([encoder.dim, encoder.dim, projection], norm=False)
        self.queued = queue > 0
        if self.queued:
            self.slow_encoder, self.slow_projector = Teacher(encoder), Teacher(self.projector)
            self.queue = Queue(queue, projection)
            self.register_buffer("queue_classes", torch.full((queue,), _NO_CLASS))

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Move the slow encoder, if there is one, towards the trained one."""
        if self.queued:
            self.slow_encoder.update(encoder, self.momentum)
            self.slow_projector.update(self.projector, self.momentum)

    def views(self, batch: Batch, clock: Clock) -> SeededViews:
        """Two independent strong views and the classes: [a; b], or a for the query and b for its key."""
        a, b = (self.info.random_view(batch, clock, view) for view in ("a", "b"))
        assert batch.labels is not None  # a task without labels is refused before anything trains
        # An image without a label is a class of its own, not of one class with all the others.
        classes = torch.where(batch.labels < 0, -1 - batch.index, batch.labels)
        images, key = (a, b) if self.queued else (torch.cat([a, b]), None)
        return SeededViews(images, targets=classes, teacher=key, ids=batch.index, seed=seed_of(clock, "kcl"))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Contrastive loss, mean over the B queries, which carries keys and classes; or over the 2B views."""
        assert isinstance(views, SeededViews)  # this class made them
        assert views.targets is not None  # as above
        assert views.ids is not None
        z, classes = self.projector(features), views.targets
        if not self.queued:
            images = views.ids.repeat(2)
            return Loss(
                supervised_contrastive(
                    z, classes.repeat(2), self.temperature, self.positives, views.generator(), images
                )
            )
        keys, same = self.slow_projector(self.slow_encoder(views.teacher)), classes[:, None] == self.queue_classes
        drawn = k_positive_contrastive(
            z, keys, self.queue.rows, same, self.temperature, self.positives, views.generator(), self.official
        )
        return Loss(drawn, carry=(keys, classes))

    def after_step(self, carry: object) -> None:
        """Put the keys, if there are any, over the oldest of the queue."""
        if self.queued:
            assert isinstance(carry, tuple)  # what `loss` carried
            keys, classes = carry
            written = self.queue.push(keys)
            self.queue_classes[written] = classes[-len(written) :]
