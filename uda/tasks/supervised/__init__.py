"""A class loss and any self-supervised objectives on the same images: what several tasks have in common."""

from uda.tasks.supervised.method import Method, Sample
from uda.tasks.supervised.task import Shared, Supervised, joined

__all__ = ["Method", "Sample", "Shared", "Supervised", "joined"]
