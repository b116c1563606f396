"""A linear probe in the place of a classifier that nothing has trained."""

import numpy as np
import torch
from torch import nn

from uda.datasets.streams import Images, Subset
from uda.errors import UserError
from uda.probes.linear import fit_linear
from uda.tasks.supervised import Supervised
from uda.wording import counted


@torch.no_grad()
def fit_classifier(task: Supervised, classifier: nn.Linear, images: Images, labels: np.ndarray) -> str:
    """Give a task's backbone a probe as its classifier, fitted on its features; return in a sentence which one.

    labels: (N,) of images, −1 where one is not to be learned from. UserError where a class has no image.
    """
    rows = np.flatnonzero(labels >= 0)
    features = torch.from_numpy(task.answer(Subset(images, rows)).features)
    probe = fit_linear(features, labels[rows], classifier.out_features)
    if not bool(probe.bias.isfinite().all()):
        raise UserError("a class has no image to fit a probe on; give it one, or leave its folder out")
    classifier.weight.copy_(probe.weight)
    classifier.bias.copy_(probe.bias)
    return f"classifier: a linear probe fitted on {counted(len(rows), 'image')} (λ {probe.regularization:g})"
