"""The contract of a self-supervised objective: views, heads and state around one loss."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Flag, auto
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder


class Augment(Protocol):
    """A task's own augmentation; `view` names a further, independent draw of the same batch."""

    def __call__(self, batch: Batch, clock: Clock, view: str = "") -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, S, S) float in [0, 1]."""


class RandomView(Protocol):
    """The strong augmentation of contrastive learning: every name of a view is an independent draw of the batch.

    size: pixels of a side (None: the task's); scale: range of the crop's share of the image's area (None: its own).
    """

    def __call__(
        self,
        batch: Batch,
        clock: Clock,
        view: str,
        size: int | None = None,
        scale: tuple[float, float] | None = None,
    ) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, size, size) float in [0, 1]."""


AllViews = Callable[[], Iterator[Tensor]]
"""Yields the evaluation views of all images of the table, in order, in batches (b, 3, S, S) on the encoder's device."""


class Need(Flag):
    """What an objective cannot do without."""

    NOTHING = 0
    PIXELS = auto()
    LABELS = auto()
    INDEX = auto()
    MAP = auto()
    TOKENS = auto()


@dataclass(frozen=True)
class Info:
    """What an objective may know of where it works.

    n_images: rows of the table that its batches come from; n_classes: 0 without labels; image_size: pixels of a side;
    augment: the task's own augmentation, and random_view: the strong one for objectives that compare views. Both are
    stateless: asking twice gives the same pixels, so an objective can share its plain view with the supervised loss.
    """

    n_images: int
    n_classes: int
    image_size: int
    seed: int
    augment: Augment
    random_view: RandomView


@dataclass(frozen=True)
class Views:
    """What the encoder shall see, and all that the loss compares with.

    images: (V, 3, H, W) in [0, 1], whole blocks of the batch one after the other: two views are [a; b], (2B, 3, H, W);
    targets: (V or B, …) the answers, where there are any; plain: rows of `images` that are the task's own view;
    index: (B,) rows of the table that are the answers; teacher: (blocks · B, 3, H, W) what a momentum teacher sees;
    crops: (blocks · B, 3, h, w) smaller views, which the encoder sees in a pass of their own; ids: (B,) which image
    each is, where images are compared with each other: a batch may hold one twice, and it is no negative of itself;
    ordered: (B,) bool, which of `images` the task may treat as its own view, where that is a matter of chance.
    """

    images: Tensor
    targets: Tensor | None = None
    plain: slice | None = None
    index: Tensor | None = None
    teacher: Tensor | None = None
    crops: Tensor | None = None
    ids: Tensor | None = None
    ordered: Tensor | None = None


@dataclass(frozen=True)
class Loss:
    """value: scalar to minimize; accuracy: of a pretext task, detached; carry: what `after_step` needs.

    For the collapse watch, None where there is no such value: chance: what a guess costs, the entropy of the answers
    (ln of their number), so that nothing is learned at it or above; constant: what constant embeddings cost, where
    losses above that are no sign.
    """

    value: Tensor
    accuracy: Tensor | None = None
    carry: object = None
    chance: float | None = None
    constant: float | None = None


class Objective(nn.Module):
    """One self-supervised signal; `forward` = views → encoder → loss.

    Views and loss are separate, so that a task can share one forward pass with its supervised loss. The options of an
    objective are its constructor's keyword-only arguments; recipes set them by those names. All state (teachers,
    queues, banks, assignments) lies in modules and buffers, so that it survives a restart.
    """

    needs: ClassVar[Need] = Need.PIXELS
    name: ClassVar[str]
    default_weight: ClassVar[float] = 1.0
    fewest: ClassVar[int] = 2
    """Images of a batch below which its loss says little, since it compares statistics of the whole batch."""
    asks_turns: ClassVar[bool] = False
    """Whether it asks how an image was turned, which nobody can know of views that are turned at random already."""
    sampling_labels: Tensor | None = None
    """(N,) pseudo-labels that pre-training draws images uniformly over; None: every image equally often.

    As an auxiliary head an objective sees the images that its task draws.
    """

    def __init__(self, encoder: Encoder, info: Info):
        super().__init__()
        self.info = info

    def views(self, batch: Batch, clock: Clock) -> Views:
        """Return what the encoder shall see of a batch."""
        raise TypeError(f"{type(self).__name__} defines no views")

    def encode(self, encoder: Encoder, views: Views) -> Tensor:
        """Return what `loss` wants of those views: pooled features (V, D), those of `crops` after those of `images`."""
        features = encoder(views.images)
        return features if views.crops is None else torch.cat([features, encoder(views.crops)])

    def pooled(self, encoder: Encoder, features: Tensor) -> Tensor:
        """Return pooled features (V, D) of what `encode` gave, for a task that shares the pass."""
        return features

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Return the loss of what `encode` gave for those views."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def forward(self, encoder: Encoder, batch: Batch, clock: Clock) -> Loss:
        """Return the loss of a batch, with a forward pass of its own."""
        return self.passed(encoder, batch, clock)[2]

    def passed(self, encoder: Encoder, batch: Batch, clock: Clock) -> tuple[Views, Tensor, Loss]:
        """Return the views of a batch, their features and the loss, for a task that shares the forward pass."""
        views = self.views(batch, clock)
        features = self.encode(encoder, views)
        return views, features, self.loss(features, views)

    def before_step(self, encoder: Encoder, clock: Clock) -> None:
        """Move what must move before the forward pass (teacher averages)."""

    def after_step(self, carry: object) -> None:
        """Move what must move after the optimizer's step (queue, bank, center)."""

    def assign_due(self, clock: Clock) -> bool:
        """Return whether `assign` is to be called before this step's images are drawn; a pure function of the clock."""
        return False

    def assign(self, encoder: Encoder, views: AllViews, clock: Clock) -> list[nn.Parameter]:
        """Make pseudo-labels anew from all images; return the parameters whose optimizer state restarts.

        The encoder is in evaluation mode and no gradient is recorded.
        """
        return []

    def export(self, encoder: Encoder) -> Encoder:
        """Return the encoder that was the aim of it all: the one trained, unless a teacher is better."""
        return encoder


@torch.no_grad()
def assign_where_due(
    objectives: Iterable[nn.Module], encoder: Encoder, views: AllViews, clock: Clock
) -> list[nn.Parameter] | None:
    """Let each objective make its pseudo-labels anew if that is due at this step.

    Returns the parameters whose optimizer state restarts; None where nothing was due.
    """
    due = [objective for objective in objectives if isinstance(objective, Objective) and objective.assign_due(clock)]
    if not due:
        return None
    training = encoder.training
    encoder.eval()
    restarted = [parameter for objective in due for parameter in objective.assign(encoder, views, clock)]
    encoder.train(training)
    return restarted


def check_needs(objective: type[Objective], given: Need, where: str, others: Iterable[type[Objective]]) -> None:
    """Refuse an objective that a task cannot serve: UserError naming what it needs and which would do."""
    lacking = objective.needs & ~given
    if not lacking:
        return
    fitting = sorted(other.name for other in others if not other.needs & ~given)
    instead = (
        f"these would do: {', '.join(fitting)}" if fitting else "no objective would do there; leave --objective out"
    )
    backbone = f"choose {_BACKBONES[lacking]}, or another objective; " if lacking in _BACKBONES else ""
    raise UserError(
        f"objective '{objective.name}' needs {words(lacking)}, which {where} does not give; {backbone}{instead}"
    )


def refuse_options(objective: type[Objective], wants: str, **given: object) -> None:
    """Refuse options that the chosen form does not read: UserError naming the first that is not None.

    wants: what they belong to, as a recipe sets it: "form=tiles".
    """
    for option, value in given.items():
        if value is not None:
            raise UserError(
                f"objectives.{objective.name}.{option}={value} has no effect without {wants}; leave it out, or set "
                f"objectives.{objective.name}.{wants}"
            )


def words(needs: Need) -> str:
    """Return needs as text: "pixels and labels"."""
    return " and ".join(_WORDS[need] for need in Need if need in needs)


_BACKBONES = {
    Need.MAP: "a convolutional --backbone (resnet50, or smallconv for small images)",
    Need.TOKENS: "a ViT as --backbone (vit_small_patch16_224, or smallvit for small images)",
}
_WORDS = {
    Need.PIXELS: "pixels",
    Need.LABELS: "labels",
    Need.INDEX: "a stable image index",
    Need.MAP: "the unpooled feature map",
    Need.TOKENS: "the tokens of a ViT",
}
