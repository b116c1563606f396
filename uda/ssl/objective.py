"""The contract of a self-supervised objective: views, heads and state around one loss."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Flag, auto
from typing import ClassVar

from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder

Augment = Callable[[Batch, Clock], Tensor]


class Need(Flag):
    """What an objective cannot do without."""

    NOTHING = 0
    PIXELS = auto()
    LABELS = auto()
    INDEX = auto()
    MAP = auto()


@dataclass(frozen=True)
class Info:
    """What an objective may know of where it works.

    n_images: rows of the table that its batches come from; n_classes: 0 without labels; image_size: pixels of a side;
    augment: the task's own augmentation, (Batch, Clock) → (B, 3, H, W) float in [0, 1]. It is stateless: asking twice
    gives the same pixels, so an objective can share its plain view with the supervised loss.
    """

    n_images: int
    n_classes: int
    image_size: int
    seed: int
    augment: Augment


@dataclass(frozen=True)
class Views:
    """What the encoder shall see.

    images: (V, 3, H, W) in [0, 1]; targets: what the loss compares with; plain: rows that are the task's own view.
    """

    images: Tensor
    targets: Tensor | None = None
    plain: slice | None = None
    index: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """value: scalar to minimize; accuracy: of a pretext task, detached; carry: what `after_step` needs."""

    value: Tensor
    accuracy: Tensor | None = None
    carry: object = None


class Objective(nn.Module):
    """One self-supervised signal; `forward` = views → encoder → loss.

    Views and loss are separate, so that a task can share one forward pass with its supervised loss.
    """

    needs: ClassVar[Need] = Need.PIXELS
    name: ClassVar[str]
    default_weight: ClassVar[float] = 1.0

    def __init__(self, encoder: Encoder, info: Info):
        super().__init__()
        self.info = info

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Return what the encoder shall see of a batch."""
        raise TypeError(f"{type(self).__name__} defines no views")

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Return the loss of features (V, D) of those views."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def forward(self, encoder: Encoder, batch: Batch, clock: Clock) -> Loss:
        """Return the loss of a batch, with a forward pass of its own."""
        views = self.views(batch, clock)
        return self.loss(encoder(views.images), views)

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Move what must move before the forward pass (teacher averages)."""

    def after_step(self, carry: object) -> None:
        """Move what must move after the optimizer's step (queue, bank, center)."""


def check_needs(objective: type[Objective], given: Need, where: str, others: Iterable[type[Objective]]) -> None:
    """Refuse an objective that a task cannot serve: UserError naming what it needs and which would do."""
    lacking = objective.needs & ~given
    if not lacking:
        return
    words = " and ".join(_WORDS[need] for need in Need if need in lacking)
    fitting = sorted(other.name for other in others if not other.needs & ~given)
    instead = (
        f"these would do: {', '.join(fitting)}" if fitting else "no objective would do there; leave --objective out"
    )
    raise UserError(f"objective '{objective.name}' needs {words}, which {where} does not give; {instead}")


_WORDS = {
    Need.PIXELS: "pixels",
    Need.LABELS: "labels",
    Need.INDEX: "a stable image index",
    Need.MAP: "the unpooled feature map",
}
