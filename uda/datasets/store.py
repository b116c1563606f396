"""A pack on disk: pixels, index and what they were made with, in one folder that appears whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uda.datasets.packed import PackedImages

PIXELS = "pixels.bin"
_TEMPORARY = ".tmp-"
_ABANDONED = 3600.0  # seconds without a write after which a temporary folder is taken for a killed process's


@dataclass(frozen=True, eq=False)
class Pack:
    """The readable images of a table.

    rows:      (n,) int64, which rows of the table they are.
    reasons:   row → why it is missing.
    settings:  what the images were made with; images are exchangeable between packs of equal settings.
    estimated: the bytes that raw pixels were expected to take.
    """

    images: PackedImages
    rows: np.ndarray
    reasons: dict[int, str]
    settings: dict[str, object]
    estimated: int


def new_folder(parent: Path) -> Path:
    """Return a fresh temporary folder, after removing those that killed processes left; raises OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):  # another process may be removing it too
            written = max(path.stat().st_mtime for path in (old, *old.iterdir()))
            if time.time() - written > _ABANDONED:
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))


def write_index(folder: Path, pack: Pack) -> None:
    """Put a pack's index and description beside its pixels, which are in the folder already."""
    images = pack.images
    np.savez(
        folder / "index.npz",
        rows=pack.rows,
        offset=images.offset,
        length=images.length,
        sizes=images.sizes,
        hashes=images.hashes,
    )
    meta = {
        "settings": pack.settings,
        "encoding": images.encoding,
        "bytes": int(images.length.sum()),
        "estimated": pack.estimated,
        "reasons": pack.reasons,
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one .npy file, whole or not at all; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            np.save(stream, array)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def publish(folder: Path, final: Path) -> None:
    """Rename a finished folder to its final name, unless a whole pack is there by now; a broken one is replaced."""
    for last in (False, False, True):  # another process may publish or clear away between the two steps
        try:
            folder.rename(final)
            return
        except OSError:
            if open_pack(final) is not None:
                return
            if last:
                raise
            aside = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=final.parent))
            with contextlib.suppress(OSError):
                final.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)


def open_pack(folder: Path) -> Pack | None:
    """Return the pack in a folder, or None where there is no whole one (sizes that disagree, a broken index)."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        with np.load(folder / "index.npz", allow_pickle=False) as index:
            rows, parts = index["rows"], {name: index[name] for name in ("offset", "length", "sizes", "hashes")}
        if not os.path.getsize(folder / PIXELS) == meta["bytes"] == int(parts["length"].sum()):  # noqa: PTH202
            return None
        # "c" is private to this process; torch warns of arrays that it may not write to
        data = np.asarray(np.memmap(folder / PIXELS, np.uint8, "c"))
        return Pack(
            images=PackedImages(data=data, **parts, encoding=meta["encoding"]),
            rows=rows,
            reasons={int(row): str(reason) for row, reason in meta["reasons"].items()},
            settings=dict(meta["settings"]),
            estimated=int(meta["estimated"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        return None


def known_images(parent: Path, settings: dict[str, object], wanted: Iterable[bytes]) -> dict[bytes, tuple[Pack, int]]:
    """Return where images made with the same settings lie in other packs: source's hash → (pack, row in the pack)."""
    hashes = set(wanted)
    found: dict[bytes, tuple[Pack, int]] = {}
    for folder in parent.glob(f"{settings['encoding']}-*"):
        pack = open_pack(folder)
        if pack is not None and pack.settings == settings:
            for row, digest in enumerate(pack.images.hashes):
                if (key := digest.tobytes()) in hashes:
                    found[key] = (pack, row)
    return found
