"""Features computed once: several views of every image through a backbone that does not move, kept on disk."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from uda.datasets.streams import Images
from uda.nn.encoder import TimmEncoder

View = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def compute_passes(
    encoder: TimmEncoder, images: Images, ids: Tensor, views: Sequence[View], device: torch.device, progress: str | None
) -> Tensor:
    """Return (len(views), N, D) features; a view takes (uint8 images, their ids (B,)) and gives floats in [0, 1].

    ids: (N,) int64, what a view may draw its randomness from; progress: what a bar is called, None for none.
    """
    encoder = encoder.to(device).eval()
    batch_size = 64
    features = torch.empty(len(views), len(images), encoder.dim)
    bar = tqdm(total=len(images) * len(views), desc=progress, unit="image", disable=progress is None)
    for first in range(0, len(images), batch_size):
        rows = np.arange(first, min(first + batch_size, len(images)))
        pixels = images.batch(rows).to(device)
        for number, view in enumerate(views):
            features[number, rows] = encoder(view(pixels, ids[rows].to(device))).float().cpu()
            bar.update(len(rows))
    bar.close()
    return features


def image_ids(hashes: np.ndarray) -> Tensor:
    """Return 63 bits of each image's hash, (N, 32) uint8 → (N,) int64: the same wherever the image turns up."""
    words = np.ascontiguousarray(hashes[:, :8]).view("<u8")[:, 0] >> np.uint64(1)
    return torch.from_numpy(words.astype(np.int64))


def cached_passes(folder: Path, key: str, hashes: np.ndarray, compute: Callable[[np.ndarray], Tensor]) -> Tensor:
    """Return (passes, N, D) features of images with those hashes (N, 32), computing only rows that are not kept yet.

    They are kept below `folder` image by image under a hash of `key`, which must name everything else that the
    features depend on: so another label split or another pair of domains finds what an earlier one has computed.
    """
    place = folder / "features" / hashlib.sha256(key.encode()).hexdigest()
    wanted = {digest.tobytes(): row for row, digest in enumerate(hashes)}  # images with the same content share a row
    first = np.array([wanted[digest.tobytes()] for digest in hashes], dtype=np.int64)
    found: dict[int, Tensor] = {}
    for path in sorted(place.glob("*.safetensors")):
        with contextlib.suppress(OSError, SafetensorError, KeyError):  # cut short by a killed process
            kept = load_file(path)
            for number, digest in enumerate(kept["hashes"].numpy()):
                if (row := wanted.get(digest.tobytes())) is not None and row not in found:
                    found[row] = kept["passes"][:, number]
    missing = np.array(sorted(set(wanted.values()) - found.keys()), dtype=np.int64)
    if len(missing):
        passes = compute(missing)
        _keep(place, hashes[missing], passes)
        found |= {int(row): passes[:, number] for number, row in enumerate(missing)}
    return torch.stack([found[int(row)] for row in first], dim=1)


def _keep(place: Path, hashes: np.ndarray, passes: Tensor) -> None:
    path = place / f"{hashlib.sha256(hashes.tobytes()).hexdigest()}.safetensors"
    temporary = path.with_suffix(f".writing-{os.getpid()}")
    try:
        place.mkdir(parents=True, exist_ok=True)
        save_file({"hashes": torch.from_numpy(hashes), "passes": passes.contiguous()}, temporary)
        temporary.replace(path)
    except (OSError, SafetensorError):  # no room or no right to write there: the features are computed anew next time
        with contextlib.suppress(OSError):
            temporary.unlink()


def weights_hash(encoder: TimmEncoder) -> str:
    """Return a hash of an encoder's tensors and normalization: other weights give other features."""
    digest = hashlib.sha256()
    for name, value in sorted((encoder.state_dict() | {"mean": encoder.mean, "std": encoder.std}).items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
