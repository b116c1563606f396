"""The section of the training curves, which every task's page has."""

import pandas as pd

from uda.report import plots
from uda.report.page import Figure, Section


def curves_section(history: pd.DataFrame) -> Section:
    """Return the curves of a history's numbers, a sentence where it holds none."""
    title, png = "Training curves", plots.curves(history)
    if png is None:
        return Section(title, "The history holds no numbers.")
    caption = "Loss terms (faint: each step, bold: running mean) and what was measured along the way."
    return Section(title, "", [Figure(png, caption, "Loss terms and figures against the step")])
