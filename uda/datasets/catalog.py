"""Public data sets by name: where they lie, what must be in them, how they are split, where to get them."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uda.datasets.archives import extract
from uda.datasets.download import Download, download
from uda.datasets.folders import SPLIT_NAMES, alphabetical, class_table
from uda.datasets.labelsets import LabelSets
from uda.datasets.table import ImageTable
from uda.datasets.tree import Tree, scan
from uda.errors import UserError, unknown_name

NO_DATA_COMMAND = "python run.py --task unida"
CATALOG_COMMAND = f"{NO_DATA_COMMAND} runs without any data"


@dataclass(frozen=True)
class Domain:
    """One domain: its name, how else it is written (on disk or on the command line), how many images it may have."""

    name: str
    spellings: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Archive:
    """Something to download for some of the domains (all, where none is named), unpacked into the data set's folder."""

    source: Download
    domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A public data set.

    classes:  in alphabetical order; `spellings` maps what else a class folder is called to the name used here.
    folders:  names of its folder in a data root; `inner`: levels that may lie between that and the domains.
    splits:   published label sets by setting.
    by_hand:  the page to get it from, and what to do there; `archives` what `--download` fetches.
    lists:    files beside the domains that name the images of train and test, where it has such.
    reader:   reads a domain where the layout is not domains above classes; `fetches`: it can download too.
    Names are compared without case, spaces, underscores and hyphens, and without a number before them ("003.").
    """

    name: str
    title: str
    domains: tuple[Domain, ...]
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    by_hand: str
    layout: str
    aliases: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    spellings: dict[str, str] = field(default_factory=dict)
    splits: dict[str, LabelSets] = field(default_factory=dict)
    archives: tuple[Archive, ...] = ()
    lists: tuple[str, ...] = ()
    through_torchvision: bool = False
    reader: "Callable[[DataSet, Domain, list[Path], bool], Loaded] | None" = None
    fetches: bool = False

    @property
    def downloadable(self) -> bool:
        """Whether `--download` can fetch it."""
        return bool(self.archives) or self.through_torchvision or self.fetches

    def domain(self, name: str) -> Domain:
        """Return a domain by its name or another spelling of it; UserError with the nearest where there is none."""
        for domain in self.domains:
            if plain(name) in _plain_names(domain):
                return domain
        raise unknown_name(f"domain of {self.name}", name, [d.name for d in self.domains], "its domains")

    def has_domain(self, name: str) -> bool:
        """Whether the data set has a domain of that name or spelling."""
        return any(plain(name) in _plain_names(domain) for domain in self.domains)


@dataclass(frozen=True)
class Loaded:
    """A domain as it was found: its table, its published splits where they are on disk, and what is odd about it."""

    table: ImageTable
    splits: dict[str, ImageTable] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def plain(name: str) -> str:
    """Return a name as names are compared: no case, no separators, no leading number."""
    return re.sub(r"[ _-]", "", re.sub(r"^\d+\.", "", name.casefold()))


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text: how lists of class names are written here."""
    return tuple(text.split())


def data_roots(given: str | Path | None) -> list[Path]:
    """Return the folders that are searched for data sets: the argument, else UDA_DATA (a list of paths), else data."""
    if given is not None:
        return [Path(given).expanduser()]
    named = [part for part in os.environ.get("UDA_DATA", "").split(os.pathsep) if part]
    return [Path(part).expanduser() for part in named] or [Path("data")]


def find_dataset(name: str) -> DataSet | None:
    """Return the data set of that name or alias, or None."""
    from uda.datasets.catalog_entries import CATALOG

    for dataset in CATALOG:
        if plain(name) in {plain(other) for other in (dataset.name, *dataset.aliases)}:
            return dataset
    return None


def dataset_names() -> tuple[str, ...]:
    """Return the names in the catalog."""
    from uda.datasets.catalog_entries import CATALOG

    return tuple(dataset.name for dataset in CATALOG)


def load(dataset: DataSet, domain: str, roots: list[Path], fetch: bool = False) -> Loaded:
    """Return a domain of a data set, looked for under every root, downloaded into the first if `fetch` allows.

    UserError where it is not on disk: where it was looked for, the layout expected, how to get it, and the command
    that needs no data.
    """
    if dataset.through_torchvision:
        from uda.datasets.digits import load_digits

        return load_digits(dataset, domain, roots, fetch)
    wanted = dataset.domain(domain)
    if dataset.reader is not None:
        return dataset.reader(dataset, wanted, roots, fetch)
    found = _locate(dataset, wanted, roots)
    if found is None and fetch and dataset.archives:
        _fetch(dataset, wanted, roots[0])
        found = _locate(dataset, wanted, roots)
    if found is None:
        raise not_on_disk(dataset, wanted.name, roots, fetch)
    return _read(dataset, wanted, *found)


def not_on_disk(dataset: DataSet, domain: str, roots: list[Path], fetch: bool = False) -> UserError:
    """Return the error for data that is not there."""
    where = ", ".join(str(root.absolute()) for root in roots)
    how = "add --download, or " if dataset.downloadable and not fetch else ""
    return UserError(
        f"{dataset.name}/{domain} ({dataset.title}) is not on disk: looked in {where} for {dataset.layout}; "
        f"{how}{dataset.by_hand}, or name the folder it is in with --data-root; "
        f"{CATALOG_COMMAND}"
    )


