"""What images are measured by: the features of a network that is named beside every figure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.datasets.sampling import Shuffled
from uda.datasets.streams import Images
from uda.errors import UserError
from uda.nn.encoder import TimmEncoder, create_encoder
from uda.probes.frozen import weights_hash
from uda.random import derived_seed

CLASSIFIER = "classifier"
"""A small network that is trained on the real images' classes: where ImageNet's features say little, as of digits."""

INCEPTION = "inception"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""The Inception v3 of published FIDs, as torch-fidelity keeps it in torch.hub's folder."""

INSTEAD = "tf_efficientnet_lite0"
"""The encoder that "auto" takes where the Inception weights are not on this machine."""


@dataclass(frozen=True)
class Extractor:
    """A network that does not move, and how it is called: by name, the pixels that it sees, and its weights.

    key: what decides its features, for what is kept of them.
    """

    title: str
    key: str
    network: nn.Module
    encode: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def features(self, images: Tensor, device: torch.device, batch_size: int = 64) -> np.ndarray:
        """Return the features of (N, 3, S, S) uint8 images, (N, D) float32."""
        self.network.to(device).eval()
        found = [self.encode(part.to(device)).float().cpu().numpy() for part in images.split(batch_size)]
        return np.concatenate(found)


def find_extractor(name: str, weights: str | None, size: int) -> Extractor:
    """Return the extractor of that name: "inception", a timm model, or "auto".

    auto: torch-fidelity's Inception where that package and its file of weights are on this machine, else
    `tf_efficientnet_lite0`. A timm model sees images enlarged to `size` pixels, bilinear with antialiasing, and has
    `weights` as backbones have them; random ones are always the same. Raises UserError for what cannot be had.
    """
    if name == "auto":
        name = INCEPTION if find_spec("torch_fidelity") and inception_file().is_file() else INSTEAD
    if name == INCEPTION:
        return _inception()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(0, 0, "extractor"))
        encoder = create_encoder(name, weights, size)
    return _of_encoder(encoder, f"{name} at {size} px, {encoder.origin}", size)


def trained_extractor(
    images: Images, labels: np.ndarray, size: int, device: torch.device, steps: int = 300
) -> Extractor:
    """Return a `smallconv` trained from random weights to name the classes of images, the same for every run on them.

    images: (3, S, S) uint8 each, enlarged to `size` pixels; labels: (N,). Batches of 64 images, AdamW at 3e-3 along
    half a cosine, nothing augmented.
    """
    rate, n_classes = 3e-3, int(labels.max()) + 1
    drawn = Shuffled(len(images), 64, 0, "extractor")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(0, 0, "extractor"))
        encoder = create_encoder("smallconv", "none", size)
        head = nn.Linear(encoder.dim, n_classes)
    encoder.to(device).train()
    head.to(device)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=rate)
    for step in range(steps):
        rows = drawn(step)
        optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        features = encoder(_enlarged(images.batch(rows).to(device), size))
        loss = F.cross_entropy(head(features), torch.from_numpy(labels[rows]).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _of_encoder(encoder.eval(), f"smallconv at {size} px, trained on the real images' classes", size)


def _of_encoder(encoder: TimmEncoder, title: str, size: int) -> Extractor:
    def encode(images: Tensor) -> Tensor:
        features: Tensor = encoder(_enlarged(images, size))
        return features

    return Extractor(title, f"{weights_hash(encoder)} {size}", encoder, encode)


def _enlarged(images: Tensor, size: int) -> Tensor:
    """Return (B, 3, S, S) uint8 images as (B, 3, size, size) in [0, 1]."""
    return F.interpolate(images.float() / 255, size=(size, size), mode="bilinear", antialias=True)


def inception_file() -> Path:
    """Return where torch-fidelity keeps the weights of its Inception."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def _inception() -> Extractor:
    path = inception_file()
    if find_spec("torch_fidelity") is None:
        raise UserError(
            "report.extractor=inception wants the package torch-fidelity: pip install 'uda-ssl[gan]'; or name a timm "
            f"model, for example {INSTEAD}"
        )
    if not path.is_file():
        raise UserError(
            f"report.extractor=inception wants torch-fidelity's weights at '{path}', and they are not there; put them "
            f"there, or name a timm model, for example {INSTEAD}"
        )
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))

    def encode(images: Tensor) -> Tensor:
        features: Tensor = network(images)[0]
        return features

    return Extractor("Inception v3 at 299 px, weights of torch-fidelity", INCEPTION_FILE, network, encode)
