import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from tests.shared_data import real
from uda.datasets.cache import pack
from uda.datasets.duplicates import CERTAIN, MARGIN, SIMILAR, THUMBNAIL, near_duplicates
from uda.datasets.resolve import resolve


def photograph(seed: int, size: int = 96) -> Image.Image:
    """Return a picture with structure at several scales: rectangles of random colors over a slope."""
    rng = np.random.default_rng(seed)
    image = np.linspace(60, 180, size)[:, None, None] * np.ones((size, size, 3))
    for _ in range(12):
        (y, x), (h, w) = rng.integers(0, size - 20, 2), rng.integers(8, 40, 2)
        image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return Image.fromarray(image.astype(np.uint8))


def thumbnails(images: list[Image.Image]) -> Tensor:
    squares = [np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)) for image in images]
    return torch.from_numpy(np.stack(squares).transpose(0, 3, 1, 2).copy())


def jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


def noisy(image: Image.Image) -> Image.Image:
    drawn = np.random.default_rng(0).normal(0, 12, (*image.size[::-1], 3))
    return Image.fromarray((np.asarray(image) + drawn).clip(0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda image: image,
    "darker": lambda image: image.point(lambda v: v * 0.6),
    "brighter": lambda image: image.point(lambda v: min(255, v * 1.2 + 25)),
    "gray": lambda image: image.convert("L").convert("RGB"),
    "encoded anew": jpeg,
    "noisy": noisy,
    "smaller": lambda image: image.resize((41, 41), Image.Resampling.BICUBIC),
    "larger": lambda image: image.resize((200, 200), Image.Resampling.BICUBIC),
    "of another shape": lambda image: image.resize((120, 70)),
    "shifted by a pixel": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 1, 0, 1, 1)),
    "shifted by four": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 4, 0, 1, -4)),
    "cut by two": lambda image: image.crop((2, 2, 94, 94)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_among_others(change):
    first = [photograph(seed) for seed in range(12)]
    second = [photograph(seed) for seed in range(100, 112)]
    second[7] = CHANGES[change](first[3])
    found = near_duplicates(thumbnails(first), thumbnails(second))
    assert list(zip(found.first, found.second, strict=True)) == [(3, 7)]
    within = near_duplicates(thumbnails([*second, *first]))
    assert list(zip(within.first, within.second, strict=True)) == [(7, 15)]


def test_a_shift_by_one_pixel_of_the_thumbnail_is_no_other_picture():
    whole = thumbnails([photograph(seed) for seed in range(12)])
    shifted = whole[3:4].roll((1, -1), dims=(2, 3))
    found = near_duplicates(whole, shifted)
    assert list(found.first) == [3]
    assert found.similarity[0] > 0.95


@pytest.mark.parametrize("turn", [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90])
def test_mirrored_and_turned_pictures_are_others(turn):
    first = [photograph(seed) for seed in range(12)]
    assert len(near_duplicates(thumbnails(first), thumbnails([image.transpose(turn) for image in first]))) == 0


def test_pictures_without_an_edge_have_no_duplicates():
    plain = torch.full((5, 3, THUMBNAIL, THUMBNAIL), 255, dtype=torch.uint8)
    assert len(near_duplicates(plain)) == 0
    assert len(near_duplicates(plain, plain)) == 0


def test_many_pictures_that_all_resemble_each_other_are_not_duplicates():
    # One outline, each time with other content inside: alike by more than .6, yet none stands out from the others.
    rng = np.random.default_rng(0)
    images = np.full((14, 3, THUMBNAIL, THUMBNAIL), 255, dtype=np.uint8)
    images[:, :, 4:28, 4:28] = 0
    images[:, :, 12:19, 12:19] = rng.integers(0, 120, (14, 1, 7, 7))
    assert len(near_duplicates(torch.from_numpy(images))) == 0
    alone = near_duplicates(torch.from_numpy(images[:1]), torch.from_numpy(images[1:2]))
    assert len(alone) == 1  # with nothing to compare it with, the same pair counts
    assert SIMILAR <= alone.similarity[0] < CERTAIN


def test_no_images():
    none = torch.zeros(0, 3, THUMBNAIL, THUMBNAIL, dtype=torch.uint8)
    one = thumbnails([photograph(0)])
    for found in (near_duplicates(none), near_duplicates(one), near_duplicates(none, one), near_duplicates(one, none)):
        assert len(found) == len(found.second) == len(found.similarity) == 0


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="thumbnails must be uint8 of shape"):
        near_duplicates(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))


