"""Which classes source and target share and which are private to one: the settings of universal domain adaptation."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from uda.datasets.folders import alphabetical, check_source
from uda.datasets.table import ImageTable
from uda.errors import UserError, unknown_name

if TYPE_CHECKING:
    from uda.datasets.catalog import DataSet

SETTINGS = ("closed", "partial", "open", "open-partial")
_UNKNOWN = "the target has no class folders, so its classes are not known"
_KEYS = ("shared", "source_private", "target_private")


@dataclass(frozen=True)
class LabelSets:
    """The label sets of a pair of domains; `origin` says where they come from.

    target_known: False where the target has no labels, so that its classes are what a split says, or anybody's guess.
    """

    shared: tuple[str, ...]
    source_private: tuple[str, ...] = ()
    target_private: tuple[str, ...] = ()
    origin: str = ""
    target_known: bool = True

    @property
    def source(self) -> tuple[str, ...]:
        """The classes of the source in alphabetical order: the order of the classifier's outputs."""
        return alphabetical(self.shared + self.source_private)

    @property
    def target(self) -> tuple[str, ...]:
        """The classes of the target in alphabetical order."""
        return alphabetical(self.shared + self.target_private)

    @property
    def setting(self) -> str | None:
        """The name of the setting: closed, partial, open or open-partial; None where it is not known."""
        if not self.target_known:
            return None
        if self.target_private:
            return "open-partial" if self.source_private else "open"
        return "partial" if self.source_private else "closed"

    def describe(self) -> str:
        """Return the line that is printed before anything trains."""
        if not self.target_known:
            return f"label sets: {len(self.source)} source classes, {self.origin}"
        sizes = f"{len(self.shared)} shared / {len(self.source_private)} source-private"
        text = f"label sets: {sizes} / {len(self.target_private)} target-private classes ({self.setting})"
        return f"{text}, {self.origin}" if self.origin else text


def present_classes(table: ImageTable) -> tuple[str, ...]:
    """Return the classes that have an image in the table, in its order."""
    return tuple(name for name, n in table.counts().items() if n)


def label_sets(
    source_classes: tuple[str, ...],
    target_classes: tuple[str, ...],
    setting: str | None = None,
    split: str | None = None,
    dataset: "DataSet | None" = None,
) -> LabelSets:
    """Return the label sets of a run.

    split:   "a/b/c" = the first a classes shared, the next b source-private, the last c target-private, over the
             union of the classes in alphabetical order; or a YAML file with lists `shared`, `source_private`,
             `target_private`. It goes before everything else.
    dataset: the data set that both domains come from; its published split for `setting` (default open-partial).
    Without either, the sets are those of the class names themselves, compared exactly; what a target without labels
    shares is not known. UserError where a split, a setting and the classes do not fit, or a split leaves the source a
    single class.
    """
    if setting is not None and setting not in SETTINGS:
        raise unknown_name("setting", setting, SETTINGS, "--help")
    union = alphabetical(source_classes + target_classes)
    flat = not target_classes
    if flat and setting is not None:
        raise UserError(
            f"--setting {setting} cannot be told of a target that has no class folders: leave out --setting, or give a "
            "target with a folder of images for each class"
        )
    if split is not None:
        sets = _counted(split, union, flat) if re.fullmatch(r"\s*\d+\s*(/\s*\d+\s*)+", split) else _listed(split, union)
        if len(sets.source) < 2:
            raise UserError(
                f"--split {split} leaves the source one class ({sets.source[0]}): a classifier needs at least two, so "
                "give it more that are shared or source-private"
            )
        if flat:
            return replace(sets, origin=f"{sets.origin}; {_UNKNOWN}", target_known=False)
        return _fitting(sets, setting, f"--split {split}")
    if dataset is not None:
        return _published(dataset, setting)
    if flat:
        return LabelSets(source_classes, (), (), _UNKNOWN, target_known=False)
    shared = tuple(name for name in source_classes if name in target_classes)
    if not shared:
        raise UserError(
            f"source and target share no class (source: {_some(source_classes)}; target: {_some(target_classes)}): "
            "give the class folders that mean the same the same name"
        )
    source_private = tuple(name for name in source_classes if name not in target_classes)
    target_private = tuple(name for name in target_classes if name not in source_classes)
    sets = LabelSets(alphabetical(shared), alphabetical(source_private), alphabetical(target_private), "as they are")
    return _fitting(sets, setting, "the classes of source and target")


def lookalikes(
    source_classes: tuple[str, ...],
    target_classes: tuple[str, ...],
    sides: tuple[str, str] = ("the source", "the target"),
) -> tuple[str, ...]:
    """Return a warning for each class of one side that the other side may have under another spelling.

    Names are compared without case, spaces, underscores and hyphens, as those of the catalog's data sets are. sides:
    what the two are called.
    """
    ours = {_bare(name): name for name in source_classes if name not in target_classes}
    theirs = {_bare(name): name for name in target_classes if name not in source_classes}
    return tuple(
        f"'{ours[key]}' of {sides[0]} and '{theirs[key]}' of {sides[1]} differ only in writing and count as two "
        "classes; rename one folder if they are the same"
        for key in ours
        if key in theirs
    )


