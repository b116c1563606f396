"""From the names in a recipe to the domains to learn from and the one that is held out, decoded."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from uda.datasets.cache import Unreadable
from uda.datasets.folders import alphabetical
from uda.datasets.labelsets import lookalikes, present_classes
from uda.datasets.pairs import names_all
from uda.datasets.resolve import resolve
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.parts import Domain, load_domain
from uda.experiments.pool import strangers
from uda.sections import DomainsRecipe
from uda.wording import counted


@dataclass(frozen=True)
class Found:
    """The tables, their classes numbered alike; nothing decoded yet.

    dataset: the catalog's, where all its other domains are learned from; None where there is no such.
    """

    sources: tuple[ImageTable, ...]
    target: ImageTable
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    dataset: str | None = None


@dataclass(frozen=True)
class Domains:
    """The same, decoded."""

    sources: tuple[Domain, ...]
    target: Domain
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    dataset: str | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The source's classes, in the order of the labels."""
        return self.sources[0].table.classes

    @property
    def source_name(self) -> str:
        """The names of the domains that are learned from."""
        return " + ".join(domain.table.name for domain in self.sources)

    @property
    def title(self) -> str:
        """How reports call the split."""
        return f"{self.source_name} → {self.target.table.name}"

    @cached_property
    def labels(self) -> np.ndarray:
        """The labels of all source images, domain after domain, (N,); −1 where an image has none."""
        return np.concatenate([domain.table.labels for domain in self.sources])

    @cached_property
    def domain_of(self) -> np.ndarray:
        """The number of each source image's domain, (N,)."""
        return np.repeat(np.arange(len(self.sources)), [len(domain.table) for domain in self.sources])

    @property
    def fingerprint(self) -> str:
        """What the images, their order and the labels that training sees are; a checkpoint remembers it."""
        labels = self.labels.astype("<i8").tobytes() + os.fsencode("\0".join(self.class_names))
        sides = [side.images.fingerprint for side in (*self.sources, self.target)]
        return "+".join([*sides, hashlib.sha256(labels).hexdigest()[:16]])

    @property
    def fingerprints(self) -> dict[str, str]:
        """What figures are of, side by side, the labels that measure included; only equal ones may be compared."""
        sources = "+".join(side.fingerprint for side in self.sources)
        return {"source": hashlib.sha256(sources.encode()).hexdigest()[:32], "target": self.target.fingerprint}

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out."""
        return tuple(image for side in (*self.sources, self.target) for image in side.unreadable)


def find_domains(recipe: DomainsRecipe, download: bool = False) -> Found:
    """Find the domains to learn from and the one held out; UserError says what is missing and what to do.

    A source that is a data set, or a folder of domains, stands for all of its domains but the target. Images of the
    target whose class no source image has are left out, and said.
    """
    if names_all(recipe.target):
        raise UserError("all is a run for each held-out domain, and this is a single run; name one domain as target")
    if recipe.source is not None and recipe.target is None:
        raise UserError("--task dg wants a --target: the domain to hold out, or all for each in turn")
    if recipe.source is None and recipe.target is not None:
        raise UserError(
            f"--task dg wants a --source: the data set or folder of domains that '{recipe.target}' is held out of"
        )
    found = resolve(recipe.source, recipe.target, Path(recipe.root) if recipe.root else None, download, True)
    learned_from = others(found.sources, found.target)
    if not learned_from:
        raise UserError(
            f"all images of the source lie with those of the target {found.target.name}: hold out another domain, or "
            "name a source that has more"
        )
    classes = alphabetical([name for table in learned_from for name in present_classes(table)])
    sources = tuple(table.relabel(classes) for table in learned_from)
    target, warnings = found.target, (*found.warnings, *spellings(learned_from, found.target))
    if target.classes:
        warnings = (*warnings, *strangers(target, classes))
        target = target.relabel(classes)
    if not len(target):
        raise UserError(
            f"no image of {found.target.name} is of a class that the source has ({', '.join(classes[:3])}, …); class "
            "folders that mean the same must have the same name"
        )
    learned = f"learned from: {counted(len(sources), 'domain')}, {counted(sum(map(len, sources)), 'image')}"
    held = f"held out: {target.name}, {counted(len(target), 'image')}; {len(classes)} classes"
    same = [table.name for table in found.sources if all(table is not other for other in learned_from)]
    lines = (*found.lines, *(f"not learned from, for it is the target: {name}" for name in same), learned, held)
    dataset = found.dataset
    complete = dataset is not None and len(sources) == len(dataset.domains) - 1
    return Found(sources, target, lines, warnings, dataset.name if dataset is not None and complete else None)


def spellings(sources: tuple[ImageTable, ...], target: ImageTable) -> tuple[str, ...]:
    """Return a warning for each class of a domain that those before it may have under another spelling."""
    warnings: list[str] = []
    known: tuple[str, ...] = ()
    for table in sources:
        own = present_classes(table)
        warnings += lookalikes(known, own, ("another source domain", table.name))
        known += own
    return (*warnings, *lookalikes(known, present_classes(target), ("the source", target.name)))


def others(sources: tuple[ImageTable, ...], target: ImageTable) -> tuple[ImageTable, ...]:
    """Return the sources but for the domain that the target is, or is a part of, by whatever name it was given.

    A domain's folder is the highest that holds its images and none of another source's, so that a domain is left out
    with all of its splits.
    """
    held = _folder(target)
    if held is None:
        return sources
    own = [_folder(table) for table in sources]
    kept = []
    for i, (table, folder) in enumerate(zip(sources, own, strict=True)):
        strangers_to = [other for j, other in enumerate(own) if j != i and other is not None]
        while folder is not None and strangers_to and folder != folder.parent:
            if any(other.is_relative_to(folder.parent) for other in strangers_to):
                break
            folder = folder.parent
        if folder is None or not (held.is_relative_to(folder) or folder.is_relative_to(held)):
            kept.append(table)
    return tuple(kept)


def _folder(table: ImageTable) -> Path | None:
    """Return the lowest folder that holds all images of a table, None where they come as arrays."""
    if table.pixels is not None or not len(table):
        return None
    return Path(os.path.realpath(os.path.commonpath([Path(path).parent for path in table.paths])))


def load_domains(found: Found, recipe: DomainsRecipe, progress: bool = True) -> Domains:
    """Decode the domains."""
    sources = tuple(load_domain(table, recipe, progress) for table in found.sources)
    target = load_domain(found.target, recipe, progress)
    losses = [line for side in (*sources, target) for line in side.losses]
    return Domains(sources, target, found.lines, (*found.warnings, *losses), found.dataset)
