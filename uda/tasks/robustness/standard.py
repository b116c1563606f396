"""Standard training: what the others are measured by."""

from typing import ClassVar

from uda.tasks.robustness.method import Method


class Standard(Method):
    """Cross-entropy on augmented images."""

    name: ClassVar[str] = "standard"