def find_folders(dataset: DataSet, roots: list[Path]) -> list[Path]:
    """Return the folders that may hold a data set: those of its name first, levels that may lie within them last."""
    bases = [base for base, _ in _bases(dataset, roots)]
    found = list(dict.fromkeys(bases))
    for _ in dataset.inner:  # one level after another
        inner = {plain(name) for name in dataset.inner}
        found += [sub for base in found for sub in _subfolders(base) if plain(sub.name) in inner and sub not in found]
    return found


def _plain_names(domain: Domain) -> set[str]:
    return {plain(name) for name in (domain.name, *domain.spellings)}


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _bases(dataset: DataSet, roots: list[Path]) -> list[tuple[Path, bool]]:
    """Return the folders that may hold the domains; the flag says that the folder bears the data set's name."""
    names = {plain(name) for name in (dataset.name, *dataset.folders)}
    inner = {plain(name) for name in dataset.inner}
    bases = [(path, True) for root in roots for path in _subfolders(root) if plain(path.name) in names]
    bases += [(root, plain(root.name) in names) for root in roots]
    deeper = [(sub, named) for base, named in bases for sub in _subfolders(base) if plain(sub.name) in inner]
    return bases + deeper


def _locate(dataset: DataSet, domain: Domain, roots: list[Path]) -> tuple[Path, Tree] | None:
    """Return the folder of the data set and the class folders of the domain, or None.

    A root that happens to hold a folder of the domain's name must have all classes in it: "amazon" alone says little.
    """
    for base, named in _bases(dataset, roots):
        for folder in _subfolders(base):
            if plain(folder.name) in _plain_names(domain):
                tree = _without_splits(scan(folder))
                known = {_canonical(dataset, name) for name in tree.children} - {None}
                if known and (named or len(known) == len(dataset.classes)):
                    return base, tree
    return None


def _without_splits(tree: Tree) -> Tree:
    """Return the tree with the classes of train/, val/ and test/ put together, where those lie above the classes."""
    if tree.files or not tree.children or not all(name.casefold() in SPLIT_NAMES for name in tree.children):
        return tree
    if not any(split.children for split in tree.children.values()):
        return tree  # a class called "train", as in VisDA
    merged = Tree(tree.path)
    for split in tree.children.values():
        for name, child in split.children.items():
            target = merged.children.setdefault(name, Tree(tree.path / name))
            target.files.extend(child.all_files())
    return merged


def _canonical(dataset: DataSet, folder: str) -> str | None:
    known = {plain(name): name for name in dataset.classes}
    other = {plain(spelling): name for spelling, name in dataset.spellings.items()}
    return known.get(plain(folder)) or other.get(plain(folder))


def _read(dataset: DataSet, domain: Domain, base: Path, tree: Tree) -> Loaded:
    name, warnings = f"{dataset.name}/{domain.name}", []
    renamed = Tree(tree.path)
    strangers = []
    for folder, child in tree.children.items():
        known = _canonical(dataset, folder)
        if known is None:
            strangers.append(folder)
        else:
            renamed.children[known] = child
    if strangers:
        warnings.append(f"{name}: {tree.path} has folders that are no class of {dataset.title}: {_some(strangers)}")
    missing = [c for c in dataset.classes if c not in renamed.children]
    if missing:
        warnings.append(f"{name}: {tree.path} lacks classes of {dataset.title}: {_some(missing)}")
    table = class_table(renamed, name, base)
    splits = _listed_splits(dataset, domain, base, table)
    if splits:
        rows = np.unique(np.concatenate(list(splits.values())))
        tables = {split: table.select(chosen) for split, chosen in splits.items()}
        warnings += _count_warning(name, len(rows), domain)
        return Loaded(table.select(rows), tables, tuple(warnings))
    return Loaded(table, {}, tuple(warnings + _count_warning(name, len(table), domain)))


def _count_warning(name: str, found: int, domain: Domain) -> list[str]:
    if not domain.counts or found in domain.counts:
        return []
    expected = " or ".join(str(count) for count in domain.counts)
    return [f"{name} has {found} images where {expected} were published: results will not compare exactly"]


def _listed_splits(dataset: DataSet, domain: Domain, base: Path, table: ImageTable) -> dict[str, np.ndarray]:
    """Return the rows of train and test by the lists that some data sets come with, where they are on disk."""
    rows: dict[str, np.ndarray] = {}
    of_file = {"/".join(Path(path).parts[-2:]).casefold(): i for i, path in enumerate(table.paths)}
    for split in ("train", "test"):
        for pattern in dataset.lists:
            path = base / pattern.format(domain=domain.name, split=split)
            if path.is_file():
                lines = path.read_text(encoding="utf-8").splitlines()
                # "clipart/bird/clipart_031_000001.jpg 31": class folder and file tell an image within its domain
                keys = ["/".join(line.rsplit(" ", 1)[0].split("/")[-2:]).casefold() for line in lines if line.strip()]
                rows[split] = np.array(sorted(of_file[key] for key in keys if key in of_file), dtype=np.int64)
                break
    return {split: chosen for split, chosen in rows.items() if len(chosen)} if len(rows) == 2 else {}


def _fetch(dataset: DataSet, domain: Domain, root: Path) -> None:
    folder = root / dataset.folders[0]
    for archive in dataset.archives:
        if not archive.domains or domain.name in archive.domains:
            file = download(archive.source, root / "downloads" / dataset.folders[0] / archive.source.name)
            if file.suffix == ".txt":
                folder.mkdir(parents=True, exist_ok=True)
                (folder / file.name).write_bytes(file.read_bytes())
            else:
                extract(file, folder)


def _some(names: list[str]) -> str:
    listed = alphabetical(names)
    return ", ".join(listed[:8]) + (f", … ({len(listed)} in all)" if len(listed) > 8 else "")
