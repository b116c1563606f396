"""MixStyle: the feature statistics of two images mixed, which stand for a style between those of their domains."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder
from uda.random import derived_seed
from uda.ranges import Fraction, Positive
from uda.tasks.dg.method import Method, Sample, partners

_STAGE = re.compile(r"backbone\.(layer\d+|blocks\.\d+|stages\.\d+)")


class MixStyle(Method):
    """Zhou et al., "Domain generalization with MixStyle", ICLR 2021, with domain labels (section 3.2).

    In training, with `probability` at each of the `layers` and steps, the mean and standard deviation of each channel
    become those of λ parts the image and 1 − λ parts one of another domain (where there is one), λ ~ Beta(alpha, alpha)
    for each image. layers: names of modules below the backbone that give maps; none: its first two stages, as published
    for ResNets.
    """

    name: ClassVar[str] = "mixstyle"
    shares_pass: ClassVar[bool] = False

    def __init__(
        self,
        encoder: Encoder,
        n_classes: int,
        *,
        alpha: Positive = 0.1,
        probability: Fraction = 0.5,
        layers: list[str] = [],  # noqa: B006  (read, never changed)
    ):
        super().__init__(encoder, n_classes)
        self.alpha, self.probability = alpha, probability
        self.layers = stages(encoder, layers)

    def encode(self, encoder: Encoder, views: Tensor, sample: Sample, clock: Clock) -> Tensor:
        """Encode with the styles mixed at some of the layers."""
        with self.mixing(encoder, sample, clock):
            return encoder(views)

    @contextmanager
    def mixing(self, encoder: Encoder, sample: Sample, clock: Clock) -> Iterator[None]:
        """Have the layers mix what they give, as long as the context lasts."""
        modules = dict(encoder.named_modules())
        with ExitStack() as stack:
            for number, name in enumerate(self.layers):
                generator = np.random.default_rng(derived_seed(clock.seed, clock.step, f"mixstyle {number}"))
                if generator.random() >= self.probability:
                    continue
                share = torch.from_numpy(generator.beta(self.alpha, self.alpha, len(sample)))
                partner = partners(sample, clock, f"mixstyle {number}")

                def mix(_: Any, __: Any, maps: Tensor, share: Tensor = share, partner: Tensor = partner) -> Tensor:
                    return mix_style(maps, partner, share.to(maps))

                stack.callback(modules[name].register_forward_hook(mix).remove)
            yield


def mix_style(maps: Tensor, partner: Tensor, share: Tensor, eps: float = 1e-6) -> Tensor:
    """Give each map λ parts its own channel statistics and 1 − λ parts its partner's (equations 4 to 6).

    maps: (B, C, h, w); partner: (B,) places in the batch; share: (B,) λ. The statistics carry no gradient, as in the
    released code, whose unbiased variance and eps inside the root these are.
    """
    mean = maps.mean(dim=(2, 3), keepdim=True).detach()
    single = maps.shape[2] * maps.shape[3] == 1  # which has no unbiased variance
    std = (maps.var(dim=(2, 3), keepdim=True, correction=0 if single else 1) + eps).sqrt().detach()
    share = share[:, None, None, None]
    new_mean = share * mean + (1 - share) * mean[partner]
    new_std = share * std + (1 - share) * std[partner]
    return (maps - mean) / std * new_std + new_mean


def stages(encoder: Encoder, layers: list[str]) -> tuple[str, ...]:
    """Return the names of the modules to mix at; UserError where the backbone has none of them, or gives no maps."""
    modules = [name for name, _ in encoder.named_modules()]
    if getattr(encoder, "unpooled_dims", 0) != 4:
        raise UserError("method 'mixstyle' mixes maps, which this backbone does not give; choose a convolutional one")
    wanted = [f"backbone.{name}" for name in layers] or [name for name in modules if _STAGE.fullmatch(name)][:2]
    missing = [name for name in wanted if name not in modules]
    if missing or not wanted:
        what = f"has no module '{missing[0].removeprefix('backbone.')}'" if missing else "has no stages known by name"
        some = ", ".join(name.removeprefix("backbone.") for name in modules if name.count(".") in (1, 2))
        raise UserError(f"the backbone {what}; set method.layers=[NAME, …] to some of its modules: {some[:200]}")
    return tuple(wanted)
