"""Losses of a student that predicts what a teacher, or its own other branch, says of another view."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ssl.functional.precision import precise


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Return the mean of −cos(p, z) over the batch, in one direction.

    Chen and He, "Exploring simple Siamese representation learning" (SimSiam), CVPR 2021, equation 1.

    p, z: (B, D), normalized here; nothing is detached, so the caller stops the gradient of z.
    """
    return -F.cosine_similarity(precise(p), precise(z), dim=1).mean()


def byol(p: Tensor, z: Tensor) -> Tensor:
    """Return the mean of 2 − 2·cos(p, z), the squared distance of the normalized rows, in one direction.

    Grill et al., "Bootstrap your own latent", NeurIPS 2020, equation 2.

    p, z: (B, D), normalized here; nothing is detached, so the caller stops the gradient of z.
    """
    return 2 + 2 * negative_cosine(p, z)


def dino(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    """Return the cross-entropy from the teacher's to the student's softmax, mean over pairs of different views.

    Caron et al., "Emerging properties in self-supervised vision transformers" (DINO), ICCV 2021, equation 3.

    student: logits (B, K) of every view, the views that the teacher saw first and in its order; teacher: logits (B, K)
    of those; center: (K,) or (1, K), subtracted from the teacher's logits. The teacher carries no gradient. ValueError
    where no pair of different views is left.
    """
    targets = [((precise(logits.detach()) - center) / teacher_temperature).softmax(1) for logits in teacher]
    predictions = [(precise(logits) / student_temperature).log_softmax(1) for logits in student]
    terms = [
        -(target * prediction).sum(1).mean()
        for t, target in enumerate(targets)
        for s, prediction in enumerate(predictions)
        if s != t
    ]
    if not terms:
        raise ValueError(f"{len(student)} views of the student and {len(teacher)} of the teacher make no pair")
    return torch.stack(terms).mean()
