"""The baseline: all source domains as one data set."""

from typing import ClassVar

from uda.tasks.dg.method import Method


class DeepAll(Method):
    """Cross-entropy on the images of all source domains, and nothing else.

    Li et al., "Deeper, broader and artier domain generalization", ICCV 2017, whose name for it this is; DomainBed calls
    it ERM. With the objective `jigsaw` in its re-assembled form it is JiGen (Carlucci et al., CVPR 2019).
    """

    name: ClassVar[str] = "deepall"
