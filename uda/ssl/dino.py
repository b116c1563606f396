"""DINO: match a momentum teacher's sharpened, centered distribution over prototypes."""

import itertools
import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.heads import CosineClassifier
from uda.nn.teacher import Teacher, cosine_momentum
from uda.ranges import Count, Fraction, NotNegative, Positive
from uda.ssl.functional.distillation import dino
from uda.ssl.multicrop import check_crops, small_crops, small_size
from uda.ssl.objective import Info, Loss, Need, Objective, Views, refuse_options


class DINO(Objective):
    """Self-distillation without labels (Caron et al., ICCV 2021, section 3.1 and appendix A).

    Two global views for student and teacher, `local_crops` small ones for the student alone. The head is three layers
    with GELU and without batch normalization, then prototypes of unit length (weight normalization with its gain held
    at 1), which rest during the first `frozen_epochs`. Small-scale values are 2,048 prototypes (paper: 65,536) and 4
    local crops (8 to 10), of `local_size` pixels (None: 3/7 of the image's side, to the nearest multiple of 16); a run
    of few epochs wants `momentum` 0.99.
    """

    name: ClassVar[str] = "dino"
    needs: ClassVar[Need] = Need.PIXELS
    center: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        student_temperature: Positive = 0.1,
        teacher_temperature: Positive = 0.04,
        momentum: Fraction = 0.996,
        center_momentum: Fraction = 0.9,
        frozen_epochs: NotNegative = 1.0,
        local_crops: Annotated[int, Field(ge=0)] = 4,
        local_size: Count | None = None,
        hidden: Count = 2048,
        bottleneck: Count = 256,
        prototypes: Count = 2048,
    ):
        super().__init__(encoder, info)
        self.student_temperature, self.teacher_temperature = student_temperature, teacher_temperature
        self.momentum, self.center_momentum, self.frozen_epochs = momentum, center_momentum, frozen_epochs
        if not local_crops:
            refuse_options(type(self), "local_crops=4", local_size=local_size)
        self.local_crops, self.local_size = local_crops, local_size or small_size(info.image_size)
        if local_crops:
            check_crops(self.name, encoder, self.local_size)
        self.projector = _projector([encoder.dim, hidden, hidden, bottleneck])
        self.prototypes = CosineClassifier(bottleneck, prototypes, temperature=1.0)
        self.teacher = Teacher(nn.Sequential(encoder, self.projector, self.prototypes))
        self.register_buffer("center", torch.zeros(prototypes))

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Two global views, (2B, …), for both; local ones for the student."""
        # without local crops the published code advises the wider range
        scale = (0.4, 1.0) if self.local_crops else (0.14, 1.0)
        images = torch.cat([self.info.random_view(batch, clock, view, scale=scale) for view in ("a", "b")])
        crops = small_crops(self.info, batch, clock, self.local_crops, self.local_size, scale=(0.05, 0.4))
        return Views(images, teacher=images, crops=crops)

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Cross-entropy from the teacher's to the student's distribution over pairs of different views."""
        size = len(views.images) // 2
        student = self.prototypes(self.projector(features)).split(size)
        teacher = self.teacher(views.teacher)
        value = dino(student, teacher.split(size), self.center, self.student_temperature, self.teacher_temperature)
        return Loss(value, carry=teacher.float().mean(0), chance=math.log(len(self.center)))

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Move the teacher towards the student; let the prototypes go once their rest is over."""
        self.prototypes.requires_grad_(clock.epoch >= self.frozen_epochs)
        student = nn.Sequential(encoder, self.projector, self.prototypes)
        self.teacher.update(student, cosine_momentum(self.momentum, clock.progress))

    def after_step(self, carry: object) -> None:
        """Move the center towards the mean of the teacher's logits."""
        assert isinstance(carry, Tensor)  # `loss` put it there
        self.center.lerp_(carry, 1 - self.center_momentum)

    def export(self, encoder: Encoder) -> Encoder:
        """Return the teacher's encoder, which is better than the student's throughout training."""
        network = self.teacher.module
        assert isinstance(network, nn.Sequential)
        best = network[0]
        assert isinstance(best, Encoder)
        return best


def _projector(widths: list[int]) -> nn.Sequential:
    """Linear layers of those widths with GELU between them; at first normal weights of σ 0.02 and no bias."""
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(widths):
        linear = nn.Linear(wide, narrow)
        nn.init.trunc_normal_(linear.weight, std=0.02)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.GELU()]
    return nn.Sequential(*layers[:-1])
