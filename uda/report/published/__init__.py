"""Figures from the literature, to stand beside ours: what they are, where they are from, what they did otherwise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Published:
    """One method's figures on one data set in one setting.

    split:  sizes of the label sets, shared/source-private/target-private.
    frozen: whether the backbone stood still. steps, image_size, seeds: None where the source does not say.
    pairs:  (source, target) domain names → figures as fractions, by the names of our metrics; empty where only the
            mean stands here.
    mean:   the published mean over the pairs; over: how many those are.
    source: paper, table and year. differences: what was done otherwise than here, in words.
    """

    dataset: str
    setting: str
    split: str
    method: str
    backbone: str
    frozen: bool
    steps: int | None
    image_size: int | None
    seeds: int | None
    over: int
    pairs: Mapping[tuple[str, str], Figures]
    mean: Figures
    paper: str
    table: str
    year: int
    differences: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """The figures it has."""
        return tuple(self.mean)

    def figure(self, pair: tuple[str, str], metric: str) -> float | None:
        """Return a pair's figure, None where it is not published."""
        return self.pairs.get(pair, {}).get(metric)

    def mean_over(self, pairs: Sequence[tuple[str, str]], metric: str) -> float | None:
        """Return the mean over exactly these pairs: the published one for all of them, else that of their figures.

        None where a pair's figure is not published, for a mean over other pairs is no figure to compare with.
        """
        if metric not in self.mean:
            return None
        if len(set(pairs)) == self.over and set(pairs) >= set(self.pairs):
            return self.mean[metric]
        figures = [self.figure(pair, metric) for pair in pairs]
        known = [value for value in figures if value is not None]
        return sum(known) / len(known) if known and len(known) == len(figures) else None


def matching(task: str, dataset: str | None, setting: str | None) -> list[Published]:
    """Return what was published for a data set of the catalog in one of its published settings."""
    return [entry for entry in entries(task) if (entry.dataset, entry.setting) == (dataset, setting)]


@cache
def entries(task: str) -> tuple[Published, ...]:
    """Return all entries of a task; none where nothing is collected for it."""
    file = files(__name__).joinpath(f"{task}.json")
    if not file.is_file():
        return ()
    return tuple(_read(entry) for entry in json.loads(file.read_text(encoding="utf-8"))["entries"])


def _read(entry: Mapping[str, Any]) -> Published:
    own = {key: value for key, value in entry.items() if key not in ("pairs", "source")}
    pairs = {_pair(text): figures for text, figures in entry["pairs"].items()}
    return Published(pairs=pairs, **own, **entry["source"])


def _pair(text: str) -> tuple[str, str]:
    source, target = text.split("/")
    return source, target


def with_notes(
    found: Sequence[Published], encoder: Mapping[str, Any], steps: int, image_size: int
) -> list[tuple[Published, str]]:
    """Return each entry with how it differs from our run."""
    return [(entry, otherwise(entry, encoder, steps, image_size)) for entry in found]


def otherwise(entry: Published, encoder: Mapping[str, Any], steps: int, image_size: int) -> str:
    """Return in words how a published run differs from ours: backbone, steps, image size.

    encoder: our recipe's section. Names of backbones are compared without the tag of their weights (after the dot).
    """
    found = []
    ours = str(encoder["backbone"])
    if entry.backbone.split(".")[0] != ours.split(".")[0]:
        found.append(f"backbone {entry.backbone}, here {ours}")
    if entry.frozen != bool(encoder["freeze"]):
        found.append("backbone frozen, here not" if entry.frozen else "backbone moving, here frozen")
    if entry.steps is not None and entry.steps != steps:
        found.append(f"{entry.steps:,} steps, here {steps:,}")
    if entry.image_size is not None and entry.image_size != image_size:
        found.append(f"{entry.image_size} pixels, here {image_size}")
    return "; ".join(found) or "nothing that is known"
