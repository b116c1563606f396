"""Every ordered pair of domains that `all` stands for."""

from dataclasses import dataclass, replace
from pathlib import Path

from uda.datasets.domains import BuiltIn, Catalogued
from uda.datasets.resolve import Name, collection_of, sides
from uda.errors import UserError


@dataclass(frozen=True)
class NamedDomain:
    """One domain of a pair.

    name: what `resolve` understands ("office/dslr", a folder); short: for folders and tables ("dslr");
    dataset: the catalog's, where the domain is taken whole as it was published, else None.
    """

    name: str
    short: str
    dataset: str | None = None


def names_all(text: str | None) -> bool:
    """Return whether a name asks for every domain: `all`, or `dataset/all`."""
    if text is None or text == "all":
        return text == "all"
    return text.rstrip("/").split("/")[1:] == ["all"] and not Path(text).expanduser().exists()


def domain_pairs(
    source: str | None, target: str | None, data_root: str | Path | None = None, every_source: bool = False
) -> list[tuple[NamedDomain, NamedDomain]]:
    """Return every ordered pair of different domains of two names, at least one of which has `all`.

    A side that names one domain has that one; `all`, a data set, or a folder of domains has all of them. With
    `every_source`, as domain generalization wants, those of the source are learned from together: a pair for each
    domain of the target.
    UserError: a side that is missing, the built-in data, and names that make no pair.
    """
    if source is None or target is None:
        lacking, other = ("source", "target") if source is None else ("target", "source")
        raise UserError(
            f"--{other} all wants a --{lacking}: name a data set or a folder of domains for every pair, or one domain"
        )
    ours, theirs = (side for side in sides(source, target, data_root) if side is not None)
    if any(isinstance(collection_of(side), BuiltIn) for side in (ours, theirs)):
        raise UserError(
            "the built-in data is one pair, printed → handwritten, and takes no all: leave --source and --target out "
            "to run it, or name a data set or a folder of domains"
        )
    if every_source and ours.domain is None:
        whole = replace(_named(ours, ""), short=Path(collection_of(ours).name).name)
        return [(whole, _named(theirs, b)) for b in _domains(theirs)]
    found = [
        (_named(ours, a), _named(theirs, b))
        for a in _domains(ours)
        for b in _domains(theirs)
        if collection_of(ours).identity(a) != collection_of(theirs).identity(b)
    ]
    if not found:
        raise UserError(
            f"all makes pairs of different domains and '{collection_of(ours).name}' is a single one: name a data set, "
            "or a folder that holds a folder for each domain"
        )
    return found


def _domains(side: Name) -> list[str]:
    return list(collection_of(side).domains) if side.domain is None else [side.domain]


def _named(side: Name, domain: str) -> NamedDomain:
    collection = collection_of(side)
    name = "/".join(part for part in (collection.name, domain, side.split) if part)
    short = "_".join(part for part in (domain or Path(collection.name).name, side.split) if part)
    dataset = collection.dataset.name if isinstance(collection, Catalogued) and side.split is None else None
    return NamedDomain(name, short, dataset)
