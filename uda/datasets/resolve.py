"""What `--source` and `--target` mean."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from uda.datasets.catalog import CATALOG_COMMAND, DataSet, data_roots, dataset_names, find_dataset
from uda.datasets.domains import BuiltIn, Catalogued, Collection, FolderOfImages, Taken, the_domain
from uda.datasets.folders import check_source, join
from uda.datasets.table import ImageTable
from uda.errors import UserError, unknown_name


@dataclass(frozen=True)
class Resolved:
    """The images of a run.

    sources, targets: one table each for most runs, several for `all`, none for a side that was not given.
    dataset:          the catalog's data set that every table comes from, or None.
    lines:            what was understood, to be printed before anything trains.
    warnings:         what differs from the published data.
    source_splits:    every split of the source's domain (train, test, …), where it is one domain and has splits.
    """

    sources: tuple[ImageTable, ...]
    targets: tuple[ImageTable, ...]
    dataset: DataSet | None
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    source_splits: dict[str, ImageTable] = field(default_factory=dict)

    @property
    def source(self) -> ImageTable:
        """The source as one table, several joined; UserError where none was given."""
        return _as_one(self.sources, "source")

    @property
    def target(self) -> ImageTable:
        """The target as one table, several joined; UserError where none was given."""
        return _as_one(self.targets, "target")


@dataclass(frozen=True)
class Name:
    """One side as it was written: in which collection, which domain (None: to be chosen), which split."""

    text: str
    collection: Collection | None = None
    domain: str | None = None
    split: str | None = None
    every: bool = False


def resolve(
    source: str | None,
    target: str | None,
    data_root: str | Path | None = None,
    download: bool = False,
    every_source: bool = False,
    need_labels: bool = True,
) -> Resolved:
    """Return the tables that two names stand for.

    A name is a folder that exists; `dataset/domain` or `dataset/domain/split`; a bare domain of the other's data set;
    a data set or a folder of domains (its first domain that is not the other's, or with `every_source`, as domain
    generalization wants, all of those); or `all`, the same as a data set with all its domains. With `all` on both
    sides each side has every domain. Without names: the built-in printed and handwritten glyphs.
    Of a source with splits the training split is taken, of a target all splits, unless one is named.
    UserError: an unknown name, data that is not on disk, and, with `need_labels`, a source without labels or with
    one class.
    """
    if source is None and target is None:
        source, target = "builtin/printed", "builtin/handwritten"
    ours, theirs = sides(source, target, data_root, download)
    if ours is not None and every_source and ours.domain is None:
        ours = replace(ours, every=True)
    source_domains, target_domains = _choose(ours, theirs)

    taken_sources = [collection_of(ours).take(d, ours.split, True) for d in source_domains] if ours else []
    taken_targets = [collection_of(theirs).take(d, theirs.split, False) for d in target_domains] if theirs else []
    for taken in taken_sources if need_labels else []:
        check_source(taken.table)
    collections = [side.collection for side in (ours, theirs) if side is not None and side.collection is not None]
    return _result(taken_sources, taken_targets, collections)


def sides(
    source: str | None, target: str | None, data_root: str | Path | None = None, download: bool = False
) -> tuple[Name | None, Name | None]:
    """Return what both names say, each in its collection, with the domain where there is only one to choose."""
    known: dict[str, Collection] = {}
    roots = data_roots(data_root)

    def catalogued(dataset: DataSet) -> Collection:
        return known.setdefault(dataset.name, Catalogued(dataset, roots, download))

    ours = None if source is None else _parse(source, "source", known, catalogued)
    theirs = None if target is None else _parse(target, "target", known, catalogued)
    if ours is not None and theirs is not None and ours.collection is None and theirs.collection is None:
        shared = _shared_dataset(ours, theirs)
        ours = _within(ours, "source", catalogued(shared))
        theirs = _within(theirs, "target", catalogued(shared))
    ours_in = None if ours is None else ours.collection
    theirs_in = None if theirs is None else theirs.collection
    ours = None if ours is None else _within(ours, "source", theirs_in)
    theirs = None if theirs is None else _within(theirs, "target", ours_in)
    return _settled(ours), _settled(theirs)


def _parse(text: str, side: str, known: dict[str, Collection], catalogued: Callable[[DataSet], Collection]) -> Name:
    """Read a name on its own; a bare domain and a bare `all` stay without a collection."""
    if text == "all":
        return Name(text, every=True)
    path = Path(text).expanduser()
    if path.exists():
        key = str(path.resolve())
        return Name(text, known.get(key) or known.setdefault(key, FolderOfImages.read(path)))
    head, *rest = text.rstrip("/").split("/")
    dataset = find_dataset(head)
    if dataset is not None:
        collection = catalogued(dataset)
    elif head == "builtin":
        collection = known.setdefault(head, BuiltIn())
    elif rest:
        raise UserError(
            f"--{side} {text}: there is no such folder, and '{head}' is no data set "
            f"(known: {', '.join(dataset_names())}): check the path; {CATALOG_COMMAND}"
        )
    else:
        return Name(text)
    if len(rest) > 2:
        raise UserError(f"--{side} {text} has too many parts: write dataset/domain or dataset/domain/split")
    if rest and rest[0] == "all":
        return Name(text, collection, every=True)
    domain = the_domain(collection, rest[0]) if rest else None
    return Name(text, collection, domain, rest[1] if len(rest) > 1 else None)


def _within(name: Name, side: str, other: Collection | None) -> Name:
    """Return the name with its collection; a bare name is a domain of the other side's."""
    if name.collection is not None:
        return name
    if name.every:
        if other is None:
            raise UserError(f"--{side} all needs the data set: name one on the other side, or write dataset/all")
        return replace(name, collection=other)
    found = None if other is None else other.find(name.text)
    if found is None:
        if isinstance(other, FolderOfImages) and (other.folder.root.parent / name.text).is_dir():
            beside = other.folder.root.parent / name.text
            raise UserError(f"--{side} {name.text}: there is no such folder here; write --{side} {beside}")
        domains = () if other is None else tuple(domain for domain in other.domains if domain)
        choices = (*dataset_names(), "builtin", *domains)
        raise unknown_name(side, name.text, choices, "or a folder that exists, or dataset/domain")
    return replace(name, collection=other, domain=found)


