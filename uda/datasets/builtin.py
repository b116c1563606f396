"""Data that need no download: ten digits in two worlds, printed and handwritten, from what the dependencies ship."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import torch

from uda.datasets.glyphs import printed_digits
from uda.datasets.table import ImageTable

CLASSES = tuple("0123456789")
SPLIT = "4/3/3"
"""Classes 0 to 3 shared, 4 to 6 the source's alone, 7 to 9 the target's alone."""

IMAGES_SHA256 = {
    "printed": "15094bcc28397d699428a32de39218b21110c8f1d08d2669d7734b68fe199625",
    "handwritten": "128123ad32f210be0cd1ea761861c5a65c4671721627961230bb71c1528a98c4",
}
"""SHA-256 of each domain's pixels and labels, as the documented figures were measured on (`images_hash`)."""


def builtin_domains() -> dict[str, ImageTable]:
    """Return the two built-in domains, 32×32 RGB: 1,800 "printed" digits and 1,797 "handwritten" ones.

    Printed: 20 fonts of matplotlib, distorted, light on dark and dark on light, over crops of the photographs that
    scikit-learn and matplotlib ship; 180 of each class. Handwritten: scikit-learn's `load_digits` (Alpaydin and Kaynak,
    Optical Recognition of Handwritten Digits, UCI 1998), enlarged three times. Images stand in the order of classes.
    Warns where another version of a dependency has given other images than the documented figures were measured on.
    """
    import matplotlib  # with scikit-learn, a second that other data need not wait for

    pixels, labels, _ = printed_digits(Path(matplotlib.get_data_path()))
    domains = {"printed": _table("printed", pixels, labels), "handwritten": _table("handwritten", *_handwritten())}
    for name, table in domains.items():
        if images_hash(table) != IMAGES_SHA256[name]:
            warnings.warn(
                f"the built-in domain '{name}' differs from the one the documented figures were measured on: another "
                "version of matplotlib, scikit-learn or Pillow gave other images, so compare with your own runs only",
                stacklevel=2,
            )
    return domains


def images_hash(table: ImageTable) -> str:
    """Return the SHA-256, in hexadecimal, of a table's pixels and labels; the table must hold its pixels."""
    if table.pixels is None:
        raise ValueError(f"{table.name} holds no pixels")
    digest = hashlib.sha256(np.ascontiguousarray(table.pixels.numpy()).tobytes())
    digest.update(table.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def enlarge(digits: np.ndarray) -> np.ndarray:
    """Enlarge 8×8 digits three times, with a margin, exactly: (N, 8, 8) integers 0 … 16 → (N, 32, 32) uint8.

    Bilinear with zeros around: source pixel s is centered on output pixel 5 + 3s, with the weights 1, 2, 3, 2, 1 thirds
    around it; 16 becomes 255. Halves round up.
    """
    weights = np.maximum(3 - np.abs(np.arange(32)[:, None] - 5 - 3 * np.arange(8)), 0)  # (32, 8), thirds
    total = weights @ digits.astype(np.int64) @ weights.T  # 9 · 16 = 144 is full
    return ((2 * 255 * total + 144) // 288).astype(np.uint8)


def _handwritten() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (1797, 3, 32, 32) uint8 and labels (1797,) int64, in the order of classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.argsort(digits.target, kind="stable")
    gray = enlarge(digits.images[order])
    return np.repeat(gray[:, None], 3, axis=1), digits.target[order].astype(np.int64)


def _table(name: str, pixels: np.ndarray, labels: np.ndarray) -> ImageTable:
    """Return a domain whose paths number the images of each class: "builtin/printed/3/0017"."""
    number = np.arange(len(labels)) - np.searchsorted(labels, labels)
    paths = tuple(f"builtin/{name}/{CLASSES[c]}/{k:04d}" for c, k in zip(labels, number, strict=True))
    return ImageTable(f"builtin/{name}", paths, labels, CLASSES, torch.from_numpy(pixels))
