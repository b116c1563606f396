"""Medical data sets that come as arrays: PCam's HDF5 files and MedMNIST's archives."""

import gzip
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uda.datasets.catalog import DataSet, Domain, Loaded, find_folders, not_on_disk
from uda.datasets.download import Download, disk_error, download
from uda.datasets.folders import join
from uda.datasets.table import ImageTable
from uda.errors import UserError

_PCAM = "camelyonpatch_level_2_split_{split}_{what}"
_PCAM_SPLITS = {"train": "train", "val": "valid", "test": "test"}
_PCAM_URL = "https://zenodo.org/records/2546921/files"
_MEDMNIST_URL = "https://zenodo.org/records/10519652/files"


def read_pcam(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return PatchCamelyon's splits from its HDF5 files, with the slide of each patch where its tables are there.

    x: (N, 96, 96, 3) uint8, y: (N, 1, 1, 1) in …_{train,valid,test}_{x,y}.h5; …_meta.csv has `wsi`. All pixels are held
    in memory, 9 GB of them; UserError where h5py is missing.
    """
    for base in find_folders(dataset, roots):
        splits = {split: _pcam_split(dataset, base, split) for split in _PCAM_SPLITS if _pcam_there(base, split)}
        if splits:
            return Loaded(join(list(splits.values()), dataset.name), splits)
    if fetch:
        base = roots[0] / dataset.folders[0]
        for split in _PCAM_SPLITS.values():
            for what in ("x", "y"):
                _fetch_unzipped(f"{_PCAM_URL}/{_PCAM.format(split=split, what=what)}.h5.gz", base)
            download(
                Download(f"{_PCAM_URL}/{_PCAM.format(split=split, what='meta')}.csv"),
                base / f"{_PCAM.format(split=split, what='meta')}.csv",
            )
        return read_pcam(dataset, domain, roots, False)
    raise not_on_disk(dataset, domain.name, roots, fetch)


def _pcam_there(base: Path, split: str) -> bool:
    names = [f"{_PCAM.format(split=_PCAM_SPLITS[split], what=what)}.h5" for what in ("x", "y")]
    return all((base / name).is_file() for name in names)


def _pcam_split(dataset: DataSet, base: Path, split: str) -> ImageTable:
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{dataset.title} comes as HDF5, which h5py reads; install it with `pip install 'uda-ssl[medical]'`"
        ) from None
    stem = _PCAM_SPLITS[split]
    with (
        h5py.File(base / f"{_PCAM.format(split=stem, what='x')}.h5") as images,
        h5py.File(base / f"{_PCAM.format(split=stem, what='y')}.h5") as answers,
    ):
        pixels, labels = np.asarray(images["x"]), np.asarray(answers["y"]).reshape(-1).astype(np.int64)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or len(labels) != len(pixels):
        raise UserError(f"{base} does not hold {dataset.title} as published; get it again")
    columns = {}
    table = base / f"{_PCAM.format(split=stem, what='meta')}.csv"
    if table.is_file():
        import pandas as pd

        columns["slide"] = pd.read_csv(table)["wsi"].astype(str).to_numpy()
    paths = tuple(f"pcam/{split}/{i:06d}" for i in range(len(labels)))
    tensor = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return ImageTable(f"{dataset.name}/{split}", paths, labels, dataset.classes, tensor, base, columns)


def _fetch_unzipped(url: str, base: Path) -> None:
    """Fetch a .gz file and put what is in it into a folder, whole or not at all."""
    final = base / url.rsplit("/", 1)[-1].removesuffix(".gz")
    if final.is_file():
        return
    packed = download(Download(url), base / f"{final.name}.gz")
    partial = final.with_name(f"{final.name}.part")
    try:
        with gzip.open(packed) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        partial.replace(final)
    except (gzip.BadGzipFile, EOFError):
        packed.unlink()
        raise UserError(f"{url} came broken and was discarded; try again") from None
    except OSError as error:
        raise disk_error(error, final) from None
    packed.unlink()


def medmnist_domains() -> tuple[Domain, ...]:
    """Return the 2D sets of MedMNIST in each of their sizes: "pathmnist" has 28 pixels, "pathmnist_224" 224."""
    flags = (
        *("pathmnist", "chestmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist"),
        *("bloodmnist", "tissuemnist", "organamnist", "organcmnist", "organsmnist"),
    )
    return tuple(Domain(f"{flag}{size}") for flag in flags for size in ("", "_64", "_128", "_224"))


def read_medmnist(dataset: DataSet, domain: Domain, roots: list[Path], fetch: bool) -> Loaded:
    """Return a set of MedMNIST (Yang et al., 2023) from NAME.npz or NAME_SIZE.npz, with its published splits.

    Looked for below the data roots and where the package `medmnist` keeps its files. Classes have their names where
    that package is installed, else numbers. Of ChestMNIST, whose images may have several findings, the classes are
    whether there is any.
    """
    name = f"{domain.name}.npz"
    places = [*find_folders(dataset, roots), Path.home() / ".medmnist"]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None and fetch:
        told = _medmnist_facts(domain.name)
        size = domain.name.partition("_")[2]
        suffix = f"_{size}" if size else ""
        source = Download(str(told.get(f"url{suffix}", f"{_MEDMNIST_URL}/{name}")), md5=told.get(f"MD5{suffix}"))
        path = download(source, roots[0] / dataset.folders[0] / name)
    if path is None:
        raise not_on_disk(dataset, domain.name, roots, fetch)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            read = {key: np.asarray(arrays[key]) for key in arrays.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}); move it away or get it again") from None
    splits = {split: _medmnist_split(domain.name, path, split, read) for split in ("train", "val", "test")}
    return Loaded(join(list(splits.values()), f"{dataset.name}/{domain.name}"), splits)


def _medmnist_split(name: str, path: Path, split: str, arrays: dict[str, np.ndarray]) -> ImageTable:
    images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
    if images is None or labels is None or images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(f"{path} has no {split}_images (N, H, W[, 3]) uint8 and {split}_labels; get it again")
    classes: tuple[str, ...]
    several = labels.ndim == 2 and labels.shape[1] > 1
    told = _medmnist_facts(name).get("label", {})
    if several:
        numbers, classes = np.asarray(labels.any(axis=1), dtype=np.int64), ("no finding", "finding")
    else:
        numbers = np.asarray(labels.reshape(-1), dtype=np.int64)
        count = 1 + max(int(arrays[f"{part}_labels"].max()) for part in ("train", "val", "test"))
        classes = tuple(told.get(str(i), str(i)) for i in range(count))
    tensor = torch.from_numpy(images)
    pixels = tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor[:, None].repeat(1, 3, 1, 1)
    paths = tuple(f"{name}/{split}/{i:06d}" for i in range(len(numbers)))
    return ImageTable(f"medmnist/{name}/{split}", paths, numbers, classes, pixels.contiguous(), path.parent)


def _medmnist_facts(name: str) -> dict[str, Any]:
    """Return what the package `medmnist` knows of a set; nothing where it is not installed."""
    try:
        from medmnist.info import INFO
    except Exception:  # it imports much that may be missing
        return {}
    return dict(INFO.get(name.partition("_")[0], {}))
