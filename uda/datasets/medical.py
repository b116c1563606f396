"""Readers of medical data sets, each in the layout that its publisher gives it, with who and where an image is from."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from uda.datasets.catalog import DataSet, Domain, Loaded, find_folders, not_on_disk, plain
from uda.datasets.folders import class_table, join
from uda.datasets.table import ImageTable
from uda.datasets.tree import Tree, scan
from uda.errors import UserError

_BREAKHIS = re.compile(r"SOB_([BM])_([A-Z]+)-(\d+)-([A-Za-z0-9]+)-(\d+)-(\d+)$")
_WILDS_TEXTS, _WILDS_NUMBERS = ("center", "slide", "node", "x_coord", "y_coord"), ("patient", "tumor")
_KERMANY = re.compile(r"(person\d+)_|(?:^|-)IM-(\d+)-")


def read_breakhis(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return one magnification of BreakHis, benign and malignant, with the patient and the tumor's type.

    Looked for as …/{benign,malignant}/SOB/TYPE/SLIDE/{40X,…}/SOB_B_A-14-22549AB-40-001.png. The patient stands in the
    file's name, behind the type: year and number.
    """
    for base in find_folders(dataset, roots):
        files = {
            name: [path for path in scan(base / name).all_files() if Path(path).parent.name.upper() == domain.name]
            for name in dataset.classes
            if (base / name).is_dir()
        }
        if not any(files.values()):
            continue
        paths = [path for name in dataset.classes for path in files.get(name, [])]
        labels = np.repeat(np.arange(len(dataset.classes)), [len(files.get(name, [])) for name in dataset.classes])
        named = [_BREAKHIS.search(Path(path).stem) for path in paths]
        columns = {
            "patient": np.array([f"{m[3]}-{m[4]}" if m else "" for m in named]),
            "tumor": np.array([m[2] if m else "" for m in named]),
        }
        name = f"{dataset.name}/{domain.name}"
        table = ImageTable(name, tuple(paths), labels.astype(np.int64), dataset.classes, None, base, columns)
        return Loaded(table, {}, _counted(table, domain))
    raise not_on_disk(dataset, domain.name, roots, fetch)


