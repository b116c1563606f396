"""cRT: the classifier is trained again."""

from typing import ClassVar

from uda.tasks.imbalance.method import TwoStages


class CRT(TwoStages):
    """Classifier re-training (Kang et al., ICLR 2020, section 4.1): started anew on features learned by cross-entropy.

    The first stage draws every image equally often, the second every class.
    """

    name: ClassVar[str] = "crt"
