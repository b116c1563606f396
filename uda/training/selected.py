"""The weights of a run's best evaluation by a score that needs no target label, kept beside the checkpoints.

Which evaluation that is follows from `history.csv` alone, so a resumed run, whose history is cut back to its
checkpoint, comes to the same. `selected/step-N/` is a checkpoint without optimizers.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from uda.errors import UserError
from uda.probes.selection import best_step
from uda.training.checkpoint import Identity, load_checkpoint, save_checkpoint, saved_steps
from uda.training.history import History

FOLDER = "selected"


@dataclass(frozen=True)
class Selected:
    """out: the run's folder; column: of its history, higher is better."""

    out: Path
    column: str
    history: History
    identity: Identity

    def cut(self, step: int) -> None:
        """Forget what was kept after `step`: the run comes to it again."""
        for later in saved_steps(self.out / FOLDER):
            if later > step:
                shutil.rmtree(self.out / FOLDER / f"step-{later}")

    def keep(self, step: int, task: nn.Module) -> None:
        """Keep the weights of an evaluation that stands in the history, if no earlier one is better.

        Until a score is defined, the latest evaluation's are kept.
        """
        rows = self.history.read().dropna(subset=["step", self.column]) if step else None
        best = None if rows is None else best_step(dict(zip(rows["step"], rows[self.column], strict=True)))
        if best in (None, step):
            save_checkpoint(self.out / FOLDER, step, task, {}, self.identity, keep=1)


def load_selected(out: Path, task: nn.Module, identity: Identity | None) -> int:
    """Load the weights that selection has kept below `out`; return their step."""
    step = load_checkpoint(out / FOLDER, task, {}, identity)
    if step is None:
        raise UserError(
            f"'{out / FOLDER}' does not hold the weights of the selected step; start anew with another --out"
        )
    return step
