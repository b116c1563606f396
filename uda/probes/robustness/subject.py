"""What a robustness report asks of a model, whatever model that is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from uda.attacks import frozen
from uda.datasets.streams import Images
from uda.probes.ood import by_image
from uda.ssl.rotation import rotate_four_ways
from uda.ssl.views import to_float


class Subject(nn.Module):
    """A model: float views (B, 3, S, S) in [0, 1] → logits (B, K).

    encoder, classifier: its two halves where features (B, D) between them can be had, else the whole model and None.
    turns: a head (B, D) → (B, 4) that tells how often an image was turned, where rotation was learned beside classes.
    """

    def __init__(self, encoder: nn.Module, classifier: nn.Module | None = None, turns: nn.Module | None = None):
        super().__init__()
        self.encoder, self.classifier, self.turns = encoder, classifier, turns

    def forward(self, views: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.named(self.encode(views))

    def encode(self, views: Tensor) -> Tensor:
        """Return what the first half makes of views, which are given in the precision of its weights."""
        first = next((p for p in self.parameters() if p.is_floating_point()), None)
        return self.encoder(views if first is None else views.to(first.dtype))

    def named(self, encoded: Tensor) -> Tensor:
        """Return the logits of what the first half gave."""
        return encoded if self.classifier is None else self.classifier(encoded)

    @property
    def device(self) -> torch.device:
        """Where the model lies; the CPU for one without parameters."""
        return next((parameter.device for parameter in self.parameters()), torch.device("cpu"))


@dataclass(frozen=True)
class Outputs:
    """What a model says of N images, on the CPU.

    logits: (N, K) float32; features: (N, D), None where the model shows none; turned: (N, 4, 4) logits of the turns, in
    row r of the image turned r times, None without such a head.
    """

    logits: Tensor
    features: Tensor | None = None
    turned: Tensor | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (N, K)."""
        return self.logits.softmax(1).numpy()

    @property
    def answers(self) -> np.ndarray:
        """The best class of each image, (N,)."""
        return self.logits.argmax(1).numpy()


def batches(images: Images, size: int) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yield rows and pixels (b, 3, S, S) uint8 of images, in order."""
    for first in range(0, len(images), size):
        rows = np.arange(first, min(first + size, len(images)))
        yield rows, images.batch(rows)


@torch.no_grad()
def outputs(subject: Subject, images: Images, batch_size: int = 128, details: bool = False) -> Outputs:
    """Ask a model, in evaluation mode and then as it was, about images as it is to see them, (N, 3, S, S) uint8.

    details: features and turns as well, for which each image is seen four times more.
    """
    logits: list[Tensor] = []
    features: list[Tensor] = []
    turned: list[Tensor] = []
    with frozen(subject):
        for _, pixels in batches(images, batch_size):
            views = to_float(pixels.to(subject.device))
            encoded = subject.encode(views)
            logits.append(_kept(subject.named(encoded)))
            if details and subject.classifier is not None:
                features.append(_kept(encoded))
            if details and subject.turns is not None:
                turned.append(_kept(by_image(subject.turns(subject.encode(rotate_four_ways(views)[0])), 4)))
    if not logits:
        raise ValueError("there are no images to ask about")
    return Outputs(torch.cat(logits), torch.cat(features) if features else None, torch.cat(turned) if turned else None)


def _kept(values: Tensor) -> Tensor:
    return values.float().cpu()


class ClassMapped(nn.Module):
    """A classifier of other, finer classes read as one of ours: a class's probability is the sum of its members'.

    classifier: → logits (B, M); members: for each of our K classes the indices of its own among the M. Probabilities of
    what belongs to none are left out, so that the rest sums to 1.
    """

    def __init__(self, classifier: nn.Module, members: Sequence[Sequence[int]]):
        super().__init__()
        self.classifier, self.members = classifier, [list(own) for own in members]

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of our classes, (B, K)."""
        logits = self.classifier(features).float()
        return torch.stack([logits[:, own].logsumexp(1) for own in self.members], dim=1)