def _bare(name: str) -> str:
    return re.sub(r"[ _-]", "", name.casefold())


def apply(sets: LabelSets, source: ImageTable, target: ImageTable) -> tuple[ImageTable, ImageTable]:
    """Return both tables restricted to their label sets and numbered for the classifier.

    Source labels are 0 … K−1 in the order of `sets.source`. The target's classes are those K followed by its private
    ones, so that labels below K are shared classes and labels from K on are unknown; −1 stays −1.
    UserError names a class that the sets say is there and the table has no image of.
    """
    check_source(source)
    if "unknown" in sets.source:
        raise UserError(
            f"{source.name} has a class named 'unknown', which is what rejected images are called: rename that class"
        )
    _require(sets.source, source)
    if target.classes:
        _require(sets.target, target)
    private = alphabetical(sets.target_private)
    # two steps: the classifier's classes include the source-private ones, of which the target must lose its images
    target = target.relabel(sets.target).relabel(sets.source + private)
    return source.relabel(sets.source), target


def _require(classes: tuple[str, ...], table: ImageTable) -> None:
    present = set(present_classes(table))
    missing = [name for name in classes if name not in present]
    if missing:
        plural = "es" if len(missing) > 1 else ""
        raise UserError(
            f"class{plural} {_some(tuple(missing))} of the split {'have' if plural else 'has'} no image in "
            f"{table.name}, which has {_some(tuple(present_classes(table)))}: "
            "add the images or choose another --split"
        )


def _counted(split: str, classes: tuple[str, ...], flat: bool) -> LabelSets:
    sizes = [int(part) for part in split.split("/")]
    if len(sizes) != 3:
        raise UserError(f"--split {split} has {len(sizes)} numbers: write shared/source-private/target-private, 4/3/3")
    a, b, c = sizes
    if a == 0:
        raise UserError(f"--split {split} leaves no shared class: the first number must be at least 1")
    if a + b + c > len(classes) and flat:
        raise UserError(
            f"--split {split} asks for {a + b + c} classes but the target has no class folders and the source has "
            f"{len(classes)} ({_some(classes)}): leave out --split, or put the target's images into class folders"
        )
    if a + b + c > len(classes):
        raise UserError(
            f"--split {split} asks for {a + b + c} classes but source and target have {len(classes)} "
            f"({_some(classes)}): lower the numbers"
        )
    return LabelSets(classes[:a], classes[a : a + b], classes[len(classes) - c :], f"--split {split}")


def _listed(split: str, classes: tuple[str, ...]) -> LabelSets:
    path = Path(split).expanduser()
    if not path.is_file():
        raise UserError(f"--split {split} is neither three numbers like 4/3/3 nor a file: check its name")
    try:
        # the base loader keeps every scalar as text: a class may be called "no" or "1"
        read = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--split {split} cannot be read as YAML ({reason}): write lists {', '.join(_KEYS)}") from None
    if not isinstance(read, dict):
        raise UserError(f"--split {split} holds no lists: write {', '.join(_KEYS)}, each a list of class names")
    chosen: dict[str, tuple[str, ...]] = dict.fromkeys(_KEYS, ())
    for key, names in read.items():
        if key not in _KEYS:
            raise unknown_name("key", str(key), _KEYS, f"in {split}")
        if names in ("", None):  # an empty entry
            continue
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{key} in {split} is no list of class names: write {key}: [name, name]")
        for name in names:
            if name not in classes:
                raise unknown_name("class", name, classes, f"under {key} in {split}")
        chosen[key] = tuple(names)
    named = [name for names in chosen.values() for name in names]
    twice = alphabetical([name for name in named if named.count(name) > 1])
    if twice:
        raise UserError(f"{_some(twice)} in {split} is listed twice: each class belongs to one list")
    if not chosen["shared"]:
        raise UserError(f"--split {split} leaves no shared class: list at least one under shared")
    shared, source_private, target_private = (alphabetical(chosen[key]) for key in _KEYS)
    return LabelSets(shared, source_private, target_private, f"--split {split}")


def _published(dataset: "DataSet", setting: str | None) -> LabelSets:
    wanted = setting or "open-partial"
    if wanted in dataset.splits:
        return dataset.splits[wanted]
    if wanted == "closed":
        return LabelSets(dataset.classes, (), (), "all classes shared")
    lacks = f"no split of {dataset.name} is published"
    if dataset.splits:
        lacks += f" for the setting {wanted} (there is one for {', '.join(dataset.splits)})"
    raise UserError(
        f"{lacks}: say which with --split shared/source-private/target-private, "
        f"numbers that add up to at most {len(dataset.classes)}, or take --setting closed"
    )


def _fitting(sets: LabelSets, setting: str | None, given: str) -> LabelSets:
    if setting is not None and setting != sets.setting:
        sizes = f"{len(sets.shared)}/{len(sets.source_private)}/{len(sets.target_private)}"
        raise UserError(
            f"--setting {setting} does not fit {given}, which make{'s' if given.startswith('--') else ''} it "
            f"{sets.setting} ({sizes}): leave out --setting or change the split"
        )
    return sets


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:10]) + (f", … ({len(names)} in all)" if len(names) > 10 else "")
