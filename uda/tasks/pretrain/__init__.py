"""Pre-training: any objectives on a pool of images, with or without labels on a part of it."""

from uda.tasks.pretrain.method import SelfSupervised, Supervised
from uda.tasks.pretrain.task import Pool, Pretrain

METHODS: dict[str, type] = {kind.name: kind for kind in (SelfSupervised, Supervised)}

__all__ = ["METHODS", "Pool", "Pretrain", "SelfSupervised", "Supervised"]
