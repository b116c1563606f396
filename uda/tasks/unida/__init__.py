"""Universal domain adaptation: the task, and one file a method."""

from uda.probes.answer import Answer
from uda.tasks.unida.consensus import Consensus
from uda.tasks.unida.dance import Dance
from uda.tasks.unida.dann import Dann
from uda.tasks.unida.method import Features, Look, Method, Setup
from uda.tasks.unida.ovanet import OvaNet
from uda.tasks.unida.source_only import SourceOnly
from uda.tasks.unida.task import UniDA, UnidaData
from uda.tasks.unida.uan import Uan
from uda.tasks.unida.uniot import UniOt
from uda.tasks.unida.vote import Vote

METHODS: dict[str, type] = {kind.name: kind for kind in (Dance, Vote, Consensus, Dann, Uan, OvaNet, UniOt, SourceOnly)}

__all__ = [
    "METHODS",
    "Answer",
    "Dann",
    "Features",
    "Look",
    "Method",
    "OvaNet",
    "Setup",
    "Uan",
    "UniDA",
    "UniOt",
    "UnidaData",
    "Vote",
]
