"""The self-supervised engine: objectives, their views and their losses."""

from uda.errors import unknown_name
from uda.ssl.objective import Info, Loss, Need, Objective, Views, check_needs
from uda.ssl.rotation import Rotation

OBJECTIVES: dict[str, type[Objective]] = {kind.name: kind for kind in (Rotation,)}

__all__ = ["OBJECTIVES", "Info", "Loss", "Need", "Objective", "Views", "check_needs", "find_objective"]


def find_objective(name: str) -> type[Objective]:
    """Return the objective of that name; UserError with the nearest ones otherwise."""
    if name not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES, "the list is in `python run.py --help`")
    return OBJECTIVES[name]
