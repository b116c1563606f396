"""Generative adversarial networks whose discriminator has a self-supervised head."""

from uda.tasks.gan.sngan import SNGAN
from uda.tasks.gan.task import Adversarial, GanData

METHODS: dict[str, type[SNGAN]] = {"sngan": SNGAN}

__all__ = ["METHODS", "SNGAN", "Adversarial", "GanData"]
