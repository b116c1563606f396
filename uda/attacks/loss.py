"""What an attack makes as large as it can: a loss of each image, with the logits where they are at hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.errors import UserError
from uda.ssl.functional.precision import precise

AttackedLoss = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
"""views (B, …) → losses (B,), or losses (B,) and logits (B, K).

An image's loss must be its own: as nothing else is asked of the model, its batch norm must be frozen.
"""


def classification_loss(model: nn.Module, labels: Tensor) -> AttackedLoss:
    """Return the cross-entropy of a model (views → logits) on each image as the loss to attack; labels: (B,) int64."""

    def loss(views: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(views)
        return F.cross_entropy(precise(logits), labels, reduction="none"), logits

    return loss


def judge(loss: AttackedLoss, views: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's loss (B,) and whether it is classified other than its label (B,), False without logits."""
    found = loss(views)
    losses, logits = found if isinstance(found, tuple) else (found, None)
    if losses.shape != views.shape[:1]:
        raise ValueError(f"the attacked loss has the shape {tuple(losses.shape)}; give one loss for each image")
    fooled = torch.zeros_like(labels, dtype=torch.bool) if logits is None else logits.argmax(1) != labels
    return losses, fooled


def gradient(losses: Tensor, views: Tensor) -> Tensor:
    """Return the gradient of each image's loss with respect to its view alone; parameters get none.

    Raises UserError for a loss that does not depend on the views as far as autograd knows.
    """
    if not losses.requires_grad:
        raise UserError("the model gives no gradient (does it run under torch.no_grad?); ask for no attacks of it")
    return torch.autograd.grad(losses.sum(), views)[0]


@contextmanager
def differentiable() -> Iterator[None]:
    """Record gradients, whether or not the caller does."""
    with torch.inference_mode(False), torch.enable_grad():
        yield
