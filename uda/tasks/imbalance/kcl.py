"""KCL: a representation by k-positive contrastive learning, then a classifier for it."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from uda.nn.encoder import Encoder
from uda.ranges import Count, Fraction, Positive
from uda.ssl import kcl
from uda.ssl.objective import Info, Objective
from uda.tasks.imbalance.method import Stage, TwoStages


class KCL(TwoStages):
    """Kang et al., "Exploring balanced feature spaces for representation learning", ICLR 2021, section 3.2.

    The first stage has no class loss: an image is drawn to its other view and to k others of its class, `positives`,
    the same number for frequent and rare classes, of the last `queue` keys (`uda.ssl.kcl`, with its `momentum` and
    `compat`; 65,536 keys in the paper, 0: of the batch, where rare classes have fewer). In the second a classifier
    learns from class-balanced images.
    """

    name: ClassVar[str] = "kcl"
    classifies_first: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        counts: Tensor,
        *,
        positives: Annotated[int, Field(gt=0)] | None = 6,
        temperature: Positive = 0.07,
        projection: Count = 128,
        queue: Annotated[int, Field(ge=0)] = 4096,
        momentum: Fraction | None = None,
        compat: Literal["paper", "official"] = "paper",
        stage2: Stage = 0.25,
    ):
        super().__init__(encoder, counts, stage2=stage2)
        self.options: dict[str, Any] = {"positives": positives, "temperature": temperature, "projection": projection}
        self.options |= {"queue": queue, "momentum": momentum, "compat": compat}

    def own_objectives(self, encoder: Encoder, info: Info) -> list[Objective]:
        """Return the contrastive objective."""
        return [kcl.KCL(encoder, info, **self.options)]
