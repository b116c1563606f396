"""What a method for long tails is: a supervised one that knows how many images each class has, in one stage or two."""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.nn.encoder import Encoder
from uda.ssl.objective import Info, Objective
from uda.tasks.supervised import Method as SupervisedMethod
from uda.tasks.supervised import Sample

Stage = Annotated[float, Field(gt=0, lt=1)]
"""The share of a run's steps that a stage takes."""


class Method(SupervisedMethod):
    """Cross-entropy; subclasses say what they do for rare classes. counts: (C,) training images of each class."""

    classifies_first: ClassVar[bool] = True
    """Whether the class loss is part of the first stage."""
    second_stage: float = 0.0
    """Which share of the steps the second stage takes, in which the classifier learns and the backbone rests."""
    classifier: nn.Linear
    counts: Tensor

    def __init__(self, encoder: Encoder, counts: Tensor):
        super().__init__(encoder, len(counts))
        self.register_buffer("counts", counts, persistent=False)  # the data's, not learned

    def own_objectives(self, encoder: Encoder, info: Info) -> list[Objective]:
        """Return what the method itself learns the representation by, beside any objectives of the recipe."""
        return []

    def begin_second(self) -> list[nn.Parameter]:
        """Change what the second stage starts from; return the parameters whose optimizer state restarts."""
        return []

    def second(self, features: Tensor, sample: Sample) -> Tensor:
        """Return the second stage's loss of features (B, D) that do not move, classes drawn equally often."""
        return F.cross_entropy(self.classifier(features).float(), sample.labels)


class TwoStages(Method):
    """A representation first, then a classifier for it alone, of images drawn from all classes alike.

    Kang et al., "Decoupling representation and classifier for long-tailed recognition", ICLR 2020, section 4. stage2:
    the second stage's share of the steps; the learning rate starts anew in it.
    """

    def __init__(self, encoder: Encoder, counts: Tensor, *, stage2: Stage = 0.25):
        super().__init__(encoder, counts)
        self.second_stage = stage2

    @torch.no_grad()
    def begin_second(self) -> list[nn.Parameter]:
        """Start the classifier anew, from torch's own random state."""
        fresh = nn.Linear(self.classifier.in_features, self.classifier.out_features)  # drawn on the CPU, as at first
        self.classifier.load_state_dict(fresh.state_dict())
        return list(self.classifier.parameters())