def _shared_dataset(ours: Name, theirs: Name) -> DataSet:
    """Return the one data set that has both bare domains."""
    wanted = [name.text for name in (ours, theirs) if not name.every]
    datasets = [d for d in (find_dataset(name) for name in dataset_names()) if d is not None]
    having = [d for d in datasets if wanted and all(d.has_domain(domain) for domain in wanted)]
    if len(having) == 1:
        return having[0]
    if having:
        choices = " or ".join(f"{d.name}/{wanted[0]}" for d in having)
        raise UserError(f"'{wanted[0]}' is a domain of several data sets: write {choices}")
    if not wanted:
        raise UserError("--source all --target all names no data set: write dataset/all on one side")
    domains = [domain.name for d in datasets for domain in d.domains]
    stranger = next((w for w in wanted if not any(d.has_domain(w) for d in datasets)), None)
    if stranger is None:
        raise UserError(f"no data set has both domains {' and '.join(wanted)}: write dataset/domain on each side")
    raise unknown_name("data set, domain or folder", stranger, (*dataset_names(), *domains), CATALOG_COMMAND)


def _settled(name: Name | None) -> Name | None:
    """Return the name with its domain where there is only one to choose."""
    if name is None or name.domain is not None or len(collection_of(name).domains) != 1:
        return name
    return replace(name, domain=collection_of(name).domains[0])


def _choose(ours: Name | None, theirs: Name | None) -> tuple[list[str], list[str]]:
    """Return the domains of each side; a side that was left open avoids what the other one has."""
    if ours is None or theirs is None:
        return _left(ours, set()), _left(theirs, set())
    if ours.every and theirs.every:
        return list(collection_of(ours).domains), list(collection_of(theirs).domains)
    if ours.every:
        targets = _left(theirs, set())
        return _left(ours, _identities(theirs, targets)), targets
    sources = _left(ours, _identities(theirs, [theirs.domain] if theirs.domain is not None else []))
    targets = _left(theirs, _identities(ours, sources))
    return sources, targets


def _left(name: Name | None, taken: set[str]) -> list[str]:
    if name is None:
        return []
    collection = collection_of(name)
    if name.domain is not None:
        free = [name.domain]
        taken = set() if name.split is not None else taken
    else:
        free = list(collection.domains)
    free = [domain for domain in free if collection.identity(domain) not in taken]
    if not free:
        raise UserError(f"source and target are both {name.text}: name two different domains or folders")
    return free if name.every else free[:1]


def _identities(name: Name, domains: list[str]) -> set[str]:
    return {collection_of(name).identity(domain) for domain in domains}


def collection_of(name: Name) -> Collection:
    """Return the collection of a name that `sides` has placed."""
    assert name.collection is not None
    return name.collection


def _result(sources: list[Taken], targets: list[Taken], collections: list[Collection]) -> Resolved:
    lines: list[str] = []
    for collection in collections:
        lines += [line for line in collection.describe() if line not in lines]
    lines += [f"source: {line}" for taken in sources for line in taken.lines]
    lines += [f"target: {line}" for taken in targets for line in taken.lines]
    warnings = tuple(dict.fromkeys(w for taken in (*sources, *targets) for w in taken.warnings))
    datasets = [c.dataset if isinstance(c, Catalogued) else None for c in collections]
    one = datasets[0] if all(d is datasets[0] for d in datasets) else None
    splits = sources[0].splits if len(sources) == 1 else {}
    tables = [tuple(taken.table for taken in side) for side in (sources, targets)]
    return Resolved(tables[0], tables[1], one, tuple(lines), warnings, splits)


def _as_one(tables: tuple[ImageTable, ...], side: str) -> ImageTable:
    if not tables:
        raise UserError(f"this task needs --{side}: name a data set, dataset/domain, or a folder")
    return join(list(tables), " + ".join(table.name for table in tables))
