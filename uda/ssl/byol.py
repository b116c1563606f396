"""BYOL: predict a momentum teacher's projection of the other view."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import mlp
from uda.nn.teacher import Teacher, cosine_momentum
from uda.ranges import Count, Fraction
from uda.ssl.functional.distillation import byol
from uda.ssl.objective import Info, Loss, Need, Objective, Views


class BYOL(Objective):
    """Predict what a momentum teacher makes of the other view (Grill et al., NeurIPS 2020, section 3.1).

    The teacher's momentum rises from 0.99, which suits short runs (the paper's long ones start at 0.996), to 1. Batch
    normalization sees both views together; the paper's code normalizes each by itself.
    """

    name: ClassVar[str] = "byol"
    needs: ClassVar[Need] = Need.PIXELS

    def __init__(
        self, encoder: Encoder, info: Info, *, momentum: Fraction = 0.99, hidden: Count = 1024, width: Count = 256
    ):
        super().__init__(encoder, info)
        self.momentum = momentum
        self.projector = mlp([encoder.dim, hidden, width])
        self.predictor = mlp([width, hidden, width])
        self.teacher = Teacher(nn.Sequential(encoder, self.projector))  # encoder and projector start as copies

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two strong views, (2B, …), which student and teacher both see."""
        images = torch.cat([self.info.random_view(batch, clock, view) for view in ("a", "b")])
        return Views(images, teacher=images)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """2 − 2cos of prediction and teacher's projection, the sum of both directions."""
        p_a, p_b = self.predictor(self.projector(features)).chunk(2)
        z_a, z_b = self.teacher(views.teacher).chunk(2)
        return Loss(byol(p_a, z_b) + byol(p_b, z_a))

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Move the teacher towards the student."""
        student = nn.Sequential(encoder, self.projector)
        self.teacher.update(student, cosine_momentum(self.momentum, clock.progress))
