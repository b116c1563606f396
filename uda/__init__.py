"""One self-supervised engine for the tasks where labels are scarce and the world shifts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uda.api import Result, adapt, load

__all__ = ["Result", "adapt", "load"]


def __getattr__(name: str) -> Any:
    """Import the Python interface on first use, so that `import uda.metrics` alone stays quick."""
    if name in __all__:
        from uda import api

        return getattr(api, name)
    raise AttributeError(f"module 'uda' has no attribute '{name}'")
