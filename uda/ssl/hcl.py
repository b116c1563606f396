"""Contrastive learning with hard negatives."""

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uda.nn.encoder import Encoder
from uda.ssl.functional.contrastive import hard_negative_nt_xent
from uda.ssl.objective import Info, Loss, Views
from uda.ssl.simclr import SimCLR


class HCL(SimCLR):
    """SimCLR whose negatives count the more the closer they are (Robinson et al., ICLR 2021, section 3).

    tau_plus: how likely another image is of the same class; beta: how much harder negatives count. With both 0 it is
    SimCLR.
    """

    name: ClassVar[str] = "hcl"

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        temperature: Annotated[float, Field(gt=0)] = 0.5,
        tau_plus: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        beta: Annotated[float, Field(ge=0)] = 1.0,
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info, temperature=temperature, projection=projection)
        self.tau_plus, self.beta = tau_plus, beta

    def loss(self, features: Tensor, views: Views) -> Loss:
        """NT-Xent with debiased, reweighted negatives, mean over the 2B views."""
        a, b = self.projector(features).chunk(2)
        value = hard_negative_nt_xent(a, b, self.temperature, self.tau_plus, self.beta, views.ids)
        return Loss(value, chance=math.log(len(features) - 1))
