"""Cross-entropy: what the others are measured by."""

from typing import ClassVar

from uda.tasks.imbalance.method import Method


class CrossEntropy(Method):
    """Cross-entropy on images as often as there are: what rare classes have to be rescued from."""

    name: ClassVar[str] = "ce"
