"""Long-tailed data: the training task, and one file a method."""

from uda.tasks.imbalance.ce import CrossEntropy
from uda.tasks.imbalance.class_balanced import ClassBalanced
from uda.tasks.imbalance.crt import CRT
from uda.tasks.imbalance.kcl import KCL
from uda.tasks.imbalance.ldam import LDAM
from uda.tasks.imbalance.logit_adjustment import LogitAdjustment
from uda.tasks.imbalance.lws import LWS
from uda.tasks.imbalance.method import Method
from uda.tasks.imbalance.task import Imbalanced, TailedData
from uda.tasks.imbalance.tau_norm import TauNorm

METHODS: dict[str, type] = {
    kind.name: kind for kind in (CrossEntropy, ClassBalanced, LDAM, LogitAdjustment, CRT, TauNorm, LWS, KCL)
}

__all__ = ["METHODS", "Imbalanced", "Method", "TailedData"]
