"""The discriminator of a GAN: a residual network under spectral norm, which is an encoder like any other."""

import itertools
import math

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from uda.nn.encoder import Encoder
from uda.nn.generator import check_size, xavier


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    """Return a convolution of spectral norm 1 (Miyato et al., ICLR 2018, section 2.1), size kept."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    xavier(layer, math.sqrt(2) if kernel > 1 else 1.0)
    spectral_norm(layer)
    return layer


class FirstBlock(nn.Module):
    """Half the side: two 3 × 3 convolutions of the pixels, beside a 1 × 1 convolution; no ReLU before the first."""

    def __init__(self, outputs: int):
        super().__init__()
        self.first, self.second, self.beside = _conv(3, outputs, 3), _conv(outputs, outputs, 3), _conv(3, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) → (B, outputs, h/2, w/2)."""
        h = self.second(self.first(x).relu())
        return F.avg_pool2d(h, 2) + self.beside(F.avg_pool2d(x, 2))


class Block(nn.Module):
    """Two 3 × 3 convolutions, each after a ReLU, beside the input; `halve`: then the side is halved."""

    def __init__(self, inputs: int, outputs: int, halve: bool):
        super().__init__()
        self.first, self.second = _conv(inputs, inputs, 3), _conv(inputs, outputs, 3)
        self.beside = _conv(inputs, outputs, 1) if halve or inputs != outputs else None
        self.halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h, w), with `halve` half the side."""
        h = self.second(self.first(x.relu()).relu())
        # The mean and a 1 × 1 convolution commute: the mean first costs a quarter.
        h, x = (F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)) if self.halve else (h, x)
        return h + (x if self.beside is None else self.beside(x))


class Discriminator(Encoder):
    """Images → sum-pooled features, and a score of how real they are (Miyato et al., ICLR 2018, tables 3 and 4).

    width: channels of the last map, None: as published (128 for 32 px, 1024 for 64 px, doubled in each block there).
    With classes the score is that of the projection discriminator (Miyato and Koyama, ICLR 2018, equation 4).
    """

    unpooled_dims = 4
    origin = "random initialization"

    def __init__(self, image_size: int, width: int | None = None, n_classes: int = 0):
        super().__init__()
        check_size(image_size)
        self.dim = width or {32: 128, 64: 1024}[image_size]
        if image_size == 32:
            shapes = [(self.dim, self.dim, halve) for halve in (True, False, False)]
            first = self.dim
        else:
            widths = [max(1, self.dim >> k) for k in range(4, -1, -1)]
            shapes = [(narrow, wide, True) for narrow, wide in itertools.pairwise(widths)]
            first = widths[0]
        self.blocks = nn.Sequential(FirstBlock(first), *(Block(*shape) for shape in shapes))
        self.judge = nn.Linear(self.dim, 1)
        xavier(self.judge)
        spectral_norm(self.judge)
        self.classes = nn.Embedding(n_classes, self.dim) if n_classes else None
        if self.classes is not None:
            nn.init.xavier_uniform_(self.classes.weight)
            spectral_norm(self.classes)

    def map(self, views: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → the unpooled map (B, dim, h, w), not negative."""
        maps: Tensor = self.blocks(2 * views - 1)
        return maps.relu()

    def pool(self, maps: Tensor) -> Tensor:
        """(B, dim, h, w) → (B, dim): the sum over all places."""
        return maps.sum(dim=(2, 3))

    def forward(self, views: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] → (B, dim)."""
        return self.pool(self.map(views))

    def score(self, features: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return how real images of those pooled features (B, dim) are, (B,), higher is more real."""
        scores: Tensor = self.judge(features)[:, 0]
        if self.classes is None:
            return scores
        return scores + (self.classes(classes) * features).sum(1)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All but those of the score."""
        return list(self.blocks.parameters())
