"""Sets of domains behind one face: a data set of the catalog, a folder, the built-in glyphs."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from uda.datasets import catalog
from uda.datasets.catalog import DataSet
from uda.datasets.folders import SPLIT_NAMES, TRAINING_SPLITS, Folder, read_folder, summary
from uda.datasets.groups import with_file
from uda.datasets.table import ImageTable
from uda.errors import UserError, unknown_name
from uda.wording import counted


@dataclass(frozen=True)
class Taken:
    """A domain's images, and what to tell the user about them."""

    table: ImageTable
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    splits: dict[str, ImageTable] = field(default_factory=dict)


class Collection(Protocol):
    """Several domains (or one, called "") that a name on the command line can stand for."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Its domains, in the order in which they are chosen from."""

    def find(self, domain: str) -> str | None:
        """Return the domain that is meant by a name or another spelling, or None."""

    def identity(self, domain: str) -> str:
        """Return what tells this domain from every other, however they were named."""

    def describe(self) -> list[str]:
        """Return the lines that say what the collection was found to be."""

    def take(self, domain: str, split: str | None, training: bool) -> Taken:
        """Return the images of a domain: of the split, else of the training split or all splits."""


def the_domain(collection: Collection, domain: str) -> str:
    """Return the domain that is meant by a name; UserError with the nearest where there is none."""
    found = collection.find(domain)
    if found is None:
        known = [d for d in collection.domains if d]
        raise unknown_name(f"domain of {collection.name}", domain, known, f"the domains of {collection.name}")
    return found


@dataclass(frozen=True)
class Catalogued:
    """A data set of the catalog, looked for under `roots`."""

    dataset: DataSet
    roots: list[Path]
    fetch: bool = False

    @property
    def name(self) -> str:
        """How messages call it."""
        return self.dataset.name

    @property
    def domains(self) -> tuple[str, ...]:
        """Its domains, as the catalog lists them."""
        return tuple(domain.name for domain in self.dataset.domains)

    def find(self, domain: str) -> str | None:
        """Return the domain that is meant, or None."""
        return self.dataset.domain(domain).name if self.dataset.has_domain(domain) else None

    def identity(self, domain: str) -> str:
        """Return "office/amazon"."""
        return f"{self.dataset.name}/{domain}"

    def describe(self) -> list[str]:
        """Return nothing: the tables say it all."""
        return []

    def take(self, domain: str, split: str | None, training: bool) -> Taken:
        """Return the images of a domain."""
        loaded = catalog.load(self.dataset, domain, self.roots, self.fetch)
        chosen = _choose_split(loaded.splits, split, training, self.identity(domain))
        table = loaded.table if chosen is None else loaded.splits[chosen]
        where = f", in {table.root}" if table.root is not None else ""
        return Taken(table, (f"{summary(table)} ({self.dataset.title}{where})",), loaded.warnings, loaded.splits)


@dataclass(frozen=True)
class FolderOfImages:
    """A folder of the user's, with or without domains in it."""

    folder: Folder

    @classmethod
    def read(cls, path: Path) -> "FolderOfImages":
        """Read a folder for what it is."""
        return cls(read_folder(path))

    @property
    def name(self) -> str:
        """How messages call it."""
        return str(self.folder.root)

    @property
    def domains(self) -> tuple[str, ...]:
        """Its domains, or the one that it is."""
        return self.folder.domains or ("",)

    def find(self, domain: str) -> str | None:
        """Return the domain folder of that name, or None."""
        return domain if domain and domain in self.folder.domains else None

    def identity(self, domain: str) -> str:
        """Return the real path of the domain's folder."""
        return os.path.realpath(self.folder.root / domain)

    def describe(self) -> list[str]:
        """Return what the folder was found to be."""
        return self.folder.describe()

    def take(self, domain: str, split: str | None, training: bool) -> Taken:
        """Return the images of a domain."""
        key = domain or None
        splits = {name: with_file(table) for name, table in self.folder.splits(key).items()}
        chosen = _choose_split(splits, split, training, f"{self.name}/{domain}".rstrip("/"))
        table = with_file(self.folder.table(key)) if chosen is None else splits[chosen]
        return Taken(table, (f"{table.name}, {counted(len(table), 'image')}",), (), splits)


@dataclass(frozen=True)
class BuiltIn:
    """The glyphs that come with the package."""

    name: str = "builtin"
    domains: tuple[str, ...] = ("printed", "handwritten")
    _tables: dict[str, ImageTable] = field(default_factory=dict)

    def find(self, domain: str) -> str | None:
        """Return the domain of that name, or None."""
        return domain if domain in self.domains else None

    def identity(self, domain: str) -> str:
        """Return "builtin/printed"."""
        return f"builtin/{domain}"

    def describe(self) -> list[str]:
        """Return nothing: the tables say it all."""
        return []

    def take(self, domain: str, split: str | None, training: bool) -> Taken:
        """Return the images of a domain."""
        from uda.datasets.builtin import builtin_domains

        _choose_split({}, split, training, self.identity(domain))
        if not self._tables:
            self._tables.update(builtin_domains())
        table = self._tables[domain]
        return Taken(table, (f"{summary(table)} (built in)",))


def _choose_split(splits: dict[str, ImageTable], split: str | None, training: bool, name: str) -> str | None:
    """Return which split to take, or None for all images."""
    if split is not None:
        if split.casefold() not in splits:
            there = f"it has {', '.join(splits)}" if splits else "it has no splits"
            raise UserError(f"{name} has no split '{split}': {there} (splits are folders called {_spoken()})")
        return split.casefold()
    if not training:
        return None
    return next((s for s in TRAINING_SPLITS if s in splits), None)


def _spoken() -> str:
    return ", ".join(SPLIT_NAMES)
