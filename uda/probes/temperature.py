"""Temperature scaling: one number that makes a classifier's confidence honest, and no answer different."""

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from uda.errors import UserError
from uda.probes.features import finite

BOUNDS = (0.01, 100.0)
"""The temperatures looked at: where every held-out image is classified rightly the best one is 0, which is none."""


def fit_temperature(logits: Tensor, labels: Tensor | np.ndarray) -> float:
    """Return the temperature T that minimizes the NLL of softmax(logits / T) (Guo et al., ICML 2017, section 4.2).

    logits: (N, K) of held-out in-distribution images, with labels (N,) in 0 … K − 1, negative where unlabelled (left
    out). In 1 / T the NLL is convex: its slope, the mean of E_p[z] − z_label, rises, and T is where it is zero, within
    `BOUNDS` (1 for logits that are all equal). Raises UserError without labelled images or for logits that are not
    finite, ValueError for labels beyond K.
    """
    scores = finite(logits).double()
    truth = torch.as_tensor(labels).to(scores.device, torch.int64)
    if truth.shape != scores.shape[:1]:
        raise ValueError(f"{len(scores)} rows of logits, but labels of the shape {tuple(truth.shape)}")
    scores, truth = scores[truth >= 0], truth[truth >= 0]
    if not len(truth):
        raise UserError("there are no labelled images to fit a temperature on; hold some out")
    if int(truth.max()) >= scores.shape[1]:
        raise ValueError(f"labels go up to {int(truth.max())}, but there are only {scores.shape[1]} columns of logits")
    above = scores - scores.gather(1, truth[:, None])  # nowhere positive where all are right: then no slope is

    def slope(log_temperature: float) -> float:
        return float(((above * float(np.exp(-log_temperature))).softmax(1) * above).sum(1).mean())

    low, high = np.log(BOUNDS)
    if slope(low) == slope(high) == 0:  # logits that say nothing, at any temperature
        return 1.0
    if slope(low) <= 0:  # even there a lower temperature would do better
        return BOUNDS[0]
    if slope(high) >= 0:
        return BOUNDS[1]
    return float(np.exp(brentq(slope, low, high, xtol=1e-10)))


def scaled_probabilities(logits: Tensor, temperature: float | np.ndarray) -> Tensor:
    """Return softmax(logits / T), (N, K) → (N, K) float64; which class is largest does not change.

    temperature: one for all, or each image's own, (N,). Raises UserError for one that is not positive.
    """
    temperatures = torch.as_tensor(temperature, dtype=torch.float64, device=logits.device).reshape(-1, 1)
    if not bool((temperatures > 0).all()):
        raise UserError(f"temperature scaling with temperature={temperature}: give a positive one")
    return (finite(logits).double() / temperatures).softmax(1)
