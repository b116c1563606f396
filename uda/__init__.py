"""One self-supervised engine for the tasks where labels are scarce and the world shifts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uda.api import Result, adapt
    from uda.estimator import UniversalClassifier
    from uda.pretrained import Pretrained, load, pretrain
    from uda.robustness import Robustness, robustness_report

__all__ = [
    "Pretrained",
    "Result",
    "Robustness",
    "UniversalClassifier",
    "adapt",
    "load",
    "pretrain",
    "robustness_report",
]

_WHERE = {
    "Pretrained": "uda.pretrained",
    "Result": "uda.api",
    "UniversalClassifier": "uda.estimator",
    "adapt": "uda.api",
    "load": "uda.pretrained",
    "pretrain": "uda.pretrained",
    "Robustness": "uda.robustness",
    "robustness_report": "uda.robustness",
}


def __getattr__(name: str) -> Any:
    """Import the Python interface on first use, so that `import uda.metrics` alone stays quick."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'uda' has no attribute '{name}'")
