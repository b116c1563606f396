"""What a robustness report looks at."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from uda.attacks import Attack, Norm, autoattack
from uda.datasets.streams import Images
from uda.errors import UserError
from uda.probes.robustness.corrupted import Corrupted

AUTO = "autoattack"


@dataclass(frozen=True)
class NamedAttack:
    """An attack by its name: "fgsm", "pgd-20" (steps of eps / 4) or "autoattack".

    levels: the radius in gray levels of 255; restarts: of projected gradient descent. UserError for another name.
    """

    name: str
    levels: float
    norm: Norm = "linf"
    restarts: int = 1

    def __post_init__(self) -> None:
        _ = self.steps

    @property
    def steps(self) -> int:
        """How often the gradient is followed; 0 for AutoAttack, which decides for itself."""
        if self.name in ("fgsm", AUTO):
            return int(self.name == "fgsm")
        found = re.fullmatch(r"pgd-([1-9]\d*)", self.name)
        if found is None:
            raise UserError(f"there is no attack '{self.name}'; name fgsm, pgd-N with N steps (pgd-20), or {AUTO}")
        return int(found[1])

    def __call__(self, model: nn.Module, views: Tensor, labels: Tensor, seed: int, index: Tensor) -> Tensor:
        """Return what the attack makes of views (B, 3, S, S) in [0, 1]."""
        eps = self.levels / 255
        if self.name == AUTO:
            return autoattack(model, views, labels, eps, self.norm, seed)
        if self.name == "fgsm":
            return Attack.single_step(eps, self.norm)(model, views, labels, seed=seed, index=index)
        attack = Attack(eps, steps=self.steps, restarts=self.restarts, norm=self.norm)
        return attack(model, views, labels, seed=seed, index=index)


@dataclass(frozen=True)
class Examined:
    """The images that a report is made on, all as the model is to see them: (N, 3, S, S) uint8.

    labels: (N,) in 0 … K−1. corrupted: the same images or published ones under corruptions, None: none are looked at.
    validation: images like those of the training that it has not learned from, with labels, to fit the temperature on;
    None: it is fitted on one half of the test images for the other. training: some of those learned from, with labels,
    which scores on features compare with. near, far: images of no known class, by the name of their set. groups: (N,),
    the patient or slide of each image, None: each stands for itself.
    """

    images: Images
    labels: np.ndarray
    corrupted: Corrupted | None = None
    validation: tuple[Images, np.ndarray] | None = None
    training: tuple[Images, np.ndarray] | None = None
    near: Mapping[str, Images] = field(default_factory=dict)
    far: Mapping[str, Images] = field(default_factory=dict)
    groups: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """attacks are made on at most `attacked` images; seed: of corruptions and random starts."""

    attacks: Sequence[NamedAttack] = ()
    attacked: int = 200
    batch_size: int = 128
    seed: int = 0
