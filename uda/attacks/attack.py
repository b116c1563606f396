"""An attack as a setting: what a recipe or a report names once and applies to many batches."""

from dataclasses import dataclass

from torch import Tensor, nn

from uda.attacks.ball import Norm
from uda.attacks.frozen import frozen
from uda.attacks.loss import AttackedLoss, classification_loss
from uda.attacks.pgd import Keep, check_pgd, pgd
from uda.ranges import Count, NotNegative, Positive


@dataclass(frozen=True)
class Attack:
    """Projected gradient descent with its settings, all as in `pgd`; the defaults are Madry et al.'s for CIFAR-10.

    eps, step: in units of pixels in [0, 1]; step None is eps / 4. `Attack.single_step(eps)` is FGSM. UserError for
    settings that make no attack.
    """

    eps: NotNegative = 8 / 255
    step: Positive | None = None
    steps: Count = 10
    restarts: Count = 1
    norm: Norm = "linf"
    random_start: bool = True
    keep: Keep = "best"

    def __post_init__(self) -> None:
        check_pgd(self.eps, self.step, self.steps, self.restarts, self.norm, self.random_start, self.keep)

    @classmethod
    def single_step(cls, eps: float, norm: Norm = "linf") -> "Attack":
        """Return the fast gradient sign method as one whole step from the clean image (see `fgsm`)."""
        return cls(eps, step=eps or None, steps=1, norm=norm, random_start=False, keep="last")

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        loss: AttackedLoss | None = None,
        seed: int = 0,
        index: Tensor | None = None,
    ) -> Tensor:
        """Return attacked views (B, …) of images (B, …) in [0, 1], the model frozen meanwhile and then as before.

        loss: what to ascend, None for the cross-entropy of the model's logits with labels (B,); errors as in `pgd`.
        """
        with frozen(model):
            return pgd(
                loss or classification_loss(model, labels),
                images,
                labels,
                self.eps,
                self.step,
                self.steps,
                self.restarts,
                self.norm,
                seed,
                index,
                self.random_start,
                self.keep,
            )
