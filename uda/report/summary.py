"""The page above several seeds or arms: means and spreads, intervals, and the paired difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from uda.report import page, plots, tables
from uda.report.page import Figure, Section
from uda.wording import counted


@dataclass(frozen=True)
class ArmSummary:
    """One arm (a recipe) over its seeds.

    metrics, std, ci95: over the seeds, as in `metrics.json`; per_seed: metric → one value a seed, in the order of
    `seeds`; links: the seeds' pages, relative to the summary ("seed-0/report.html"), in the same order.
    """

    name: str
    metrics: Mapping[str, float | None]
    std: Mapping[str, float | None] = field(default_factory=dict)
    ci95: Mapping[str, tables.Interval] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    per_seed: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    links: Sequence[str] = ()


def write_summary_report(
    path: Path,
    title: str,
    rows: Sequence[ArmSummary],
    differences: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    headline: str = "universal_score",
    beside: Sequence[Section] = (),
) -> None:
    """Write the page above several seeds or arms: means and spreads, intervals, the paired difference, links.

    rows: one for each arm, the one of interest first; differences: of that one to others, each as in
    `tables.difference_table`, with "against" naming the other arm; beside: what is shown of two arms side by side.
    """
    # Two arms of one method bear the same name; the second is numbered.
    names = [
        f"{arm.name} ({i + 1})" if arm.name in [a.name for a in rows[:i]] else arm.name for i, arm in enumerate(rows)
    ]
    arms = {name: arm.metrics for name, arm in zip(names, rows, strict=True)}
    compared = tables.comparison_table(arms, {name: arm.std for name, arm in zip(names, rows, strict=True)})
    compared.attrs["caption"] = "Mean ± standard deviation over seeds"
    scale, unit = (100.0, " (%)") if tables.is_share(headline) else (1.0, "")
    means = [arm.metrics.get(headline) for arm in rows]
    bars = plots.bars_with_ci(
        names,
        means,
        [tables.bounds(arm.ci95.get(headline)) for arm in rows],
        tables.readable(headline) + unit,
        [arm.per_seed.get(headline, ()) for arm in rows],
        scale,
    )
    caption = f"{tables.readable(headline)}: mean, 95 % interval (where there is one) and single seeds (dots)"
    note = tables.ORACLE_NOTE if any("nmi" in arm.metrics for arm in rows) else ""
    sections = [Section("Answer", note, [Figure(bars, caption, caption)], [compared])]
    sections += [*map(comparison_section, differences), *beside]
    for name, arm in zip(names, rows, strict=True):
        measured = tables.metrics_table(arm.metrics, arm.std, arm.ci95)
        measured.attrs["caption"] = f"Over {counted(len(arm.seeds), 'seed')}"
        each: dict[str, list[Any]] = {"seed": list(arm.seeds)}
        each |= {tables.readable(m): [tables.number(m, v) for v in values] for m, values in arm.per_seed.items()}
        seeds = " ".join(page.link(f"seed {s}", href) for s, href in zip(arm.seeds, arm.links, strict=False))
        html = f"<p>Pages of the single seeds: {seeds}</p>" if seeds else ""
        sections.append(Section(name, "", tables=[measured, pd.DataFrame(each)], html=html))
    sections.append(page.problems((), notes))
    if recipe is not None:
        sections.append(page.recipe(recipe))
    page.write(path, title, f"{counted(len(rows), 'arm')} over seeds", sections)


def comparison_section(difference: Mapping[str, Any]) -> Section:
    """Return the paired comparison of two arms; difference: as `tables.difference_table` takes it."""
    text = (
        f"Differences to {difference.get('against', 'the other arm')}, paired over the same seeds. A difference is "
        "shown only where the interval leaves out zero; a true difference below the smallest detectable one may "
        "exist and have been missed."
    )
    return Section("Paired comparison", text, tables=[tables.difference_table(difference)])
