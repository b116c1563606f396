"""A grid of recipes: every combination of some values, each run in a folder of its own, and one table above them."""

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uda.errors import UserError
from uda.experiments.experiment import Experiment, Settings
from uda.experiments.series import Member, check_series, run_member
from uda.layers import Tree, assignment
from uda.recipe import build
from uda.report import page, tables
from uda.report.page import Section
from uda.training.outputs import write_json, write_text

_COMMA = re.compile(r",(?![^\[]*\])")  # none inside brackets, which hold one value: [knn, linear]


BEGUN = "sweep.json"
"""What a sweep was begun with: its values, and the recipe's layers as they were given, for --resume to go on with."""


def read_begun(out: Path) -> tuple[list[Tree], list[str]] | None:
    """Return the layers and the values that the sweep in `out` was begun with; None where there is none."""
    path = out / BEGUN
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return list(content["layers"]), list(content["sweep"])


def parse_sweep(texts: Sequence[str]) -> list[list[str]]:
    """Turn ["a.b=1,2", "c=x,y"] into [["a.b=1", "a.b=2"], ["c=x", "c=y"]]; UserError where values are missing."""
    axes: dict[str, list[str]] = {}
    for text in texts:
        key, separator, values = text.partition("=")
        key, choices = key.strip(), [value.strip() for value in _COMMA.split(values) if value.strip()]
        if not separator or not key or not choices:
            raise UserError(f"--sweep wants key.path=a,b,c and cannot read '{text}'; for example training.lr=0.01,0.1")
        if key in axes:
            raise UserError(f"--sweep names {key} twice; write all of its values in one place: {key}=a,b,c")
        axes[key] = [f"{key}={value}" for value in dict.fromkeys(choices)]
    return list(axes.values())


def run_sweep(
    experiment: Experiment, layers: Sequence[Tree], texts: Sequence[str], out: Path, settings: Settings
) -> str:
    """Run the grid below `out`; return the table, which `sweep.csv`, `metrics.json` and `report.html` hold too.

    All recipes are checked, and what they name is looked up, before the first is run. With resume, finished
    combinations are kept and others continued; UserError where one was begun with another recipe. A combination that
    fails (a loss that is not finite) has the reason in its row and keeps no other from being run; UserError at the end.
    """
    combinations = list(itertools.product(*parse_sweep(texts)))
    grid = [
        Member(f"sweep: {', '.join(values)}", _folder(values), build([*layers, *map(assignment, values)]))
        for values in combinations
    ]
    check_series(experiment, grid, out, settings)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", build(layers).dump())
    write_json(out / BEGUN, {"sweep": list(texts), "layers": list(layers)})
    rows: list[dict[str, Any]] = []
    for combination, member in zip(combinations, grid, strict=True):
        content = _run_or_reason(experiment, member, out, settings)
        values = dict(text.split("=", 1) for text in combination)
        kept = {key: content[key] for key in ("metrics", "ci95", "failed") if key in content}
        rows.append({"values": values, "folder": member.folder} | kept)
        write_json(out / "metrics.json", {"task": member.recipe.task, "seeds": member.recipe.seeds, "sweep": rows})
    table = _table(rows)
    write_text(out / "sweep.csv", table.to_csv(index=False))
    finished = [row["folder"] for row in rows if "failed" not in row]
    links = "".join(f"<li>{page.link(folder, folder + '/report.html')}</li>" for folder in finished)
    section = Section("Sweep", "Each row is one combination.", tables=[table], html=f"<ul>{links}</ul>")
    recipe_section = page.recipe(grid[0].recipe.model_dump(mode="json"))
    page.write(
        out / "report.html", f"Sweep over {len(rows)} combinations", grid[0].recipe.task, [section, recipe_section]
    )
    text = f"{table.to_string(index=False, max_colwidth=60)}\n\nreport: {out / 'report.html'}"
    failed = [row for row in rows if "failed" in row]
    if failed:
        settings.say(text)
        raise UserError(
            f"{len(failed)} of the {len(rows)} combinations failed, the first in '{out / failed[0]['folder']}': "
            f"{failed[0]['failed']}"
        )
    return text


def _run_or_reason(experiment: Experiment, member: Member, out: Path, settings: Settings) -> dict[str, Any]:
    """Return the content of a combination's `metrics.json`; of one that fails no figures, and why."""
    try:
        return run_member(experiment, member, out, settings)
    except UserError as error:
        settings.say(f"failed: {error}")
        return {"metrics": {}, "ci95": {}, "failed": str(error)}


def _folder(combination: Sequence[str]) -> str:
    return "+".join(text.replace("/", "_") for text in combination)


def _table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return one line a combination: its values, then the metrics with their intervals."""
    lines = []
    for row in rows:
        line = dict(row["values"])
        for name, value in row["metrics"].items():
            interval = tables.interval_text(name, row["ci95"].get(name))
            known = "" if interval == page.MISSING else f" ({interval})"
            line[tables.readable(name)] = tables.number(name, value) + known
        lines.append(line)
    table = pd.DataFrame(lines).fillna("")
    if any("failed" in row for row in rows):
        table["failed"] = [row.get("failed", "") for row in rows]
    return table
