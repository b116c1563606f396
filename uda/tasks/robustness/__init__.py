"""Robustness and uncertainty: the training task, and one file a method."""

from uda.tasks.robustness.adversarial import Adversarial
from uda.tasks.robustness.augmix import AugMix
from uda.tasks.robustness.method import Method
from uda.tasks.robustness.one_class import OneClass, OneClassTask
from uda.tasks.robustness.standard import Standard
from uda.tasks.robustness.task import Robust, RobustData

METHODS: dict[str, type] = {kind.name: kind for kind in (Standard, Adversarial, AugMix, OneClass)}

__all__ = ["METHODS", "Method", "OneClass", "OneClassTask", "Robust", "RobustData"]
