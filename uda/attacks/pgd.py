"""Projected gradient descent, the attack that others are measured by."""

from typing import Literal

import torch
from torch import Tensor

from uda.attacks.ball import Norm, check_radius, checked_attack, checked_views, project, random_point, steepest
from uda.attacks.loss import AttackedLoss, differentiable, gradient, judge
from uda.errors import UserError

Keep = Literal["best", "last"]


def pgd(
    loss: AttackedLoss,
    images: Tensor,
    labels: Tensor,
    eps: float,
    step: float | None = None,
    steps: int = 10,
    restarts: int = 1,
    norm: Norm = "linf",
    seed: int = 0,
    index: Tensor | None = None,
    random_start: bool = True,
    keep: Keep = "best",
) -> Tensor:
    """Return views within eps of the images for which the loss is large (Madry et al., ICLR 2018, section 2.1).

    images: (B, …) float in [0, 1], left as they are; labels: (B,) int64. The result is detached, (B, …) in at least
    float32, within eps of its image (but for 1e-6 of rounding) and in [0, 1].
    loss: views → losses (B,) to ascend, or losses and logits (`classification_loss` makes one of a model). It is
    called with whatever state the model is in: hold the model in `frozen`.
    eps, step: in units of pixels in [0, 1]; step None is eps / 4, whatever the number of steps: 2/255 for 8/255.
    In l∞ a step follows the gradient's sign, in l2 the gradient divided by its length.
    random_start: begin at a point of the ball, a hash of (seed, restart, index); index: (B,) int64, None: the place in
    the batch. In a training, give a seed of each step's own (`uda.random.derived_seed`).

    keep: "best" returns, for each image, the best of everything it went through in all restarts, the clean image
    included: one classified other than its label before one that is not (known if the loss gives logits), then the
    largest loss. As the steps do not depend on how many follow, 20 steps of the same size and seed go through all that
    10 go through, so more steps, or more restarts, never find fewer errors, and the accuracy is never above the clean
    one. "last" returns where the last step ended (of several restarts, the best such end): what training usually
    means, without the one or two passes that judging costs.

    Raises UserError for a radius, a step or a count that makes no attack and where the loss is NaN, ValueError for
    images outside of [0, 1]. It waits for the device at the beginning and at the end, not within.
    """
    check_pgd(eps, step, steps, restarts, norm, random_start, keep)
    length = eps / 4 if step is None else step
    index = torch.arange(len(images), device=images.device) if index is None else index
    with differentiable():
        clean = checked_views(images)
        best, spoiled = _Best(clean), torch.zeros((), dtype=torch.bool, device=clean.device)
        if keep == "best" and random_start:  # without it, the walk begins there
            best.look(loss, clean, labels)
        for restart in range(restarts):
            views = random_point(clean, eps, norm, seed, restart, index) if random_start else clean
            for _ in range(steps):
                views = views.clone().requires_grad_()
                losses, fooled = judge(loss, views, labels)
                ascent = gradient(losses, views)
                spoiled = spoiled | losses.isnan().any() | ascent.isnan().any()
                if keep == "best":
                    best.offer(views.detach(), losses.detach(), fooled)
                views = project(views.detach() + length * steepest(ascent, norm), clean, eps, norm)
            if keep == "best" or restarts > 1:
                best.look(loss, views, labels)
            else:
                best.views = views
        refuse_nan(spoiled)
    return checked_attack(best.views, clean, eps, norm)


class _Best:
    """The best views so far, image by image."""

    def __init__(self, clean: Tensor):
        self.views = clean
        self.losses = torch.full((len(clean),), -torch.inf, dtype=torch.float32, device=clean.device)
        self.fooled = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)

    @torch.no_grad()
    def look(self, loss: AttackedLoss, views: Tensor, labels: Tensor) -> None:
        self.offer(views, *judge(loss, views, labels))

    def offer(self, views: Tensor, losses: Tensor, fooled: Tensor) -> None:
        losses = losses.to(torch.promote_types(losses.dtype, self.losses.dtype))
        better = (fooled & ~self.fooled) | ((fooled == self.fooled) & (losses > self.losses))
        self.views = torch.where(better.view(-1, *[1] * (views.ndim - 1)), views, self.views)
        self.losses = torch.where(better, losses, self.losses)
        self.fooled = self.fooled | fooled


def check_pgd(
    eps: float, step: float | None, steps: int, restarts: int, norm: str, random_start: bool, keep: str
) -> None:
    """Raise UserError for settings that make no attack."""
    check_radius(eps, norm)
    if step is not None and not step > 0:
        raise UserError(f"attacks with step={step}: give a positive step, such as 2/255, or none for eps / 4")
    if steps < 1:
        raise UserError(f"attacks with steps={steps}: give at least 1")
    if restarts < 1:
        raise UserError(f"attacks with restarts={restarts}: give at least 1")
    if restarts > 1 and not random_start:
        raise UserError(f"attacks with restarts={restarts} all begin at the same place: set random_start to true")
    if keep not in ("best", "last"):
        raise UserError(f"attacks with keep='{keep}': choose best or last")


def refuse_nan(spoiled: Tensor) -> None:
    """Raise UserError where a loss or its gradient was NaN, since then the attack went nowhere."""
    if bool(spoiled):
        raise UserError("the attacked loss or its gradient is NaN: take weights of a training that did not diverge")
