"""Probing: how good features are, measured without moving the backbone (and, on request, by moving it)."""

from uda.tasks.probe.probes import PROBES, Figure, Probed, Split, accuracy_figure
from uda.tasks.probe.task import Probe, Probing, check_classes, held_out

METHODS: dict[str, type] = {"frozen": Probing}

__all__ = [
    "METHODS",
    "PROBES",
    "Figure",
    "Probe",
    "Probed",
    "Probing",
    "Split",
    "accuracy_figure",
    "check_classes",
    "held_out",
]
