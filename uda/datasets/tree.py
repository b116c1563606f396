"""The image files below a directory, listed in an order that no file system changes."""

import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from uda.errors import UserError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm"}
)
_CLUTTER = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"})


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return the sorting key of the project's alphabetical order: no case, no separators, numbers by their value.

    "desk_lamp" comes before "desktop_computer" and "2" before "10"; it is also the label order of DomainNet.
    """
    parts: list[str | int] = []
    for i, part in enumerate(re.split(r"(\d+)", name.casefold())):
        parts.append(int(part) if i % 2 else re.sub(r"[ _-]", "", part))
    return parts, name


@dataclass
class Tree:
    """The images below a directory; directories without any are left out, and named in `empty`.

    others: how many files of each other suffix there are, here and below.
    """

    path: Path
    files: list[str] = field(default_factory=list)
    children: dict[str, "Tree"] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def holds_images(self) -> bool:
        """Whether there is an image here or anywhere below."""
        return bool(self.files or self.children)

    def all_files(self) -> list[str]:
        """Return every image here and below, in an order that no file system changes."""
        return self.files + [name for child in self.children.values() for name in child.all_files()]


def scan(path: Path, above: frozenset[str] = frozenset()) -> Tree:
    """List the images under a directory; UserError when it cannot be listed.

    Hidden files and what operating systems leave behind are ignored, links are followed once. A level that holds
    nothing but one folder `images` (Office-31, Tiny-ImageNet) is passed over.
    """
    real = os.path.realpath(path)
    tree = Tree(path)
    if real in above:  # a link to a folder that contains it
        return tree
    try:
        entries = list(os.scandir(path))
    except OSError as error:
        raise UserError(f"folder {path} cannot be listed ({error.strerror}): check its name and permissions") from None
    for entry in sorted(entries, key=lambda entry: natural_key(entry.name)):
        if entry.name.startswith(".") or entry.name in _CLUTTER:
            continue
        if _is_folder(entry):
            child = scan(path / entry.name, above | {real})
            tree.others += child.others
            if child.holds_images:
                name = unicodedata.normalize("NFC", entry.name)  # of which a disk may hold two spellings
                tree.children[name] = _merged(tree.children[name], child) if name in tree.children else child
            else:
                tree.empty.append(entry.name)
            continue
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (a million files)
        if suffix in IMAGE_SUFFIXES:
            tree.files.append(os.path.join(path, entry.name))  # noqa: PTH118
        else:
            tree.others[suffix] += 1
    if not tree.files and len(tree.children) == 1:
        name, child = next(iter(tree.children.items()))
        if name.casefold() == "images":
            child.others = tree.others
            return child
    return tree


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _merged(first: Tree, second: Tree) -> Tree:
    """Add what the second folder holds to the first."""
    first.files += second.files
    first.empty += second.empty
    for name, child in second.children.items():
        first.children[name] = _merged(first.children[name], child) if name in first.children else child
    return first


def others_note(tree: Tree) -> str | None:
    """Return the note on files whose names are not those of images, such as a phone's HEIC; None where all are."""
    if not tree.others:
        return None
    count = tree.others.total()
    most = sorted(tree.others.items(), key=lambda item: (-item[1], item[0]))[:5]
    found = ", ".join(f"{suffix or 'no suffix'} {n}" for suffix, n in most)
    more = ", …" if len(tree.others) > 5 else ""
    return f"{count} {'file is' if count == 1 else 'files are'} left out as no image by name ({found}{more})"
