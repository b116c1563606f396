"""What `metrics.json` says of the evaluations that could have been the run's answer and of rules that choose one."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uda.metrics import UNIDA_METRICS, summarize
from uda.probes.selection import COLUMN, LAST, VALIDATORS, best_step

SCORE = "universal_score"


def selection_content(rule: str, history: pd.DataFrame, untrained: float | None, held_out: int) -> dict[str, Any]:
    """Return the step that `rule` has chosen, and what every rule would have: its step, its score and its regret.

    history: of the run; untrained: the universal score of a run that had no steps, and so no history; held_out: source
    images not trained on. The target's labels, where there are any, are read only to say what a choice is worth. The
    regret is how much better the best evaluation is, which those labels alone can tell and nothing selects: the oracle.
    """
    rows = _evaluations(history) if len(history) else pd.DataFrame({"step": [0], SCORE: [untrained]})
    rows = rows.set_index("step").reindex(columns=[SCORE, *(COLUMN + name for name in VALIDATORS)]).astype(float)
    scores = _defined(rows[SCORE])
    oracle = best_step(scores)

    def chosen(step: int | None) -> dict[str, Any] | None:
        if step is None:
            return None
        score = scores.get(step)
        regret = None if score is None or oracle is None else scores[oracle] - score
        return {"step": step, SCORE: score, "regret": regret}

    by_validator = {name: chosen(best_step(_defined(rows[COLUMN + name]))) for name in VALIDATORS}
    last = chosen(int(rows.index[-1]))
    assert last is not None
    own = (last if rule == LAST else by_validator[rule]) or last  # where no score is defined, the last step
    return {
        "rule": rule,
        "step": own["step"],
        "evaluations": len(rows),
        "held_out": held_out,
        "by_validator": by_validator,
        "last": last,
        "oracle": None if oracle is None else {"step": oracle, SCORE: scores[oracle]},
    }


def mean_selection(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return means over the seeds' `selection`: each rule's universal score and regret; None where a seed has none."""

    def mean(entries: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
        if None in entries:
            return None
        names = [name for name in entries[0] or {} if name != "step"]
        return {name: summarize([(entry or {})[name] for entry in entries]).mean for name in names}

    return {
        "rule": seeds[0]["rule"],
        "by_validator": {name: mean([seed["by_validator"][name] for seed in seeds]) for name in VALIDATORS},
        **{name: mean([seed[name] for seed in seeds]) for name in (LAST, "oracle")},
    }


def _defined(column: pd.Series) -> dict[int, float]:
    """Return step → value where there is one."""
    return {int(step): float(value) for step, value in zip(column.index, column, strict=True) if not pd.isna(value)}


def _evaluations(history: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at which the target was classified; the last one always is."""
    names = [name for name in (*UNIDA_METRICS, *(COLUMN + name for name in VALIDATORS)) if name in history]
    evaluated = history[names].notna().any(axis=1)
    evaluated.iloc[-1] = True
    return history[evaluated]
