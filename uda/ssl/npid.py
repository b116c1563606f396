"""Non-parametric instance discrimination."""

import math
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.nn.memory import MemoryBank
from uda.ssl.functional.contrastive import nce, products, unit
from uda.ssl.objective import Info, Loss, Need, Objective, Views, refuse_options
from uda.ssl.seeded import SeededViews, seed_of


class NPID(Objective):
    """Classify every image as itself, against a memory of what all images looked like (Wu et al., CVPR 2018).

    form: "softmax" compares with the whole memory (the paper's CIFAR-10 recipe, with a temperature of 0.1); "nce"
    estimates that softmax from as many rows as `negatives` says (None: 4,096, as on ImageNet), with the normalizing
    constant of the first batch, and is meant for tables much larger than that. The rows are drawn for a batch, not for
    each of its images. The memory starts as random directions.
    """

    name: ClassVar[str] = "npid"
    needs: ClassVar[Need] = Need.PIXELS | Need.INDEX
    z: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        form: Literal["softmax", "nce"] = "softmax",
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        negatives: Annotated[int, Field(gt=0)] | None = None,
        projection: Annotated[int, Field(gt=0)] = 128,
    ):
        super().__init__(encoder, info)
        if form == "softmax":
            refuse_options(type(self), "form=nce", negatives=negatives)
        self.form, self.temperature, self.momentum, self.negatives = form, temperature, momentum, negatives or 4096
        self.projector = nn.Linear(encoder.dim, projection)
        self.bank = MemoryBank(info.n_images, projection)
        self.bank.rows.copy_(F.normalize(torch.randn_like(self.bank.rows)))
        self.register_buffer("z", torch.zeros(()))  # 0: no batch has been seen yet

    def views(self, batch: Batch, clock: Clock) -> SeededViews:
        """One strong view, and which image it is of."""
        view = self.info.random_view(batch, clock, "a")
        return SeededViews(view, index=batch.index, seed=seed_of(clock, "npid"))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """The chosen form, mean over the batch; carries features, their rows and the normalizing constant."""
        assert isinstance(views, SeededViews)  # this class made them
        assert views.index is not None
        v, rows = unit(self.projector(features)), self.bank.rows
        if self.form == "softmax":
            value = F.cross_entropy(products(v, rows) / self.temperature, views.index)
            return Loss(value, carry=(views.index, v.detach(), self.z), chance=math.log(len(rows)))
        drawn = torch.randint(len(rows), (self.negatives,), generator=views.generator(), device=v.device)
        data = (v * rows[views.index]).sum(1) / self.temperature
        noise = products(v, rows[drawn]) / self.temperature
        # Without asking the device: the first batch's estimate while there is none.
        estimate = len(rows) * torch.cat([data[:, None], noise], dim=1).detach().exp().mean()
        z = torch.where(self.z > 0, self.z, estimate)
        return Loss(nce(data, noise, len(rows), z), carry=(views.index, v.detach(), z))

    def after_step(self, carry: object) -> None:
        """Move the batch's rows towards its features."""
        assert isinstance(carry, tuple)  # what `loss` carried
        index, features, z = carry
        self.bank.write(index, features, self.momentum)
        self.z.copy_(z)
