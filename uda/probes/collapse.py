"""The collapse watch: whether a self-supervised training has found the answer that needs no image."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from uda.metrics.features import effective_rank, l2_normalize

RELATIVE_STD = 0.1  # with dimensions that vary alike, a mean cosine of 0.99 between two images
EFFECTIVE_RANK = 2.0  # below it nearly everything lies on one line
CHANCE = 0.02  # a loss that is not below chance by this share of it has learned nothing
_FEWEST = 8  # images and dimensions: with fewer a low rank is no sign
_ROWS = 2048  # as many are enough, and a singular value decomposition of them takes a moment


@dataclass(frozen=True)
class CollapseFigures:
    """How far features spread; all None without at least two finite features.

    feature_std: standard deviation of the L2-normalized features, averaged over dimensions (SimSiam, Chen and He, CVPR
    2021, figure 2). relative_std: the same times √D: 1 if spread evenly over the sphere, 0 if all are equal.
    effective_rank: exp of the entropy of the singular values of the features as they are; None if all are zero.
    """

    feature_std: float | None
    relative_std: float | None
    effective_rank: float | None


def collapse_figures(features: ArrayLike | Tensor) -> CollapseFigures:
    """Return the figures for features (N, D); of more than 2,048 rows as many are taken, evenly spaced."""
    x = _array(features)
    if x.ndim != 2:
        raise ValueError(f"features must have two dimensions (N, D), not the shape {x.shape}")
    if len(x) > _ROWS:
        x = x[np.linspace(0, len(x) - 1, _ROWS).round().astype(np.int64)]
    if len(x) < 2 or not np.isfinite(x).all():
        return CollapseFigures(None, None, None)
    std = float(l2_normalize(x).std(axis=0).mean())
    return CollapseFigures(std, std * math.sqrt(x.shape[1]), effective_rank(x))


def chance_loss(choices: int) -> float:
    """Return ln of the number of choices: the cross-entropy of a guess among classes, prototypes or queue + 1."""
    return math.log(choices)


def watch(
    features: ArrayLike | Tensor,
    loss: float | None = None,
    chance: float | None = None,
    constant: float | None = None,
) -> list[str]:
    """Return one sentence for each sign of collapse in features (N, D), and in the loss where that is given.

    chance: what guessing costs, see `chance_loss`; constant: what constant embeddings cost where healthy losses may lie
    above that. Signs: relative_std below 0.1, effective rank below 2 (from 8 images and 8 dimensions on), a loss that
    is not 2 % below chance, or within 2 % of `constant`, numbers that are not finite. An empty list is no proof of
    health.
    """
    x = _array(features)
    figures = collapse_figures(x)
    warnings = []
    if not np.isfinite(x).all():
        warnings.append("features hold numbers that are not finite: the training diverged; lower the learning rate")
    if figures.relative_std is not None and figures.relative_std < RELATIVE_STD:
        warnings.append(
            f"features collapse: they hardly differ between images (standard deviation {figures.feature_std:.2g}, "
            f"{figures.relative_std:.2g} of the 1/√{x.shape[1]} of even spread); lower the learning rate, or check "
            "that the teacher or queue is updated"
        )
    rank = figures.effective_rank
    if rank is not None and rank < EFFECTIVE_RANK and min(x.shape) >= _FEWEST:
        warnings.append(
            f"features collapse: they lie nearly on one line (effective rank {rank:.2f} of {min(x.shape)}); strengthen "
            "the views or the term that spreads features"
        )
    if loss is not None and not math.isfinite(loss):
        warnings.append(f"the loss is {loss}: the training diverged; lower the learning rate")
    elif loss is not None and chance is not None and loss >= (1 - CHANCE) * chance:
        where = "sits at" if loss <= (1 + CHANCE) * chance else "is above"
        warnings.append(
            f"the loss {loss:.4g} {where} chance ({chance:.4g}), so nothing is being learned; train for longer, or "
            "change the learning rate or the temperature"
        )
    elif loss is not None and constant is not None and abs(loss - constant) <= CHANCE * constant:
        warnings.append(
            f"the loss {loss:.4g} is that of constant embeddings ({constant:.4g}), so nothing is being learned; train "
            "for longer, or change the learning rate"
        )
    return warnings


def _array(features: ArrayLike | Tensor) -> np.ndarray:
    if isinstance(features, Tensor):  # also from a GPU, in bfloat16, or with a gradient
        features = features.detach().to("cpu", torch.float64).numpy()
    return np.asarray(features, dtype=np.float64)
