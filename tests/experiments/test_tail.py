"""Tails of a pool: the test set is held out before, and what is printed."""

from pathlib import Path

import numpy as np
import pytest

from tests.tiny import draw_classes
from uda.errors import UserError
from uda.experiments.pool import find_pool
from uda.experiments.tail import cut, with_test
from uda.sections import LongTailRecipe


def recipe(source: Path, **more: object) -> LongTailRecipe:
    return LongTailRecipe(source=str(source), image_size=16, stored_size=16, **more)


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("flat"), {"apple": 20, "bird": 20, "cat": 20})


def test_without_a_test_split_a_fifth_is_held_out_first(flat: Path) -> None:
    tails = [cut(find_pool(recipe(flat)), recipe(flat, ratio=ratio)) for ratio in (1, 4)]
    for tail, counts in zip(tails, ([16, 16, 16], [16, 8, 4]), strict=True):
        assert list(tail.table.counts().values()) == counts
        assert tail.test is not None
        assert list(tail.test.counts().values()) == [4, 4, 4]
        assert not set(tail.table.paths) & set(tail.test.paths)
    assert tails[0].test.paths == tails[1].test.paths  # type: ignore[union-attr]
    assert tails[1].lines[-2] == "tested on: 12 images, a fifth of each class kept from training"
    assert tails[1].lines[-1] == "learned from: 28 labelled images: apple 16, bird 8, cat 4"
    assert tails[1].table.name.endswith("(exponential tail, ratio 4)")


def test_a_test_split_stays_as_it_is(tmp_path: Path) -> None:
    draw_classes(tmp_path / "train", {"apple": 12, "bird": 12})
    draw_classes(tmp_path / "test", {"apple": 3, "bird": 5}, noise=30)
    tail = cut(find_pool(recipe(tmp_path)), recipe(tmp_path, ratio=6, tail="step"))
    assert tail.table.counts() == {"apple": 12, "bird": 2}
    assert tail.test is not None
    assert tail.test.counts() == {"apple": 3, "bird": 5}


def test_without_a_ratio_nothing_is_cut(flat: Path) -> None:
    found = find_pool(recipe(flat))
    assert cut(found, recipe(flat)) is found
    own = with_test(found)
    assert list(own.table.counts().values()) == [16, 16, 16]
    assert with_test(own) is own


def test_the_order_can_be_shuffled_and_the_seed_changes_the_images(flat: Path) -> None:
    found = find_pool(recipe(flat))
    orders = [cut(found, recipe(flat, ratio=4, tail_order="shuffled", tail_seed=s)).table.counts() for s in range(6)]
    assert len({tuple(counts.values()) for counts in orders}) > 1
    assert all(sorted(counts.values()) == [4, 8, 16] for counts in orders)
    one, other = (cut(found, recipe(flat, ratio=4, tail_seed=seed)).table for seed in (0, 1))
    assert one.paths != other.paths


def test_images_without_a_label_stay(flat: Path) -> None:
    found = find_pool(recipe(flat))
    found.table.labels[np.array([0, 1, 2])] = -1
    assert (cut(found, recipe(flat, ratio=4)).table.labels == -1).sum() == 3


def test_a_ratio_that_is_too_large_is_refused(flat: Path) -> None:
    with pytest.raises(UserError, match="ratio of 16 or less"):
        cut(find_pool(recipe(flat)), recipe(flat, ratio=17))
