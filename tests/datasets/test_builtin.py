import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits

from uda.datasets import builtin
from uda.datasets.builtin import CLASSES, IMAGES_SHA256, SPLIT, builtin_domains, enlarge, images_hash
from uda.datasets.glyphs import BOLD, FONTS, REGULAR, glyph_mask, printed_digits
from uda.datasets.table import ImageTable

DATA = Path(matplotlib.get_data_path())
HOLES = {"0": 1, "1": 0, "2": 0, "3": 0, "4": 1, "5": 0, "6": 1, "7": 0, "8": 2, "9": 1}


@pytest.fixture(scope="module")
def domains() -> dict[str, ImageTable]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the committed hashes hold, or the documentation's figures do not
        return builtin_domains()


def pixels_of(table: ImageTable) -> np.ndarray:
    assert table.pixels is not None
    return table.pixels.numpy()


@pytest.mark.parametrize("name", ["printed", "handwritten"])
def test_images_are_the_committed_ones(domains, name):
    assert images_hash(domains[name]) == IMAGES_SHA256[name]


@pytest.mark.parametrize(("name", "n"), [("printed", 1800), ("handwritten", 1797)])
def test_table(domains, name, n):
    table = domains[name]
    assert len(table) == n
    assert pixels_of(table).shape == (n, 3, 32, 32)
    assert pixels_of(table).dtype == np.uint8
    assert table.labels.dtype == np.int64
    assert table.labelled
    assert (table.name, table.classes) == (f"builtin/{name}", CLASSES)
    assert len(set(table.paths)) == n
    assert list(table.paths) == sorted(table.paths)
    assert [path.split("/")[2] for path in table.paths] == [CLASSES[c] for c in table.labels]


def test_split_covers_the_classes():
    assert sum(int(part) for part in SPLIT.split("/")) == len(CLASSES)


def test_printed_is_balanced(domains):
    assert domains["printed"].counts() == dict.fromkeys(CLASSES, 180)
    assert domains["printed"].paths[3 * 180 + 17] == "builtin/printed/3/0017"


def test_no_printed_image_twice(domains):
    assert len(np.unique(pixels_of(domains["printed"]).reshape(1800, -1), axis=0)) == 1800


def test_every_printed_digit_stands_out():
    """Gray of the ink against the ground within three pixels of it; 85 before tints, blur, noise and photograph."""
    pixels, labels, ink = printed_digits(DATA)
    assert ink.min() == 0
    assert ink.max() == 16
    gray = np.tensordot([0.299, 0.587, 0.114], pixels, axes=(0, 1))
    near = ndimage.binary_dilation(ink > 0, np.ones((1, 7, 7), dtype=bool)) & (ink == 0)
    weight = np.where(ink >= 8, ink, 0)
    assert (weight > 0).sum(axis=(1, 2)).min() >= 40
    stroke = (gray * weight).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
    ground = (gray * near).sum(axis=(1, 2)) / near.sum(axis=(1, 2))
    assert np.abs(stroke - ground).min() > 50
    assert 0.4 < (stroke > ground).mean() < 0.6  # light on dark as often as dark on light
    # Hardly any ink leaves the image: what is drawn is what the label says.
    border = ink[:, [0, -1]].sum(axis=(1, 2)) + ink[:, :, [0, -1]].sum(axis=(1, 2))
    assert (border / ink.sum(axis=(1, 2))).max() < 0.2
    assert (labels == np.repeat(np.arange(10), 180)).all()


@pytest.mark.parametrize("font", FONTS)
def test_outlines_have_the_holes_of_their_digits(font):
    for digit, expected in HOLES.items():
        mask = glyph_mask(DATA / "fonts" / "ttf" / f"{font}.ttf", digit)
        rows = np.flatnonzero(mask.any(axis=1))
        assert (rows[0], rows[-1]) == (16, 111)  # 96 of 128 rows, in the middle
        assert not mask[:, [0, -1]].any()
        # Regions of ground but for the outside; a sharp corner between strokes may leave one stray pixel.
        sizes = np.bincount(ndimage.label(~mask)[0].ravel())[1:]
        assert (sizes > 20).sum() - 1 == expected


def test_fonts_are_named_once():
    assert len(set(FONTS)) == len(FONTS) == len(REGULAR) + len(BOLD) == 20


def test_enlarge_by_hand():
    digit = np.zeros((1, 8, 8))
    digit[0, 3, 4] = 16  # centered on row 5 + 3·3 = 14, column 5 + 3·4 = 17
    large = enlarge(digit)[0]
    assert large.shape == (32, 32)
    assert large[14, 17] == 255
    assert large[14, 16] == large[14, 18] == large[13, 17] == 170  # 255 · 2/3
    assert large[13, 16] == 113  # 255 · 4/9 = 113.3
    assert large[12, 15] == 28  # 255 · 1/9 = 28.3
    assert np.count_nonzero(large) == 25  # five weights on each axis
    digit[0, 3, 5] = 8
    assert enlarge(digit)[0][14, 18] == 213  # 255 · (2·16 + 1·8) / 48 = 212.5, halves up


def test_enlarge_keeps_a_flat_digit_flat_and_the_margin_black():
    large = enlarge(np.full((1, 8, 8), 16))[0]
    assert (large[5:27, 5:27] == 255).all()
    assert (large[4, 5:27] == 170).all()
    assert (large[3, 5:27] == 85).all()
    assert not large[:3].any()
    assert not large[-3:].any()


def test_handwritten_is_gray_and_in_the_order_of_load_digits(domains):
    table, digits = domains["handwritten"], load_digits()
    pixels = pixels_of(table)
    assert (pixels == pixels[:, :1]).all()
    # Every third pixel from 5 on is a source pixel itself, 16 for 255.
    source = pixels[table.labels == 4][:, 0, 5:27:3, 5:27:3]
    assert (source == np.floor(digits.images[digits.target == 4] * 255 / 16 + 0.5)).all()


def test_other_images_are_announced_and_a_second_run_draws_the_same(domains, monkeypatch):
    monkeypatch.setitem(builtin.IMAGES_SHA256, "printed", "0" * 64)
    with pytest.warns(UserWarning, match="built-in domain 'printed' differs") as caught:
        again = builtin_domains()
    assert len(caught) == 1
    for name, table in domains.items():
        assert (pixels_of(again[name]) == pixels_of(table)).all()
        assert again[name].paths == table.paths


def test_hash_sees_pixels_and_labels(domains):
    table = domains["handwritten"].select(np.arange(4))
    assert images_hash(table) == images_hash(domains["handwritten"].select(np.arange(4)))
    other = ImageTable(table.name, table.paths, table.labels + 1, CLASSES, table.pixels)
    assert images_hash(other) != images_hash(table)
    assert images_hash(domains["handwritten"].select(np.array([0, 1, 3, 2]))) != images_hash(table)
    with pytest.raises(ValueError, match="holds no pixels"):
        images_hash(ImageTable("folder", ("a.png",), np.zeros(1, dtype=np.int64), CLASSES))
