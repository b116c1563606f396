"""Candidate new classes of a run: found, written down, shown, and, once a person has named them, made into folders."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from uda.errors import UserError
from uda.experiments.parts import thumbnails
from uda.experiments.unida.domains import Domains
from uda.probes.discovery import Groups, discover
from uda.recipe import UnidaRecipe
from uda.report.candidates import EXAMPLES, MOST_SHOWN, Candidate, candidates_section
from uda.report.page import Section
from uda.tasks.unida import Answer
from uda.wording import counted

CANDIDATES = "candidates.csv"


@dataclass(frozen=True)
class Found:
    """rows: (M,) of the target's table, the rejected images; groups: theirs; table: the content of `candidates.csv`."""

    rows: np.ndarray
    groups: Groups
    table: pd.DataFrame


def find_candidates(domains: Domains, answer: Answer) -> Found:
    """Group the rejected target images; the table counts candidates from 1 and is sorted by them, then by rank."""
    rows = np.flatnonzero(answer.predictions == len(domains.class_names))
    groups = discover(answer.features[rows])
    paths = domains.target.table.paths
    table = pd.DataFrame(
        {
            "path": [paths[row] for row in rows],
            "candidate": groups.group + 1,
            "rank": groups.rank + 1,
            "distance": groups.distance,
        }
    )
    return Found(rows, groups, table.sort_values(["candidate", "rank"], ignore_index=True))


def candidates_part(found: Found, recipe: UnidaRecipe, domains: Domains, folder: Path) -> Section:
    """Return the report's section, with pictures of the groups and, as a check, what their labelled images are."""
    candidates = []
    for group, size in enumerate(found.groups.sizes):
        members = found.groups.members(group)
        rows = found.rows[members]
        shown = rows[:EXAMPLES] if group < MOST_SHOWN else rows[:0]
        candidates.append(
            Candidate(
                number=group + 1,
                size=int(size),
                spread=float(found.groups.distance[members].mean()),
                images=thumbnails(recipe, domains.target, shown).numpy(),
                paths=[domains.target.table.paths[row] for row in shown],
                truth=_truth(domains, rows),
            )
        )
    files = domains.target.table.pixels is None
    return candidates_section(candidates, found.groups.silhouette, _naming(recipe, folder) if files else None)


def _truth(domains: Domains, rows: np.ndarray) -> list[tuple[str, int]]:
    """Return the true classes of the labelled images among `rows`, the most frequent first."""
    table = domains.target.table
    counted = Counter(table.classes[label] for label in table.labels[rows] if label >= 0)
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def _naming(recipe: UnidaRecipe, folder: Path) -> str:
    """Return the command that makes class folders of candidates."""
    into = recipe.data.source if recipe.data.source and Path(recipe.data.source).is_dir() else "photos/labelled"
    call = f"uda.load({str(folder)!r}).name_candidates({{1: 'NAME', 2: 'OTHER NAME'}}, {into!r})"
    return f'python -c "import uda; {call}"'


def copy_candidates(folder: Path, names: Mapping[int, str], into: Path) -> list[Path]:
    """Copy the images of named candidates of a run into `into/NAME/`; return the new files, the nearest first.

    names: candidate number, from 1, to class name; several may share one. An image whose file name is taken there gets
    another one. Raises UserError, before anything is copied, for a candidate that the run has not, a name that is no
    folder's, and images that are no longer there.
    """
    path = folder / CANDIDATES
    if not path.is_file():
        raise UserError(f"'{folder}' has no {CANDIDATES}: name the folder of a finished run of one seed")
    table = pd.read_csv(path, encoding_errors="surrogateescape", dtype={"path": str}, keep_default_na=False)
    there = sorted(int(number) for number in table["candidate"].unique())
    for number, name in names.items():
        if number not in there:
            raise UserError(
                f"there is no candidate {number} in '{path}', which has {f'1 to {there[-1]}' if there else 'none'}"
            )
        if not name.strip() or Path(name).name != name or "\\" in name or name.startswith("."):
            raise UserError(f"candidate {number} cannot be called '{name}': give the plain name of a class folder")
        if name == "unknown":
            raise UserError(f"candidate {number} cannot be called 'unknown', which is what rejected images are called")
    chosen = table[table["candidate"].isin(list(names))]
    missing = [file for file in chosen["path"] if not Path(file).is_file()]
    if missing:
        raise UserError(
            f"{counted(len(missing), 'image')} of the candidates cannot be found, first '{missing[0]}': "
            "go to the folder that the run was started from, or bring them back"
        )
    copied = []
    for file, number in zip(chosen["path"], chosen["candidate"], strict=True):
        target = into / names[int(number)]
        target.mkdir(parents=True, exist_ok=True)
        copied.append(_free(target / Path(file).name))
        shutil.copyfile(file, copied[-1])
    return copied


def _free(path: Path) -> Path:
    """Return the path, or the first of name-2, name-3, … that is not taken."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
