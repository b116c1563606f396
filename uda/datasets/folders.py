"""A folder of images, read for what it is: classes, splits above classes, domains above either, or flat."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from uda.datasets.table import ImageTable
from uda.datasets.tree import IMAGE_SUFFIXES, Tree, natural_key, others_note, scan
from uda.errors import UserError
from uda.wording import counted

SPLIT_NAMES = ("train", "training", "base", "val", "valid", "validation", "test", "testing", "novel")
TRAINING_SPLITS = ("train", "training", "base")


def alphabetical(names: "set[str] | tuple[str, ...] | list[str]") -> tuple[str, ...]:
    """Return the names once each, in the project's alphabetical order."""
    return tuple(sorted(set(names), key=natural_key))


@dataclass(frozen=True)
class Folder:
    """What a folder was found to be.

    kind:   "classes", "splits", "domains", "domains and splits" or "flat".
    tables: one table for each (domain, split) there is; None where the folder has no such level.
            Splits of one domain number their classes alike where they share any; domains have their own classes.
    notes:  what a reader should know, such as class folders without images.
    """

    root: Path
    kind: str
    tables: dict[tuple[str | None, str | None], ImageTable]
    notes: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains in alphabetical order; empty where the folder is a single one."""
        return tuple(dict.fromkeys(domain for domain, _ in self.tables if domain is not None))

    def splits(self, domain: str | None = None) -> dict[str, ImageTable]:
        """Return a domain's tables by split; empty where it has none."""
        return {split: table for (d, split), table in self.tables.items() if d == domain and split is not None}

    def table(self, domain: str | None = None) -> ImageTable:
        """Return all images of a domain, its splits joined; KeyError for a domain that is not there."""
        found = [table for (d, _), table in self.tables.items() if d == domain]
        if not found:
            raise KeyError(domain)
        return join(found, _label(self.root, domain))

    def describe(self) -> list[str]:
        """Return the lines that are printed before anything trains: domains, splits, classes, counts."""
        lines = [f"{self.root}: {_KINDS[self.kind]}"]
        lines += [f"  {summary(table)}" for table in self.tables.values()]
        return lines + [f"  note: {note}" for note in self.notes]


_KINDS = {
    "classes": "one folder a class",
    "splits": "splits above classes",
    "domains": "domains above classes",
    "domains and splits": "domains above splits above classes",
    "flat": "images without labels",
}


def summary(table: ImageTable) -> str:
    """Return a table in one line: its name, how many images, which classes with how many each."""
    text = f"{table.name}: {counted(len(table), 'image')}"
    counts = table.counts()
    if not counts:
        return f"{text}, no labels"
    if len(counts) <= 12:
        return f"{text}, {counted(len(counts), 'class')} ({', '.join(f'{name} {n}' for name, n in counts.items())})"
    fewest, most = min(counts.values()), max(counts.values())
    return f"{text}, {len(counts)} classes with {fewest if fewest == most else f'{fewest} to {most}'} images each"


def join(tables: list[ImageTable], name: str) -> ImageTable:
    """Return several tables as one; classes are matched by name and put in alphabetical order.

    ValueError where one comes as pixels and another as files; UserError where pixels differ in size.
    """
    if len(tables) == 1:
        return tables[0]
    classes = alphabetical([c for table in tables for c in table.classes])
    parts = [table.relabel(classes) for table in tables]
    pixels = None
    if any(part.pixels is not None for part in parts):
        stacks = [part.pixels for part in parts if part.pixels is not None]
        if len(stacks) != len(parts):
            raise ValueError("tables of pixels and tables of files cannot be joined")
        if len({stack.shape[1:] for stack in stacks}) > 1:
            sizes = ", ".join(f"{p.name} {tuple(s.shape[2:])}" for p, s in zip(parts, stacks, strict=True))
            raise UserError(f"images of different sizes cannot be joined into {name} ({sizes}): name one domain")
        pixels = torch.cat(stacks)
    paths = tuple(path for part in parts for path in part.paths)
    roots = {part.root for part in parts}
    root = roots.pop() if len(roots) == 1 else None
    names = dict.fromkeys(column for part in parts for column in part.columns)
    columns = {
        column: np.concatenate([part.columns.get(column, np.full(len(part), "")) for part in parts]) for column in names
    }
    return ImageTable(name, paths, np.concatenate([part.labels for part in parts]), classes, pixels, root, columns)


