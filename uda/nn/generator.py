"""The generator of a GAN: latent vectors → images, as a residual network for 32 or 64 pixels."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from uda.errors import UserError
from uda.random import uniform

SIZES = (32, 64)
"""Pixels of a side that the published networks are made for."""


def latents(index: Tensor, dim: int, seed: int, step: int, purpose: str) -> Tensor:
    """Return standard normal vectors (B, dim), one for each index (B,) int64, the same on every device.

    By the transformation of Box and Muller (1958) of draws that depend on (seed, step, index, purpose) alone.
    """
    draws = uniform(seed, step, index, purpose, 2 * dim)
    radius = (-2 * torch.log1p(-draws[:, :dim])).sqrt()  # draws lie in [0, 1): the logarithm is finite
    return radius * torch.cos(2 * math.pi * draws[:, dim:])


def random_classes(index: Tensor, n_classes: int, seed: int, step: int, purpose: str) -> Tensor:
    """Return a class for each index (B,), uniform in 0 … n_classes − 1, int64."""
    return (uniform(seed, step, index, purpose, 1)[:, 0] * n_classes).long()


class ClassNorm(nn.Module):
    """Batch norm whose scale and shift depend on the class (Dumoulin et al., ICLR 2017), or on nothing: 0 classes."""

    def __init__(self, channels: int, n_classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=not n_classes)
        self.scale = nn.Embedding(n_classes, channels) if n_classes else None
        self.shift = nn.Embedding(n_classes, channels) if n_classes else None
        if self.scale is not None and self.shift is not None:
            nn.init.ones_(self.scale.weight)
            nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        """(B, C, h, w) and classes (B,), None without → (B, C, h, w)."""
        normalized: Tensor = self.norm(x)
        if self.scale is None or self.shift is None:
            return normalized
        return normalized * self.scale(classes)[:, :, None, None] + self.shift(classes)[:, :, None, None]


class UpBlock(nn.Module):
    """Twice the side: two 3 × 3 convolutions after norm and ReLU, beside a 1 × 1 convolution of the enlarged input."""

    def __init__(self, inputs: int, outputs: int, n_classes: int):
        super().__init__()
        self.norms = nn.ModuleList([ClassNorm(inputs, n_classes), ClassNorm(outputs, n_classes)])
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.beside = nn.Conv2d(inputs, outputs, 1)
        xavier(self.first, math.sqrt(2))
        xavier(self.second, math.sqrt(2))
        xavier(self.beside)

    def forward(self, x: Tensor, classes: Tensor | None) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, 2h, 2w)."""
        h = self.first(_enlarged(self.norms[0](x, classes).relu()))
        h = self.second(self.norms[1](h, classes).relu())
        # A 1 × 1 convolution and nearest neighbors commute: convolving first costs a quarter.
        return h + _enlarged(self.beside(x))


class Generator(nn.Module):
    """Latent vectors (B, dim) → images (B, 3, S, S) in [0, 1] (Miyato et al., ICLR 2018, tables 3 and 4).

    width: channels of the first map, None: as published (256 for 32 px, 1024 for 64 px, halved in each block there).
    """

    def __init__(self, image_size: int, dim: int = 128, width: int | None = None, n_classes: int = 0):
        super().__init__()
        check_size(image_size)
        self.image_size, self.dim, self.n_classes = image_size, dim, n_classes
        first = width or {32: 256, 64: 1024}[image_size]
        widths = [first] * 4 if image_size == 32 else [max(1, first >> k) for k in range(5)]
        self.width = first
        self.start = nn.Linear(dim, first * 16)
        xavier(self.start)
        pairs = itertools.pairwise(widths)
        self.blocks = nn.ModuleList([UpBlock(wide, narrow, n_classes) for wide, narrow in pairs])
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = nn.Conv2d(widths[-1], 3, 3, padding=1)
        xavier(self.last)

    def forward(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """(B, dim), and classes (B,) if it was made for some → (B, 3, S, S); ValueError if they do not fit."""
        if (classes is None) == bool(self.n_classes):
            wants = f"classes (B,) in 0 … {self.n_classes - 1}" if self.n_classes else "no classes"
            raise ValueError(f"this generator was made for {self.n_classes} classes: give it {wants}")
        x = self.start(z).unflatten(1, (-1, 4, 4))
        for block in self.blocks:
            x = block(x, classes)
        return (self.last(self.norm(x).relu()).tanh() + 1) / 2

    @property
    def metadata(self) -> dict[str, str]:
        """What `load_generator` has to know."""
        numbers = {"image_size": self.image_size, "dim": self.dim, "width": self.width, "n_classes": self.n_classes}
        return {key: str(value) for key, value in numbers.items()}


@torch.no_grad()
def gather_statistics(generator: Generator, draws: Iterator[tuple[Tensor, Tensor | None]]) -> None:
    """Set batch norm's statistics to those of the images that (z, classes) of `draws` give, and nothing older.

    A generator whose weights are an average has never been run in training, so it has none of its own (the standing
    statistics of Brock et al., ICLR 2019, section 4.1). It is left in evaluation mode.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    generator.train()
    for z, classes in draws:
        generator(z, classes)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()


def load_generator(path: Path | str) -> Generator:
    """Return the generator of a `generator.safetensors`, in evaluation mode; UserError where it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            known = file.metadata() or {}
        numbers = [int(known[key]) for key in ("image_size", "dim", "width", "n_classes")]
        made = Generator(*numbers)
        made.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise UserError(f"'{path}' is no generator.safetensors of a finished run ({error}); give one") from error
    return made.eval()


def check_size(image_size: int) -> None:
    """Refuse a size that there is no published network for."""
    if image_size not in SIZES:
        raise UserError(
            f"the residual networks of GANs are made for 32 and 64 pixels, not {image_size}; give --image-size 32 or 64"
        )


def xavier(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> None:
    """Give a layer uniform weights of that gain (Glorot and Bengio, 2010), as the published networks start."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
