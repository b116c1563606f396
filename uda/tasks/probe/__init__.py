"""Probing: how good features are, measured without moving the backbone (and, on request, by moving it)."""

from uda.tasks.probe.probes import PROBES, Figure, Probed, Split
from uda.tasks.probe.task import Probe, Probing

METHODS: dict[str, type] = {"frozen": Probing}

__all__ = ["METHODS", "PROBES", "Figure", "Probe", "Probed", "Probing", "Split"]