def class_table(tree: Tree, name: str, root: Path) -> ImageTable:
    """Return the table of a folder of class folders, nested ones included; UserError for images beside them."""
    if tree.files:
        some = ", ".join(list(tree.children)[:3])
        raise UserError(
            f"folder {tree.path} holds {counted(len(tree.files), 'image')} ({Path(tree.files[0]).name}, …) beside "
            f"folders of images ({some}): move the images into class folders, or give a folder that holds only images"
        )
    classes = alphabetical(list(tree.children))
    groups = [tree.children[c].all_files() for c in classes]
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(group) for group in groups])
    return ImageTable(name, tuple(path for group in groups for path in group), labels, classes, None, root)


def flat_table(tree: Tree, name: str, root: Path) -> ImageTable:
    """Return the table of all images under a folder, without labels."""
    paths = tuple(tree.all_files())
    return ImageTable(name, paths, np.full(len(paths), -1, dtype=np.int64), (), None, root)


def read_folder(path: str | Path) -> Folder:
    """Read a folder of images for what it is.

    Levels are told by their names and depth: split names only → splits; images exactly two levels down everywhere
    with names that recur under other parents → domains above classes; otherwise each sub-folder is a class, with
    whatever it nests. UserError: no such folder, no images, images beside class folders.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"folder {root} {what}: give a folder of images (class folders, or the images themselves)")
    tree = scan(root)
    if not tree.holds_images:
        suffixes = " ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise UserError(f"folder {root} holds no images: put files of these kinds in it: {suffixes}")
    name = _label(root, None)
    notes = _notes(tree)
    tables: dict[tuple[str | None, str | None], ImageTable] = {}
    if _is_splits(tree):
        for split, table in _split_tables(tree, name, root).items():
            tables[(None, split)] = table
        return Folder(root, "splits", tables, notes)
    if tree.children and not tree.files and all(_is_splits(child) for child in tree.children.values()):
        for domain, child in tree.children.items():
            for split, table in _split_tables(child, _label(root, domain), root).items():
                tables[(domain, split)] = table
        return Folder(root, "domains and splits", tables, notes)
    if _is_domains(tree):
        for domain, child in tree.children.items():
            tables[(domain, None)] = class_table(child, _label(root, domain), root)
        return Folder(root, "domains", tables, notes)
    if tree.children:
        return Folder(root, "classes", {(None, None): class_table(tree, name, root)}, notes)
    return Folder(root, "flat", {(None, None): flat_table(tree, name, root)}, notes)


def check_source(table: ImageTable) -> None:
    """Raise UserError unless the table can be learned from: every image labelled, at least two classes."""
    if not table.labelled:
        raise UserError(
            f"source {table.name} has no labels: a source needs one folder of images for each class "
            "(a folder without labels can only be the target)"
        )
    present = [name for name, n in table.counts().items() if n]
    if len(present) < 2:
        raise UserError(
            f"source {table.name} has one class ({present[0]}): a classifier needs at least two class folders; "
            f"if '{present[0]}' holds the classes, give that folder"
        )


def _label(root: Path, domain: str | None) -> str:
    name = root.name or str(root.resolve())
    return name if domain is None else f"{name}/{domain}"


def _is_splits(tree: Tree) -> bool:
    return bool(tree.children) and not tree.files and all(name.casefold() in SPLIT_NAMES for name in tree.children)


def _is_domains(tree: Tree) -> bool:
    parents = list(tree.children.values())
    if tree.files or len(parents) < 2 or any(parent.files or not parent.children for parent in parents):
        return False
    if any(leaf.children for parent in parents for leaf in parent.children.values()):
        return False
    seen = Counter(name for parent in parents for name in parent.children)
    return all(any(seen[name] > 1 for name in parent.children) for parent in parents)


def _split_tables(tree: Tree, name: str, root: Path) -> dict[str, ImageTable]:
    """Return one table a split, training first; splits that share a class number their classes alike."""
    order = sorted(tree.children, key=lambda split: SPLIT_NAMES.index(split.casefold()))
    tables = {}
    for split in order:
        if split.casefold() in tables:
            raise UserError(f"{name} holds the split '{split}' in two spellings; put their images into one folder")
        child = tree.children[split]
        read = class_table if child.children else flat_table
        tables[split.casefold()] = read(child, f"{name}/{split}", root)
    seen = Counter(c for table in tables.values() for c in table.classes)
    if any(n > 1 for n in seen.values()):
        classes = alphabetical(list(seen))
        tables = {split: table.relabel(classes) if table.classes else table for split, table in tables.items()}
    return tables


def _notes(root: Tree) -> tuple[str, ...]:
    trees = [root, *root.children.values()]
    notes = [f"{tree.path / name} holds no images and is left out" for tree in trees for name in tree.empty]
    others = others_note(root)
    return tuple(notes if others is None else [*notes, others])
