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
    encoder: TimmEncoder, images: Images, views: Sequence[View], device: torch.device, name: str, progress: bool
) -> Tensor:
    """Return (len(views), N, D) features; a view takes (uint8 images, their rows (B,)) and gives floats in [0, 1]."""
    encoder = encoder.to(device).eval()
    batch_size = 64
    features = torch.empty(len(views), len(images), encoder.dim)
    bar = tqdm(total=len(images) * len(views), desc=f"features of {name}", unit="image", disable=not progress)
    for first in range(0, len(images), batch_size):
        rows = np.arange(first, min(first + batch_size, len(images)))
        pixels = images.batch(rows).to(device)
        for number, view in enumerate(views):
            features[number, rows] = encoder(view(pixels, torch.from_numpy(rows).to(device))).float().cpu()
            bar.update(len(rows))
    bar.close()
    return features


def cached_passes(folder: Path, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """Return `compute()`, kept below `folder` under a hash of `key`.

    The key must name everything that the features depend on.
    """
    path = folder / "features" / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
    try:
        return load_file(path)["passes"]
    except (OSError, SafetensorError, KeyError):  # absent, or cut short by a killed process
        passes = compute()
    temporary = path.with_suffix(f".writing-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"passes": passes.contiguous()}, temporary)
        temporary.replace(path)
    except (OSError, SafetensorError):  # no room or no right to write there: the features are computed anew next time
        with contextlib.suppress(OSError):
            temporary.unlink()
    return passes


def weights_hash(encoder: TimmEncoder) -> str:
    """Return a hash of an encoder's tensors and normalization: other weights give other features."""
    digest = hashlib.sha256()
    for name, value in sorted((encoder.state_dict() | {"mean": encoder.mean, "std": encoder.std}).items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
