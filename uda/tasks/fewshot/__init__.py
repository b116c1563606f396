"""Few-shot boosting: the task, and one file a method of base-class training."""

from uda.tasks.fewshot.cosine import Cosine, Linear
from uda.tasks.fewshot.method import Method
from uda.tasks.fewshot.prototypical import Prototypical
from uda.tasks.fewshot.task import Fewshot, FewshotData, Protocol, Tested

METHODS: dict[str, type] = {kind.name: kind for kind in (Cosine, Prototypical, Linear)}

__all__ = ["METHODS", "Fewshot", "FewshotData", "Method", "Protocol", "Tested"]
