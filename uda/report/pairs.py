"""The tables above several pairs of domains, and their page, from what `metrics.json` says and what is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from uda.report import page, plots, tables
from uda.report.page import MISSING, Figure, Section
from uda.report.published import Published

MEAN = "mean over pairs"
Content = Mapping[str, Any]


@dataclass(frozen=True)
class PairsReport:
    """What the tables are made of.

    arms:      the contents of `metrics.json` above the pairs: ours, then what it is compared with, if anything; each of
               "pairs" has "pair" (a title), "domains" (source and target) and "folder".
    backbone:  ours. headline: the metric that is shown first.
    published: what stands beside ours, each with how it differs from this run.
    """

    title: str
    arms: Sequence[Content]
    backbone: str
    headline: str
    published: Sequence[tuple[Published, str]] = ()
    recipe: Mapping[str, Any] | None = None


def shown(name: str, mean: float | None, std: float | None = None) -> str:
    """Return "92.3 ± 0.4" (per cent for shares), "92.3" without a spread, a dash for None."""
    if mean is None:
        return MISSING
    text = _plain(name, mean)
    return text if std is None else f"{text} ± {_plain(name, std)}"


def mean_table(content: Content, metrics: Sequence[str] | None = None) -> pd.DataFrame:
    """Return one row a pair and one for their mean, one column a metric; cells "mean ± std" over seeds, in per cent."""
    names = _defined(content) if metrics is None else list(metrics)
    frame = _by_pair(content, names, lambda name, of: shown(name, of["metrics"].get(name), of["std"].get(name)))
    spread = " ± standard deviation" if len(content["seeds"]) > 1 else ""
    frame.attrs["caption"] = f"{content['method']}, mean{spread} over seeds {_listed(content['seeds'])}, in per cent"
    return frame


def interval_table(content: Content) -> pd.DataFrame:
    """Return the same rows and columns with 95 % intervals, "low … high" in per cent."""

    def cell(name: str, of: Content) -> str:
        ends = tables.bounds(of["ci95"].get(name))
        return MISSING if ends is None else " … ".join(_plain(name, end) for end in ends)

    frame = _by_pair(content, _defined(content), cell)
    kinds = dict.fromkeys(str(row["ci95_kind"]) for row in content["pairs"])
    frame.attrs["caption"] = (
        f"95 % intervals in per cent; of a pair: {', '.join(kinds)}; {MEAN}: {content['ci95_kind']}"
    )
    return frame


def beside_table(report: PairsReport, metric: str) -> pd.DataFrame:
    """Return one metric of ours, of what it is compared with and of what is published: a row each, a column a pair."""
    pairs = report.arms[0]["pairs"]
    rows = []
    for arm in report.arms:
        cells = {r["pair"]: shown(metric, r["metrics"].get(metric), r["std"].get(metric)) for r in arm["pairs"]}
        mean = shown(metric, arm["metrics"].get(metric), arm["std"].get(metric))
        rows.append({"method": f"{arm['method']} (here)", "backbone": report.backbone, **cells, "mean": mean})
    domains = _domains(report)
    for entry, _ in report.published:
        if metric not in entry.metrics:
            continue
        cells = {row["pair"]: shown(metric, entry.figure(domains[i], metric)) for i, row in enumerate(pairs)}
        mean = shown(metric, entry.mean_over(domains, metric))
        rows.append({"method": cited(entry), "backbone": entry.backbone, **cells, "mean": mean})
    frame = pd.DataFrame(rows)
    beside = ", published figures below ours" if len(rows) > len(report.arms) else ""
    frame.attrs["caption"] = f"{tables.readable(metric)} in per cent{beside}"
    return frame


def sources_table(published: Sequence[tuple[Published, str]]) -> pd.DataFrame:
    """Return where each published figure is from, what was done there, and what differs from this run."""
    rows = [
        {
            "method": cited(entry),
            "label sets": f"{entry.setting} {entry.split}",
            "source": f"{entry.paper} ({entry.year}); {entry.table}",
            "done there": entry.differences,
            "differs from here": note,
        }
        for entry, note in published
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["caption"] = "Where the published figures are from, and why they may not compare"
    return frame


def pair_differences_table(difference: Content, metric: str) -> pd.DataFrame:
    """Return the paired comparison of one metric: a row a pair, and one for the mean over pairs.

    difference: as in `metrics.json`: "metrics" of the mean over pairs, and "pairs", each with "pair" and "metrics".
    """
    each = [row for row in difference["pairs"] if metric in row["metrics"]]
    rows = [{"pair": row["pair"], **tables.difference_row(metric, row["metrics"][metric])} for row in each]
    if metric in difference["metrics"]:
        rows.append({"pair": MEAN, **tables.difference_row(metric, difference["metrics"][metric])})
    frame = pd.DataFrame(rows)
    frame.attrs |= {"caption": f"{tables.readable(metric)}, difference to {difference['against']}", "summary": True}
    return frame


def frames(report: PairsReport) -> list[pd.DataFrame]:
    """Return all tables in the order in which they are shown; differences pair by pair of the headline alone."""
    ours = report.arms[0]
    found = [mean_table(ours), interval_table(ours)]
    beside = {name for entry, _ in report.published for name in entry.metrics}
    if len(report.arms) > 1:
        found.insert(1, mean_table(report.arms[1]))
        beside.add(report.headline)
    found += [beside_table(report, name) for name in tables.ordered(beside)]
    if report.published:
        found.append(sources_table(report.published))
    if "difference" in ours:
        overall = tables.difference_table(ours["difference"])
        overall.attrs["caption"] = f"{MEAN.capitalize()}, difference to {ours['difference']['against']}"
        found += [overall, pair_differences_table(ours["difference"], report.headline)]
    return found


def tidy(report: PairsReport) -> pd.DataFrame:
    """Return every figure as a row, for programs: kind, method, source, target, metric, mean, std, interval.

    Figures are fractions, as in `metrics.json`. kind: "ours", "baseline", "difference" (of the two, with the smallest
    that the seeds could have detected) or "published". Source and target are empty for the mean over pairs.
    """
    rows: list[dict[str, Any]] = []

    def add(kind: str, method: str, pair: Sequence[str], name: str, entry: Content) -> None:
        mean = entry.get("mean")
        low, high = tables.bounds(entry.get("ci95")) or (None, None)
        figures = {"mean": mean, "std": entry.get("std"), "ci95_low": low, "ci95_high": high}
        row = {"kind": kind, "method": method, "source": pair[0], "target": pair[1], "metric": name, **figures}
        rows.append(row | {"smallest_detectable": entry.get("smallest_detectable")})

    for kind, arm in zip(("ours", "baseline"), report.arms, strict=False):
        for name in tables.ordered(set(arm["metrics"])):
            for pair, of in (*((row["domains"], row) for row in arm["pairs"]), (("", ""), arm)):
                entry = {"mean": of["metrics"].get(name), "std": of["std"].get(name), "ci95": of["ci95"].get(name)}
                add(kind, arm["method"], pair, name, entry)
    if "difference" in report.arms[0]:
        difference = report.arms[0]["difference"]
        named = f"{report.arms[0]['method']} minus {difference['against']}"
        for pair, of in (*((row["domains"], row) for row in difference["pairs"]), (("", ""), difference)):
            for name in tables.ordered(set(of["metrics"])):
                add("difference", named, pair, name, of["metrics"][name])
    domains = _domains(report)
    for published, _ in report.published:
        for name in published.metrics:
            for domain in domains:
                add("published", cited(published), domain, name, {"mean": published.figure(domain, name)})
            add("published", cited(published), ("", ""), name, {"mean": published.mean_over(domains, name)})
    return pd.DataFrame(rows)


def write_pairs_report(path: Path, report: PairsReport) -> None:
    """Write the page above the pairs: the mean in large figures, all tables, and links to the pairs' own pages."""
    ours, metric = report.arms[0], report.headline
    values = [(tables.number(name, ours["metrics"][name]), tables.readable(name)) for name in _defined(ours)[:4]]
    scale, unit = (100.0, " (%)") if tables.is_share(metric) else (1.0, "")
    means = [row["metrics"].get(metric) for row in ours["pairs"]]
    bars = plots.bars_with_ci(
        [row["pair"] for row in ours["pairs"]],
        means,
        [tables.bounds(row["ci95"].get(metric)) for row in ours["pairs"]],
        tables.readable(metric) + unit,
        [row["per_seed"][metric] for row in ours["pairs"]],
        scale,
    )
    caption = f"{tables.readable(metric)} of {ours['method']}: mean, 95 % interval and single seeds (dots)"
    links = "".join(f"<li>{page.link(row['pair'], row['folder'] + '/report.html')}</li>" for row in ours["pairs"])
    note = tables.ORACLE_NOTE if "nmi" in ours["metrics"] else ""
    means_of = f"Means over {len(ours['pairs'])} pairs."
    comparing = " A difference is shown only where its interval leaves out zero." * ("difference" in ours)
    sections = [
        Section("Answer", f"{means_of} {note}", [Figure(bars, caption, caption)], lead=page.cards(values)),
        Section(
            "Tables", f"They lie beside this page as table.csv, table.md and table.tex.{comparing}", (), frames(report)
        ),
        Section("Pages of the pairs", html=f"<ul>{links}</ul>"),
    ]
    if report.recipe is not None:
        sections.append(page.recipe(report.recipe))
    page.write(path, report.title, f"{ours['method']}, seeds {_listed(ours['seeds'])}", sections)


def _by_pair(content: Content, names: Sequence[str], cell: Any) -> pd.DataFrame:
    rows = [
        {"pair": title, **{tables.readable(name): cell(name, of) for name in names}}
        for title, of in (*((row["pair"], row) for row in content["pairs"]), (MEAN, content))
    ]
    frame = pd.DataFrame(rows)
    frame.attrs["summary"] = True
    return frame


def _defined(content: Content) -> list[str]:
    """Return the metrics that some pair has."""
    return tables.ordered(
        {name for row in content["pairs"] for name, value in row["metrics"].items() if value is not None}
    )


def _domains(report: PairsReport) -> list[tuple[str, str]]:
    return [(row["domains"][0], row["domains"][1]) for row in report.arms[0]["pairs"]]


def cited(entry: Published) -> str:
    """Return "DANCE (Saito et al. 2020)"."""
    return f"{entry.method} ({entry.paper.split(',')[0]} {entry.year})"


def _plain(name: str, value: float) -> str:
    return f"{100 * value:.1f}" if tables.is_share(name) else f"{value:.4g}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