def directions(image: np.ndarray, side: int) -> np.ndarray:
    """Return the gradient directions of one image, (2, side − 1, side − 1), written down anew."""
    gray = np.round(image.transpose(1, 2, 0).astype(np.float64) @ [0.299, 0.587, 0.114])
    gray = gray.reshape(side, THUMBNAIL // side, side, THUMBNAIL // side).mean((1, 3))
    right, down = np.diff(gray, axis=1)[:-1], np.diff(gray, axis=0)[:, :-1]
    return np.stack([right, down]) / (np.sqrt(right**2 + down**2) + 8)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-6))


def closest(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest cosine of two fields over shifts of up to two pixels, each on what overlaps."""
    n = a.shape[-1]
    found = []
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            ours = a[:, max(dy, 0) : n + min(dy, 0), max(dx, 0) : n + min(dx, 0)]
            theirs = b[:, max(-dy, 0) : n + min(-dy, 0), max(-dx, 0) : n + min(-dx, 0)]
            found.append(cosine(ours, theirs))
    return max(found)


def brute_force(a: np.ndarray, b: np.ndarray, within: bool) -> dict[tuple[int, int], float]:
    coarse = np.array([[cosine(directions(x, 16), directions(y, 16)) for y in b] for x in a])
    fine = np.array([[closest(directions(x, 32), directions(y, 32)) for y in b] for x in a])
    if within:
        np.fill_diagonal(coarse, -2)

    def look_alikes(nearness: np.ndarray, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k = min(8, nearness.shape[1] - within)
        nearest = np.argsort(-nearness, axis=1)[:, :k]
        alike = np.sort(np.take_along_axis(similarity, nearest, 1), 1)[:, : k // 2]
        return nearest, alike.mean(1) if k // 2 else np.zeros(len(nearness))

    (ours, usual), (theirs, usual_other) = look_alikes(coarse, fine), look_alikes(coarse.T, fine.T)
    found = {}
    named = {(i, int(j)) for i in range(len(a)) for j in ours[i]}
    named |= {(int(i), j) for j in range(len(b)) for i in theirs[j]}
    for i, j in named:
        s = fine[i, j]
        if s >= CERTAIN or (s >= SIMILAR and s - max(usual[i], usual_other[j]) >= MARGIN):
            found[(min(i, j), max(i, j)) if within else (i, j)] = float(s)
    return found


@settings(max_examples=8)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 5, 100]), st.booleans()
)
def test_blocks_change_nothing_and_brute_force_agrees(seed, n, m, block, within):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 256, (count, 3, THUMBNAIL, THUMBNAIL)).astype(np.uint8) for count in (n, m))
    for row in range(min(n, m)):  # every other one is planted, with more or less noise
        if row % 2 == 0:
            b[row] = (a[row] + rng.normal(0, rng.uniform(0, 40), a[row].shape)).clip(0, 255)
    if within:
        a = np.concatenate([a, b])
    found = near_duplicates(torch.from_numpy(a), None if within else torch.from_numpy(b), block=block)
    expected = brute_force(a, a if within else b, within)
    ours = {(int(i), int(j)): float(s) for i, j, s in zip(found.first, found.second, found.similarity, strict=True)}
    assert ours.keys() == expected.keys()
    assert all(ours[pair] == pytest.approx(min(1.0, expected[pair]), abs=1e-4) for pair in ours)
    assert (np.diff(found.similarity) <= 0).all()


def test_dslr_and_webcam_share_scenes():
    root = real("office_caltech10") / "office_caltech10"
    found = resolve(str(root / "dslr"), str(root / "webcam"), None, False)
    dslr, webcam = (pack(table, 256, progress=False)[0] for table in (found.source, found.target))
    first, second = (images.square(np.arange(len(images)), THUMBNAIL) for images in (dslr, webcam))
    pairs = near_duplicates(first, second)
    assert 5 <= len(pairs) <= 15
    # The same object, so the same class; chance would be a tenth.
    assert (found.source.labels[pairs.first] == found.target.labels[pairs.second]).all()
    assert 10 <= len(near_duplicates(second)) <= 30
