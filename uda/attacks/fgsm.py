"""The fast gradient sign method."""

from torch import Tensor

from uda.attacks.ball import Norm, check_radius, checked_attack, checked_views, project, steepest
from uda.attacks.loss import AttackedLoss, differentiable, gradient
from uda.attacks.pgd import refuse_nan


def fgsm(loss: AttackedLoss, images: Tensor, eps: float, norm: Norm = "linf") -> Tensor:
    """Return x + eps · sign(∇ loss(x)), clipped to [0, 1] (Goodfellow et al., ICLR 2015, section 4).

    images: (B, …) float in [0, 1], left as they are; loss: as for `pgd`; in l2 the step is eps · g / ‖g‖. The result is
    detached, in at least float32. One step says little of a network with a curved loss, which may look robust to it.
    Raises UserError for a radius that is none or a loss that is NaN, ValueError for images outside of [0, 1].
    """
    check_radius(eps, norm)
    with differentiable():
        clean = checked_views(images)
        views = clean.clone().requires_grad_()
        found = loss(views)
        losses = found[0] if isinstance(found, tuple) else found
        ascent = gradient(losses, views)
        refuse_nan(losses.isnan().any() | ascent.isnan().any())
        attacked = project(clean + eps * steepest(ascent, norm), clean, eps, norm)
    return checked_attack(attacked, clean, eps, norm)
