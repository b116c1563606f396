"""Where a run stands; every schedule is a pure function of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """The position of one training step.

    step: steps done before this one, 0-based; total: steps of the whole run.
    images_per_step ÷ n_images gives the "epoch" of papers; nothing counts in loader epochs.
    """

    step: int
    total: int
    seed: int = 0
    images_per_step: int = 1
    n_images: int = 1

    @property
    def progress(self) -> float:
        """Fraction of the run that is done, in [0, 1]."""
        return min(1.0, self.step / max(1, self.total))

    @property
    def epoch(self) -> float:
        """Images seen ÷ images there are."""
        return self.step * self.images_per_step / self.n_images