def read_lc25000(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return the lung or the colon images of LC25000, and a warning of the copies among them."""
    wanted = f"{domain.name}_image_sets"
    for base in find_folders(dataset, roots):
        if not (base / wanted).is_dir():
            continue
        tree = scan(base / wanted)
        known = Tree(tree.path, children={n: c for n, c in tree.children.items() if n in dataset.classes})
        table = class_table(known, f"{dataset.name}/{domain.name}", base)
        copies = (
            f"{table.name}: 5,000 images of each class were made from 250 by turning and mirroring, so that a random "
            "split leaks; data.groups=look-alike keeps copies together"
        )
        return Loaded(table, {}, (copies, *_counted(table, domain)))
    raise not_on_disk(dataset, domain.name, roots, fetch)


def read_camelyon17(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return one center of Camelyon17-WILDS, with patient, slide, node and center, by the `metadata.csv` in it.

    The center is the domain. WILDS trains on centers 0, 3 and 4, validates on 1 and tests on 2.
    """
    for base in find_folders(dataset, roots):
        file = base / "metadata.csv"
        if not file.is_file():
            continue
        center = domain.name.removeprefix("center")
        rows = [row for row in _rows(file, _WILDS_TEXTS, _WILDS_NUMBERS) if row["center"] == center]
        if not rows:
            continue
        patches = [
            base / "patches" / f"patient_{int(row['patient']):03d}_node_{row['node']}"
            / f"patch_patient_{int(row['patient']):03d}_node_{row['node']}_x_{row['x_coord']}_y_{row['y_coord']}.png"
            for row in rows
        ]  # fmt: skip
        columns = {
            "patient": np.array([f"{int(row['patient']):03d}" for row in rows]),
            "slide": np.array([row["slide"] for row in rows]),
            "node": np.array([row["node"] for row in rows]),
            "center": np.array([row["center"] for row in rows]),
        }
        labels = np.array([int(row["tumor"]) for row in rows], dtype=np.int64)
        name = f"{dataset.name}/{domain.name}"
        table = ImageTable(name, tuple(map(str, patches)), labels, dataset.classes, None, base, columns)
        return Loaded(table, {}, _counted(table, domain))
    raise not_on_disk(dataset, domain.name, roots, fetch)


def read_chest_folders(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return films in {train,val,test}/{NORMAL,PNEUMONIA} (Kermany et al., 2018), with the patient of the file's name.

    Files of healthy children bear the number of a study. The data set's test patients differ from those of training,
    but are numbered anew: person1 is in both, so that those of the test bear its name.
    """
    for base in find_folders(dataset, roots):
        splits = {}
        for split in ("train", "val", "test"):
            if not (base / split).is_dir():
                continue
            tree = scan(base / split)
            known = Tree(tree.path, children={n: c for n, c in tree.children.items() if n in dataset.classes})
            if known.children:
                table = class_table(known, f"{dataset.name}/{split}", base).relabel(dataset.classes)
                splits[split] = replace(table, columns={"patient": _kermany_patients(table.paths, split)})
        if "train" in splits:
            whole = join(list(splits.values()), dataset.name)
            return Loaded(whole, splits, _counted(whole, domain))
    raise not_on_disk(dataset, domain.name, roots, fetch)


def _kermany_patients(paths: tuple[str, ...], split: str) -> np.ndarray:
    found = [_KERMANY.search(Path(path).stem) for path in paths]
    own = "test " if split == "test" else ""
    return np.array([f"{own}{m[1] or f'study {m[2]}'}" if m else "" for m in found])


def read_chestxray14(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return the films of `Data_Entry_2017*.csv`, finding or none, with the patient; its lists give train and test.

    Wang et al., CVPR 2017. An image may have several of 14 findings, so the classes here are whether it has any.
    """
    for base in find_folders(dataset, roots):
        entries = sorted(base.glob("Data_Entry_2017*.csv"))
        if not entries:
            continue
        place = {Path(path).name: path for path in _films(base)}
        rows = [
            row
            for row in _rows(entries[0], ("Image Index", "Finding Labels", "Patient ID"))
            if row["Image Index"] in place
        ]
        if not rows:
            continue
        labels = np.array([int(row["Finding Labels"] == "No Finding") for row in rows], dtype=np.int64)
        columns = {"patient": np.array([row["Patient ID"] for row in rows])}
        paths = tuple(place[row["Image Index"]] for row in rows)
        table = ImageTable(dataset.name, paths, labels, dataset.classes, None, base, columns)
        splits = {}
        for split, name in (("train", "train_val_list.txt"), ("test", "test_list.txt")):
            if (base / name).is_file():
                listed = set((base / name).read_text(encoding="utf-8").split())
                chosen = np.flatnonzero([Path(path).name in listed for path in paths])
                splits[split] = replace(table.select(chosen), name=f"{dataset.name}/{split}")
        whole = len(splits) == 2 and all(len(part) for part in splits.values())
        return Loaded(table, splits if whole else {}, _counted(table, domain))
    raise not_on_disk(dataset, domain.name, roots, fetch)


def _films(base: Path) -> Iterator[str]:
    """Yield the images of images/ and images_001/images/ … images_012/images/."""
    for folder in sorted(path for path in base.iterdir() if path.is_dir() and plain(path.name).startswith("images")):
        yield from scan(folder).all_files()


def _rows(file: Path, texts: Sequence[str], numbers: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a table; UserError where it is none, or lacks a column, or a number is none."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [{str(k): str(v) for k, v in row.items()} for row in csv.DictReader(stream)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error}); get it again") from None
    lacking = [name for name in (*texts, *numbers) if rows and name not in rows[0]]
    if lacking:
        raise UserError(f"{file} lacks the column '{lacking[0]}'; get it again")
    for line, row in enumerate(rows, 2):
        for name in numbers:
            if not row[name].isdecimal():
                raise UserError(f"{file}, line {line}: '{row[name]}' is no number of the column '{name}'; get it again")
    return rows


def _counted(table: ImageTable, domain: Domain) -> tuple[str, ...]:
    if not domain.counts or len(table) in domain.counts:
        return ()
    expected = " or ".join(str(count) for count in domain.counts)
    return (f"{table.name} has {len(table)} images where {expected} were published: results will not compare exactly",)


Reader = Callable[[DataSet, Domain, list[Path], bool], Loaded]
