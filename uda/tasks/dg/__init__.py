"""Domain generalization: the task, and one file a method."""

from uda.tasks.dg.coral import Coral
from uda.tasks.dg.deepall import DeepAll
from uda.tasks.dg.irm import IRM
from uda.tasks.dg.method import Method, Sample
from uda.tasks.dg.mixstyle import MixStyle
from uda.tasks.dg.mixup import Mixup
from uda.tasks.dg.rsc import RSC
from uda.tasks.dg.task import DomainGeneralization, SourceDomains

METHODS: dict[str, type] = {kind.name: kind for kind in (DeepAll, Mixup, MixStyle, RSC, IRM, Coral)}

__all__ = ["METHODS", "DomainGeneralization", "Method", "Sample", "SourceDomains"]
