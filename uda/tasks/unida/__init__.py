"""Universal domain adaptation: the task, and one file a method."""

from uda.errors import unknown_name
from uda.tasks.unida.dance import Dance
from uda.tasks.unida.method import Features, Method, Setup
from uda.tasks.unida.source_only import SourceOnly
from uda.tasks.unida.task import Answer, UniDA, UnidaData

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (SourceOnly, Dance)}

__all__ = ["METHODS", "Answer", "Features", "Method", "Setup", "UniDA", "UnidaData", "find_method"]


def find_method(name: str) -> type[Method]:
    """Return the method of that name; UserError with the nearest ones otherwise."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS, "the list is in `python run.py --help`")
    return METHODS[name]
