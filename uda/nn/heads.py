"""Classifier heads, the discriminator of domains, and projectors."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cosines(features: Tensor, rows: Tensor) -> Tensor:
    """Return the inner products of normalized features with rows, (B, D) and (K, D) → (B, K), also under autocast.

    They are divided by small temperatures, so that the 8 bits of bfloat16 would show in the logits.
    """
    with torch.autocast(features.device.type, enabled=False):
        wide = torch.promote_types(features.dtype, torch.float32)
        return F.normalize(features.to(wide)) @ rows.to(wide).T


class CosineClassifier(nn.Module):
    """Cosine similarity to one row a class, divided by a temperature: (B, dim) → (B, classes) logits.

    The head of MME and DANCE (Saito et al., NeurIPS 2020, section 3.1). Rows are normalized in the forward pass;
    with `normalize_rows=False` the rows count as they stand and `normalize_` renews them, as DANCE's code does once a
    step.
    """

    def __init__(self, dim: int, classes: int, temperature: float = 0.05, normalize_rows: bool = True):
        super().__init__()
        # Unit rows: the gradient of a normalized row is divided by its norm, so the norm at the start sets the rate.
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, dim)))
        self.temperature, self.normalize_rows = temperature, normalize_rows

    def forward(self, features: Tensor) -> Tensor:
        """Return cos(features, rows) ÷ temperature; features are normalized here."""
        rows = F.normalize(self.weight) if self.normalize_rows else self.weight
        return cosines(features, rows) / self.temperature

    @torch.no_grad()
    def normalize_(self) -> None:
        """Normalize the rows in place."""
        self.weight.copy_(F.normalize(self.weight))


class ScaledCosineClassifier(nn.Module):
    """Cosine similarity to one row a class times a scale that is learned: (B, dim) → (B, classes) logits.

    The base-class head of few-shot classification (Gidaris and Komodakis, CVPR 2018, section 3.2).
    """

    def __init__(self, dim: int, classes: int, scale: float = 10.0):
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, dim)))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        """Return scale · cos(features, rows)."""
        return self.scale * cosines(features, F.normalize(self.weight))


class ResidualHead(nn.Module):
    """One more residual block on an unpooled map, the mean over it, and a cosine classifier: (B, C, h, w) → (B, n).

    The head of the rotation task in Gidaris et al. (ICCV 2019, section 4.1): what turns need is not asked of the
    features that classes are told by.
    """

    def __init__(self, channels: int, answers: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )
        self.classifier = ScaledCosineClassifier(channels, answers)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (B, answers)."""
        return self.classifier((maps + self.block(maps)).relu().mean(dim=(2, 3)))


class BottleneckClassifier(CosineClassifier):
    """A linear bottleneck and a cosine classifier on it: (B, dim) → (B, classes) logits."""

    def __init__(self, dim: int, classes: int, temperature: float = 0.05, width: int = 256):
        super().__init__(width, classes, temperature)
        self.bottleneck = nn.Linear(dim, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return cos(projected features, rows) ÷ temperature."""
        return super().forward(self.bottleneck(features))


class OneVsAllClassifier(nn.Module):
    """One binary classifier a class, (B, dim) → (B, classes) logits of "it is of this class".

    The open-set head of OVANet (Saito and Saenko, ICCV 2021, section 3.1): a row for and a row against each class; the
    softmax over the two is the sigmoid of the difference of their logits. Rows and features are normalized and divided
    by a temperature as in `CosineClassifier`.
    """

    def __init__(self, dim: int, classes: int, temperature: float = 0.05):
        super().__init__()
        self.pairs = CosineClassifier(dim, 2 * classes, temperature)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logit for minus the logit against, class by class."""
        there, not_there = self.pairs(features).chunk(2, dim=1)
        return there - not_there


class DomainDiscriminator(nn.Module):
    """Two hidden layers with ReLU, (B, dim) → (B,) logits of "this is a source image"."""

    def __init__(self, dim: int, width: int = 1024):
        super().__init__()
        self.layers = mlp((dim, width, width, 1), norm=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        return self.layers(features)[:, 0]


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * gradient, None


def reverse_gradient(x: Tensor, scale: float) -> Tensor:
    """Return x, whose gradient will come back times −scale (Ganin et al., JMLR 2016, section 4.2)."""
    reversed_: Tensor = _Reversed.apply(x, scale)
    return reversed_


def mlp(widths: Sequence[int], last_norm: bool | None = None, norm: bool = True, bias: bool = False) -> nn.Sequential:
    """Return linear layers of those widths, (B, widths[0]) → (B, widths[-1]), with batch norm and ReLU between them.

    last_norm: None: nothing after the last layer (which then has a bias); True: batch norm; False: batch norm without
    affine parameters, as at the end of SimSiam's and Barlow Twins' projectors. norm=False: ReLU and biases.
    """
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(widths[:-1]):
        layers += [
            nn.Linear(wide, narrow, bias=bias or not norm),
            *([nn.BatchNorm1d(narrow)] if norm else []),
            nn.ReLU(),
        ]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=last_norm is None))
    if last_norm is not None:
        layers.append(nn.BatchNorm1d(widths[-1], affine=last_norm))
    return nn.Sequential(*layers)
