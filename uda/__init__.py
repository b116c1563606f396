"""One self-supervised engine for the tasks where labels are scarce and the world shifts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uda.api import Result, adapt
    from uda.estimator import UniversalClassifier
    from uda.pretrained import Pretrained, load, pretrain

__all__ = ["Pretrained", "Result", "UniversalClassifier", "adapt", "load", "pretrain"]

_WHERE = {
    "Pretrained": "uda.pretrained",
    "Result": "uda.api",
    "UniversalClassifier": "uda.estimator",
    "adapt": "uda.api",
    "load": "uda.pretrained",
    "pretrain": "uda.pretrained",
}


def __getattr__(name: str) -> Any:
    """Import the Python interface on first use, so that `import uda.metrics` alone stays quick."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'uda' has no attribute '{name}'")
