"""Attacks on float views in [0, 1]: how far a model's answers move when its images hardly do."""

from uda.attacks.attack import Attack
from uda.attacks.autoattack import autoattack
from uda.attacks.ball import Norm, lengths, project, random_point
from uda.attacks.fgsm import fgsm
from uda.attacks.frozen import frozen
from uda.attacks.loss import AttackedLoss, classification_loss
from uda.attacks.pgd import Keep, pgd

__all__ = [
    "Attack",
    "AttackedLoss",
    "Keep",
    "Norm",
    "autoattack",
    "classification_loss",
    "fgsm",
    "frozen",
    "lengths",
    "pgd",
    "project",
    "random_point",
]
