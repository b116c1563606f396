"""Near-duplicates: the same picture twice, across domains or within one, found on thumbnails."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

THUMBNAIL = 32
"""Pixels of a side of the squares that are compared."""

CERTAIN, SIMILAR, MARGIN = 0.98, 0.6, 0.2
"""A pair counts from `CERTAIN` on, or from `SIMILAR` on if it stands out by `MARGIN`; see `near_duplicates`."""

_SHIFT = 2  # pixels of a thumbnail by which two pictures of one scene may be off
_FLAT = 8.0  # gray levels: gradients below it, such as JPEG's noise on a plain background, count little
_CANDIDATES = 8  # look-alikes of each image that are compared closely
_PADDED = 36  # at least THUMBNAIL − 1 + _SHIFT, so that shifts do not wrap around; and quick to transform


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows that show the same picture, the most similar first.

    first, second: (P,) int64; similarity: (P,) float32 in (0, 1].
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


def near_duplicates(images: Tensor, others: Tensor | None = None, block: int = 1024) -> Pairs:
    """Return pairs that show the same picture: of `images` with `others`, or within `images` (first < second).

    images (N, 3, 32, 32), others (M, 3, 32, 32): uint8 thumbnails, squashed to squares. The similarity is the cosine of
    the two fields of gradient directions, the largest over shifts of up to two pixels; it ignores brightness, contrast,
    color, and re-encoding. Mirrored or turned pictures are others, and a picture without any edge has no duplicate.

    A pair counts from .98 on, and from .6 on if it stands out: if it exceeds by .2 what is usual for both of its
    images, the mean over the less similar half of an image's eight look-alikes. All mountain bikes on white resemble
    each other by .8 and handwritten zeros by .9, which says nothing; .6 where others have .3 does.

    Chosen by looking at pairs of Office-Caltech10, stored at 256 pixels. Of the 46,315 pairs of dslr and webcam it
    names nine: eight show one object from one place, one a keyboard that was turned a little. Of the two million of the
    other pairs of domains it names two, both wrong. Of 50 of the 146 within amazon 47 show one product, often in other
    colors; without the margin there are more than 450, most of them different bikes. Of 36 within the others 22 are the
    same view; the rest are mostly one object from another side. Within CIFAR-10, PACS and a histology set, on which
    nothing was chosen, 41 of 45 that were looked at show the same thing.

    Only the eight images that look most alike on 16 pixels are compared closely, so of more copies than that not every
    pair is named. Memory: block² similarities and 2 KB an image, whatever N and M are.
    """
    within = others is None
    gray = _gray(images)
    gray_others = gray if others is None else _gray(others)
    nearest, alike = _look_alikes(gray, gray_others, within, block)
    usual = usual_others = _usual(alike)
    first = torch.arange(len(gray))[:, None].expand_as(nearest).flatten()
    second, similarity = nearest.flatten(), alike.flatten()
    if within:
        first, second = torch.minimum(first, second), torch.maximum(first, second)
    else:
        back, alike_back = _look_alikes(gray_others, gray, within, block)
        usual_others = _usual(alike_back)
        rows = torch.arange(len(gray_others))[:, None].expand_as(back).flatten()
        first, second = torch.cat([first, back.flatten()]), torch.cat([second, rows])
        similarity = torch.cat([similarity, alike_back.flatten()])
    stands_out = similarity - torch.maximum(usual[first], usual_others[second]) >= MARGIN
    found = (similarity >= CERTAIN) | ((similarity >= SIMILAR) & stands_out)
    i, j, value = (part[found].numpy() for part in (first, second, similarity))
    _, once = np.unique(i * len(gray_others) + j, return_index=True)  # each image of a pair may have named the other
    i, j, value = i[once], j[once], value[once]
    order = np.lexsort((j, i, -value))
    return Pairs(i[order], j[order], value[order].clip(max=1.0))


def _gray(images: Tensor) -> Tensor:
    """Return luminance, (N, 32, 32) uint8 on the CPU."""
    if images.shape[1:] != (3, THUMBNAIL, THUMBNAIL) or images.dtype != torch.uint8:
        raise ValueError(f"thumbnails must be uint8 of shape (N, 3, {THUMBNAIL}, {THUMBNAIL}), not {images.shape}")
    weights = torch.tensor([0.299, 0.587, 0.114])
    parts = [torch.einsum("nchw,c->nhw", part.float(), weights) for part in images.cpu().split(1024)]
    return torch.cat([part.round().to(torch.uint8) for part in parts]) if parts else images[:, 0].cpu()


def _directions(gray: Tensor) -> Tensor:
    """(N, s, s) gray → (N, 2, s − 1, s − 1) gradients brought to a length near 1, those of plain areas to near 0."""
    x = gray.float()
    right, down = x[:, :-1, 1:] - x[:, :-1, :-1], x[:, 1:, :-1] - x[:, :-1, :-1]
    return torch.stack([right, down], dim=1) / (torch.hypot(right, down)[:, None] + _FLAT)


def _look_alikes(images: Tensor, others: Tensor, within: bool, block: int) -> tuple[Tensor, Tensor]:
    """Return for each image its nearest others on 16 pixels, (N, k), and how similar they are on 32 pixels."""
    coarse_others = torch.cat([_coarse(part) for part in others.split(block)]) if len(others) else others.float()
    k = max(0, min(_CANDIDATES, len(others) - within))
    rows, values = [], []
    for start in range(0, len(images), block):
        part = images[start : start + block]
        nearest = _nearest(_coarse(part), coarse_others, k, start if within else None, block)
        rows.append(nearest)
        values.append(
            torch.cat([_aligned(a, others[b]) for a, b in zip(part.split(64), nearest.split(64), strict=True)])
        )
    if not rows:
        return torch.empty(0, k, dtype=torch.int64), torch.empty(0, k)
    return torch.cat(rows), torch.cat(values)


def _coarse(gray: Tensor) -> Tensor:
    """(N, 32, 32) → (N, 450) directions at 16 pixels, L2-normalized; zeros where there is no edge."""
    return F.normalize(_directions(F.avg_pool2d(gray.float()[:, None], 2)[:, 0]).flatten(1))


def _nearest(queries: Tensor, gallery: Tensor, k: int, own: int | None, block: int) -> Tensor:
    """Return the rows of the k nearest (n, k); own: the queries are the gallery's rows from there on, not compared."""
    best, index = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(gallery), block):
        similarity = queries @ gallery[start : start + block].T
        columns = torch.arange(start, start + similarity.shape[1])
        if own is not None:
            similarity[columns == torch.arange(own, own + len(queries))[:, None]] = -2.0
        value, place = similarity.topk(min(k, similarity.shape[1]))
        best, index = torch.cat([best, value], 1), torch.cat([index, columns[place]], 1)
        best, place = best.topk(min(k, best.shape[1]))
        index = index.gather(1, place)
    return index


