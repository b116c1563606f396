"""From the names in a recipe to two domains of images, decoded, with their label sets."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from uda.datasets.cache import Unreadable
from uda.datasets.labelsets import LabelSets, apply, label_sets, lookalikes, present_classes
from uda.datasets.pairs import names_all
from uda.datasets.resolve import Resolved, resolve
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.parts import Domain, load_domain
from uda.experiments.unida.labelled import fewer_than_asked, set_apart
from uda.sections import PairRecipe
from uda.wording import counted


@dataclass(frozen=True)
class Domains:
    """Both sides; target labels count the source's K classes first, then the target-private ones; −1 is unlabelled.

    labelled: the target images that training may see with their labels, apart from `target`; None where there are none.
    """

    source: Domain
    target: Domain
    sets: LabelSets
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    labelled: Domain | None = None

    @property
    def title(self) -> str:
        """How reports call the pair."""
        return f"{self.source.table.name} → {self.target.table.name}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The source's classes in the classifier's order."""
        return self.sets.source

    @property
    def fingerprint(self) -> str:
        """What the images, their order and the labels that training sees are; a checkpoint remembers it."""
        labels = self.source.table.labels.astype("<i8").tobytes() + os.fsencode("\0".join(self.class_names))
        few = ""
        if self.labelled is not None:
            labels += self.labelled.table.labels.astype("<i8").tobytes()
            few = f"+{self.labelled.images.fingerprint}"
        digest = hashlib.sha256(labels).hexdigest()[:16]
        return f"{self.source.images.fingerprint}+{self.target.images.fingerprint}{few}+{digest}"

    @property
    def fingerprints(self) -> dict[str, str]:
        """What figures are of, side by side, the labels that measure included; only equal ones may be compared."""
        sides = {"source": self.source, "target": self.target, "labelled_target": self.labelled}
        return {name: side.fingerprint for name, side in sides.items() if side is not None}

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The files left out on both sides."""
        return self.source.unreadable + self.target.unreadable + (self.labelled.unreadable if self.labelled else ())


@dataclass(frozen=True)
class Found:
    """Both tables, restricted to their label sets and numbered for the classifier; nothing decoded yet."""

    source: ImageTable
    target: ImageTable
    sets: LabelSets
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    labelled: ImageTable | None = None


def find_domains(recipe: PairRecipe, download: bool = False) -> Found:
    """Find what the recipe names and settle the label sets; UserError says what is missing and what to do."""
    if names_all(recipe.source) or names_all(recipe.target):
        raise UserError("all is a run for each pair of domains, and this is a single run; name one domain on each side")
    return settle(resolve(recipe.source, recipe.target, Path(recipe.root) if recipe.root else None, download), recipe)


def settle(found: Resolved, recipe: PairRecipe) -> Found:
    """Settle the label sets of resolved tables, and set apart the target images that training may see labelled."""
    classes = present_classes(found.source), present_classes(found.target)
    sets = label_sets(*classes, recipe.setting, recipe.split, found.dataset)
    source, target = apply(sets, found.source, found.target)
    labelled, target, few = set_apart(target, sets, recipe)
    numbers = counted(len(source), "source image"), counted(len(target), "target image")
    used = f"used: {numbers[0]} of {', '.join(sets.source)}; {numbers[1]}"
    warnings = (*found.warnings, *lookalikes(*classes))
    if recipe.split is not None and not sets.target_known:
        warnings = (
            *warnings,
            "the target has no class folders, so the split cannot restrict it: all its images are used",
        )
    if labelled is not None and recipe.target_labels:
        warnings = (*warnings, *fewer_than_asked(labelled, sets.shared, recipe.target_labels))
    return Found(source, target, sets, (*found.lines, sets.describe(), used, *few), warnings, labelled)


def decode_domains(found: Found, recipe: PairRecipe, progress: bool = True) -> Domains:
    """Decode the tables."""
    source, target = (load_domain(table, recipe, progress) for table in (found.source, found.target))
    labelled = None if found.labelled is None else load_domain(found.labelled, recipe, progress)
    losses = [line for side in (source, target, labelled) if side is not None for line in side.losses]
    return Domains(source, target, found.sets, found.lines, (*found.warnings, *losses), labelled)


def load_domains(recipe: PairRecipe, download: bool = False, progress: bool = True) -> Domains:
    """Find and decode both domains of a recipe."""
    return decode_domains(find_domains(recipe, download), recipe, progress)
