"""The digit data sets, which come as arrays: from `digits.npz`, or through torchvision."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uda.datasets.catalog import DataSet, Loaded, not_on_disk
from uda.datasets.folders import join
from uda.datasets.table import ImageTable
from uda.errors import UserError

_SPLITS = ("train", "test")


def load_digits(dataset: DataSet, domain: str, roots: list[Path], fetch: bool = False) -> Loaded:
    """Return mnist, usps or svhn with its published splits, as (N, 3, H, W) uint8 pixels of 28, 16 or 32 a side.

    Looked for as `digits.npz` under every root, then as torchvision keeps them (under `digits` or the root itself);
    torchvision downloads into the first root's `digits` if `fetch` allows, and checks its own checksums.
    """
    wanted = dataset.domain(domain)
    splits: dict[str, ImageTable] = {}
    for root in roots:
        splits = _from_npz(root, wanted.name, dataset) or _from_torchvision(root, wanted.name, dataset)
        if splits:
            break
    if not splits and fetch:
        splits = _through_torchvision(roots[0] / "digits", wanted.name, dataset, True)
    if not splits:
        raise not_on_disk(dataset, wanted.name, roots, fetch)
    table = join(list(splits.values()), f"digits/{wanted.name}")
    warnings: tuple[str, ...] = ()
    if len(table) not in wanted.counts:
        warnings = (
            f"{table.name} has {len(table)} images where {wanted.counts[0]} were published: "
            "results will not compare exactly",
        )
    return Loaded(table, splits, warnings)


def _table(dataset: DataSet, domain: str, split: str, images: Tensor, labels: np.ndarray, root: Path) -> ImageTable:
    """Return a table of (N, H, W) or (N, 3, H, W) uint8 images; gray ones become three equal channels."""
    pixels = images if images.ndim == 4 else images[:, None].repeat(1, 3, 1, 1)
    paths = tuple(f"{domain}/{split}/{i:05d}" for i in range(len(labels)))
    return ImageTable(f"digits/{domain}/{split}", paths, labels.astype(np.int64), dataset.classes, pixels, root)


def _from_npz(root: Path, domain: str, dataset: DataSet) -> dict[str, ImageTable]:
    path = root / "digits.npz"
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keys = {f"{domain}_{split}_{what}" for split in _SPLITS for what in ("images", "labels")}
            if not keys <= set(arrays.files):
                return {}
            read = {key: np.asarray(arrays[key]) for key in keys}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read ({error}): move it away or get it again") from None
    splits = {}
    for split in _SPLITS:
        images, labels = read[f"{domain}_{split}_images"], read[f"{domain}_{split}_labels"]
        fits = images.ndim == 3 and images.dtype == np.uint8 and labels.shape == images.shape[:1]
        if not fits or labels.min(initial=0) < 0 or labels.max(initial=0) > 9:
            raise UserError(
                f"{domain}_{split} in {path} is no set of digits: images must be (N, H, W) uint8 and labels (N,) 0 to 9"
            )
        splits[split] = _table(dataset, domain, split, torch.from_numpy(images), labels, root)
    return splits


def _from_torchvision(root: Path, domain: str, dataset: DataSet) -> dict[str, ImageTable]:
    for folder in (root / "digits", root):
        if folder.is_dir():
            splits = _through_torchvision(folder, domain, dataset, False)
            if splits:
                return splits
    return {}


def _through_torchvision(folder: Path, domain: str, dataset: DataSet, fetch: bool) -> dict[str, ImageTable]:
    from torchvision import datasets as published

    splits = {}
    for split in _SPLITS:
        try:
            read: Any
            if domain == "svhn":
                read = published.SVHN(str(folder), split=split, download=fetch)
                images, labels = torch.from_numpy(read.data), read.labels
            else:
                kind = published.MNIST if domain == "mnist" else published.USPS
                read = kind(str(folder), train=split == "train", download=fetch)
                images, labels = torch.as_tensor(read.data), np.asarray(read.targets)
        except (RuntimeError, OSError, ValueError) as error:
            if not fetch:  # torchvision's way to say that the files are not there, or not whole
                return {}
            raise UserError(
                f"digits/{domain} could not be downloaded to {folder} ({str(error).splitlines()[0]}): "
                f"try again where there is a network, or {dataset.by_hand}"
            ) from None
        splits[split] = _table(dataset, domain, split, images, np.asarray(labels), folder)
    return splits
