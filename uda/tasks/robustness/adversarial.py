"""Adversarial training: each step learns from the images that fool the model as it stands."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from uda.attacks import Attack, Norm
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.random import derived_seed
from uda.ranges import Count, NotNegative, Positive
from uda.tasks.robustness.method import Ascend, Method
from uda.tasks.supervised import Sample

Levels = Annotated[float, Field(ge=0, le=255)]


class Adversarial(Method):
    """Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018, eq. 2.1.

    eps, step: in gray levels of 255 (of the whole image's length in l2); attack_steps: of projected gradient descent.
    Batch norm is frozen while the attack looks for its images. attack_objectives: weight of the objectives in the loss
    that it ascends, with the draws that the step itself will make; Hendrycks et al. (NeurIPS 2019) have 0.125 of the
    rotation loss beside the cross-entropy.
    """

    name: ClassVar[str] = "adversarial"
    attacks: ClassVar[bool] = True

    def __init__(
        self,
        encoder: Encoder,
        n_classes: int,
        *,
        eps: Levels = 8.0,
        step: Positive = 2.0,
        attack_steps: Count = 10,
        norm: Norm = "linf",
        attack_objectives: NotNegative = 0.0,
    ):
        super().__init__(encoder, n_classes)
        self.attack = Attack(eps / 255, step / 255, attack_steps, norm=norm, keep="last")
        self.attack_objectives = attack_objectives

    def attacked(self, model: nn.Module, views: Tensor, sample: Sample, ascend: Ascend, clock: Clock) -> Tensor:
        """Return the views at the end of the attack; its random start differs from step to step."""
        loss, seed = ascend(sample.labels, self.attack_objectives), derived_seed(clock.seed, clock.step, "attack")
        return self.attack(model, views, sample.labels, loss, seed, sample.index)