def _aligned(images: Tensor, others: Tensor) -> Tensor:
    """Return the similarity of each image (n, 32, 32) to its others (n, k, 32, 32) at the best shift, (n, k)."""
    n, k = others.shape[:2]
    a, b = _directions(images), _directions(others.flatten(0, 1))
    spectrum, spectra = (torch.fft.rfft2(field, s=(_PADDED, _PADDED)) for field in (a, b))
    products = (spectrum[:, None] * spectra.view(n, k, *spectra.shape[1:]).conj()).sum(2)
    shifts = torch.arange(-_SHIFT, _SHIFT + 1)
    overlap = torch.fft.irfft2(products, s=(_PADDED, _PADDED))[:, :, shifts][:, :, :, shifts]  # negative ones wrap
    energy, energies = _energy(a), _energy(b).flip(1, 2).view(n, k, len(shifts), len(shifts))
    return (overlap / (energy[:, None] * energies).sqrt().clamp_min(1e-6)).flatten(2).amax(2)


def _energy(field: Tensor) -> Tensor:
    """(n, 2, s, s) → (n, 5, 5): the sum of squares over what overlaps with another field when shifted by (dy, dx)."""
    s, shifts = field.shape[-1], torch.arange(-_SHIFT, _SHIFT + 1)[:, None]
    line = torch.arange(s)
    within = ((line >= shifts) & (line < s + shifts)).float()  # (5, s): the lines that the other one reaches
    return within @ field.square().sum(1) @ within.T


def _usual(alike: Tensor) -> Tensor:
    """(N, k) similarities to an image's look-alikes → (N,) the mean of the lower half; 0 where there are none."""
    half = alike.shape[1] // 2
    return alike.sort(1).values[:, :half].mean(1) if half else alike.new_zeros(len(alike))
