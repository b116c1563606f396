"""What a discriminator and a generator minimize: pure functions of scores, higher is more real."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["hinge", "non_saturating"]


def discriminator_loss(real: Tensor, fake: Tensor, kind: Kind = "hinge") -> Tensor:
    """Return the discriminator's loss of the scores of real (B,) and generated images (M,), a scalar.

    hinge: mean max(0, 1 − real) + mean max(0, 1 + fake) (Lim and Ye, 2017; Miyato et al., ICLR 2018, equation 16).
    non_saturating: mean −log σ(real) + mean −log(1 − σ(fake)) (Goodfellow et al., NIPS 2014, equation 1).
    """
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: Kind = "hinge") -> Tensor:
    """Return the generator's loss of the scores of generated images (B,), a scalar.

    hinge: −mean fake (Miyato et al., ICLR 2018, equation 17). non_saturating: mean −log σ(fake), in the place of
    log(1 − σ(fake)), whose gradient vanishes where the discriminator is sure (Goodfellow et al., NIPS 2014, section 3).
    """
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Return R1, half the mean squared length of the scores' gradient at real images (Mescheder et al., ICML 2018).

    scores: (B,) of images (B, 3, S, S) that require a gradient, each a function of its own; equation 9 with γ = 1.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2
