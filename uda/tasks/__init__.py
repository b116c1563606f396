"""Tasks: a supervised objective with self-supervision; each has methods to choose from, the default first."""

from typing import Any

from uda.errors import unknown_name
from uda.tasks import dg, fewshot, gan, imbalance, pretrain, probe, robustness, unida

METHODS: dict[str, dict[str, type]] = {
    "unida": unida.METHODS,
    "pretrain": pretrain.METHODS,
    "probe": probe.METHODS,
    "dg": dg.METHODS,
    "robustness": robustness.METHODS,
    "fewshot": fewshot.METHODS,
    "imbalance": imbalance.METHODS,
    "gan": gan.METHODS,
}


def find_method(task: str, name: str) -> Any:
    """Return the method of that name of a task; UserError with the nearest ones otherwise."""
    if name not in METHODS[task]:
        raise unknown_name("method", name, METHODS[task], "the list is in `python run.py --help`")
    return METHODS[task][name]
