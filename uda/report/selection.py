"""The report's section on which evaluation was taken for the answer, and what other rules would have taken."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from uda.report import tables
from uda.report.page import MISSING, Section
from uda.wording import counted

VALIDATORS = {
    "entropy": "mean entropy of the answers, unknown counted as a class",
    "snd": "soft neighborhood density: how many images share an answer",
    "mixval": "how consistently mixtures of two images are named",
    "iwv": "importance-weighted error of held-out source images",
    "dev": "the same with a control variate (deep embedded validation)",
}
_SCORE = "universal_score"


def selection_section(selection: Mapping[str, Any], source_holdout: float = 0.0) -> Section:
    """Return the section from `selection` of a seed's `metrics.json`: selected, last, every validator, oracle.

    source_holdout: the share of every source class that the recipe holds out.
    """
    rule, step, n = selection["rule"], selection["step"], selection["evaluations"]
    text = f"The answer is that of step {step} (rule: {rule}), of {counted(n, 'evaluation')} in the history."
    if n == 1:
        text += " There was nothing to choose from: with training.evaluate_every above 0 there is."
    elif rule != "last" and selection["by_validator"][rule] is None:
        text += f" {rule} was undefined at all of them, so the last step was taken."
    if not selection["held_out"] and source_holdout:
        text += (
            "\n\nNo source images are held out, which iwv and dev ask about: "
            f"data.source_holdout={source_holdout:g} of so few images a class rounds to none."
        )
    elif not selection["held_out"]:
        text += "\n\nNo source images are held out, which iwv and dev ask about: data.source_holdout=0.1 keeps a tenth."
    if selection["oracle"] is not None:
        text += (
            "\n\nWhat a choice is worth is measured with the target's labels, which no rule sees. The oracle is "
            "best by those labels: a yardstick, never the answer. The regret is how far a choice falls short."
        )
    else:
        text += "\n\nThe target has no labels, so what a choice is worth is not known."
    answer = selection["by_validator"].get(rule) or selection["last"]
    rows: list[tuple[str, dict[str, Any] | None, str]] = [(f"selected: {rule}", answer, "this run's answer")]
    rows += [("last", selection["last"], "the default: the last step")]
    rows += [(name, selection["by_validator"].get(name), what) for name, what in VALIDATORS.items()]
    oracle = selection["oracle"] and {**selection["oracle"], "regret": 0.0}
    rows += [("oracle", oracle, "the best by the target's labels; never selected")]
    table = pd.DataFrame(
        {
            "rule": [name for name, _, _ in rows],
            "step": [MISSING if chosen is None else str(chosen["step"]) for _, chosen, _ in rows],
            tables.readable(_SCORE): [tables.number(_SCORE, (chosen or {}).get(_SCORE)) for _, chosen, _ in rows],
            "regret": [tables.points(_SCORE, (chosen or {}).get("regret"), "") for _, chosen, _ in rows],
            "what it is": [what for _, _, what in rows],
        }
    )
    return Section("Selection without target labels", text, tables=[table])
