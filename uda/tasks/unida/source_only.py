"""The baseline: train on the source, look at the target only to test."""

from typing import ClassVar

from uda.tasks.unida.method import Method


class SourceOnly(Method):
    """Cross-entropy on the labelled source and nothing else."""

    name: ClassVar[str] = "source_only"
