"""Paired differences between finished runs of the same seeds on the same data."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uda.errors import UserError
from uda.experiments.content import difference_content
from uda.experiments.experiment import headline_of, read_metrics
from uda.layers import read_layer
from uda.recipe import build, differences
from uda.report import formats, tables
from uda.report.pairs import pair_differences_table
from uda.report.summary import ArmSummary, write_summary_report
from uda.training.outputs import write_json, write_text

Content = dict[str, Any]


def read_comparable(folders: Sequence[Path]) -> list[Content]:
    """Return the contents of the runs' `metrics.json`, seeds in the first one's order.

    UserError, in one sentence, where there is nothing to pair: fewer than two runs, one named twice, an unfinished one,
    other seeds, another task, other data.
    """
    if len(folders) < 2:
        raise UserError("compare wants the folders of two or more finished runs: python run.py compare RUN RUN …")
    real = [os.path.realpath(folder) for folder in folders]
    twice = next((folder for i, folder in enumerate(folders) if real[i] in real[:i]), None)
    if twice is not None:
        raise UserError(f"'{twice}' is named twice, and a run does not differ from itself; name different runs")
    contents = [read_metrics(folder) for folder in folders]
    for folder, content in zip(folders, contents, strict=True):
        if "per_seed" not in content:
            raise UserError(f"'{folder}' holds a grid of runs; name one of the folders in it")
    first = contents[0]
    for folder, content in zip(folders[1:], contents[1:], strict=True):
        if content["task"] != first["task"]:
            raise UserError(
                f"'{folders[0]}' is of task '{first['task']}' and '{folder}' of another, '{content['task']}'; compare "
                "runs of one task"
            )
        if sorted(content["seeds"]) != sorted(first["seeds"]):
            raise UserError(
                f"'{folders[0]}' has the seeds {first['seeds']} and '{folder}' {content['seeds']}; differences are "
                "paired by seed: run both with the same --seeds"
            )
        other = _differing(first, content)
        if other is not None:
            raise UserError(
                f"'{folders[0]}' and '{folder}' are not on the same data (their {other} differ); compare runs on one"
            )
        order = [content["seeds"].index(seed) for seed in first["seeds"]]
        for part in (content, *content.get("pairs", ())):
            part["per_seed"] = {name: [values[i] for i in order] for name, values in part["per_seed"].items()}
    return contents


def compare_runs(folders: Sequence[Path], out: Path, headline: str) -> str:
    """Write the differences of the first run to each of the others below `out`; return the tables as text.

    Files: `comparison.json`, `table.md`, `table.tex`, `table.csv`, `report.html`.
    """
    contents = read_comparable(folders)
    names = [f"{content['method']} ({folder})" for folder, content in zip(folders, contents, strict=True)]
    recipes = [build([read_layer(folder / "recipe.yaml")]) for folder in folders]
    found = []
    for name, content, recipe in zip(names[1:], contents[1:], recipes[1:], strict=True):
        difference = difference_content(contents[0], content, {}) | {"against": name}
        if "pairs" in contents[0]:
            difference["pairs"] = [_of_pair(*rows) for rows in zip(contents[0]["pairs"], content["pairs"], strict=True)]
        found.append(difference | {"recipe": differences(recipe, recipes[0])})
    headline = headline_of(headline, contents[0])
    frames = _frames(names, contents, found, headline)
    out.mkdir(parents=True, exist_ok=True)
    title = f"{contents[0]['method']} against {', '.join(content['method'] for content in contents[1:])}"
    write_text(out / "table.md", formats.markdown_document(title, frames))
    write_text(out / "table.tex", formats.latex_document(frames))
    write_text(out / "table.csv", _tidy(names[0], found).to_csv(index=False))
    arms = [
        ArmSummary(name, c["metrics"], c["std"], c["ci95"], c["seeds"], c["per_seed"], _seed_pages(folder, c, out))
        for name, folder, c in zip(names, folders, contents, strict=True)
    ]
    notes = [f"recipe of {d['against']} → {names[0]}: {'; '.join(d['recipe']) or 'the same'}" for d in found]
    if len(contents[0]["seeds"]) == 1:
        notes.append("one seed gives differences no interval: run more by --seeds")
    write_summary_report(out / "report.html", title, arms, found, None, notes, headline)
    runs = [
        {"folder": str(folder), **{key: content[key] for key in ("method", "metrics", "std", "ci95", "per_seed")}}
        for folder, content in zip(folders, contents, strict=True)
    ]
    content = {"task": contents[0]["task"], "seeds": contents[0]["seeds"], "runs": runs, "differences": found}
    write_json(out / "comparison.json", content)
    text = [f"{frame.attrs['caption']}\n{frame.to_string(index=False)}" for frame in frames]
    return "\n\n".join([*text, *notes, f"report: {out / 'report.html'}"])


def _differing(ours: Content, theirs: Content) -> str | None:
    """Return which part of the data of two runs is not the same, None where all is.

    Fingerprints tell images apart, whatever their folders are called; of runs made without, the names must do. A
    setting that is not known contradicts none.
    """
    if "pairs" in ours or "pairs" in theirs:
        rows, others = ours.get("pairs"), theirs.get("pairs")
        same = rows and others and len(rows) == len(others) and not any(map(_differing, rows, others))
        return None if same else "pairs of domains"
    keys = {"source": "sources", "target": "targets", "setting": "settings", "classes": "classes", "images": "images"}
    told = "fingerprints" in ours and "fingerprints" in theirs
    for key in keys if not told else ("setting", "classes", "images"):
        values = [_real(content.get(key)) for content in (ours, theirs)]
        if None not in values and values[0] != values[1]:
            return keys[key]
    parts = ours["fingerprints"] | theirs["fingerprints"] if told else {}
    differs = [part for part in parts if ours["fingerprints"].get(part) != theirs["fingerprints"].get(part)]
    if differs == ["report"]:
        return "settings of the report"
    return f"{differs[0].replace('_', ' ')} images or labels" if differs else None


def _real(value: Any) -> Any:
    """Return a folder by its real path, for it may be named from several places; other values as they are."""
    return os.path.realpath(value) if isinstance(value, str) and Path(value).exists() else value


def _of_pair(ours: Content, theirs: Content) -> Content:
    shared = {"method": "", "seeds": []}
    metrics = difference_content(ours | shared, theirs | shared, {})["metrics"]
    return {"pair": ours["pair"], "domains": ours["domains"], "metrics": metrics}


def _frames(
    names: Sequence[str], contents: Sequence[Content], found: Sequence[Mapping[str, Any]], headline: str
) -> list[pd.DataFrame]:
    arms = tables.comparison_table(
        {name: content["metrics"] for name, content in zip(names, contents, strict=True)},
        {name: content["std"] for name, content in zip(names, contents, strict=True)},
    )
    arms.attrs["caption"] = f"Seeds {', '.join(map(str, contents[0]['seeds']))}: mean ± standard deviation"
    made = [arms]
    for difference in found:
        table = tables.difference_table(difference)
        table.attrs["caption"] = f"{names[0]} minus {difference['against']}, paired by seed"
        made.append(table)
        if "pairs" in difference:
            made.append(pair_differences_table(difference, headline))
    return made


def _tidy(ours: str, found: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a difference and metric (and pair of domains), figures as fractions."""
    rows = []
    for difference in found:
        parts = [("", "", difference), *((*row["domains"], row) for row in difference.get("pairs", ()))]
        for source, target, part in parts:
            for name in tables.ordered(set(part["metrics"])):
                entry = part["metrics"][name]
                low, high = tables.bounds(entry["ci95"]) or (None, None)
                row = {
                    "run": ours,
                    "against": difference["against"],
                    "source": source,
                    "target": target,
                    "metric": name,
                }
                row |= {key: entry[key] for key in ("with", "without", "mean", "std")}
                rows.append(row | {"ci95_low": low, "ci95_high": high, "p_value": entry["p_value"],
                                   "smallest_detectable": entry["smallest_detectable"]})  # fmt: skip
    return pd.DataFrame(rows)


def _seed_pages(folder: Path, content: Content, out: Path) -> list[str]:
    pages = [folder / f"seed-{seed}" / "report.html" for seed in content["seeds"]]
    if len(pages) == 1:
        pages = [folder / "report.html"]
    return [Path(os.path.relpath(page, out)).as_posix() for page in pages] if all(p.exists() for p in pages) else []
