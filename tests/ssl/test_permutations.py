import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.errors import UserError
from uda.ssl import permutations
from uda.ssl.permutations import permutation_set


def distances(chosen: torch.Tensor) -> torch.Tensor:
    """Return the Hamming distance of every pair."""
    pairs = (chosen[:, None] != chosen[None]).sum(2)
    return pairs[torch.triu_indices(len(chosen), len(chosen), 1).unbind()]


@settings(max_examples=20)
@given(st.integers(2, 6), st.booleans(), st.data())
def test_distinct_permutations_with_or_without_the_ordered_one(length: int, ordered: bool, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, min(60, math.factorial(length) - (not ordered))))
    chosen = permutation_set(count, length, ordered)
    assert chosen.shape == (count, length)
    assert torch.equal(chosen.sort(1).values, torch.arange(length).expand(count, length))
    assert len(chosen.unique(dim=0)) == count
    is_identity = (chosen == torch.arange(length)).all(1)
    assert is_identity.nonzero().flatten().tolist() == ([0] if ordered else [])


def test_all_permutations_of_three_by_hand() -> None:
    # From 012 the two turned orders differ everywhere; each of the three swaps differs in two places from 012.
    chosen = permutation_set(6, 3)
    assert chosen[0].tolist() == [0, 1, 2]
    assert sorted(chosen[1:3].tolist()) == [[1, 2, 0], [2, 0, 1]]
    assert sorted(chosen[3:].tolist()) == [[0, 2, 1], [1, 0, 2], [2, 1, 0]]
    assert permutation_set(5, 3, ordered=False).shape == (5, 3)


def test_four_elements_first_fill_a_latin_square() -> None:
    # Four permutations of four that differ everywhere exist (a Latin square), and greedy search finds them.
    assert distances(permutation_set(4, 4)).tolist() == [4] * 6


@pytest.mark.parametrize(("count", "smallest", "mean"), [(31, 7, 8.24), (64, 7, 8.12)])
def test_nine_tiles_lie_as_far_apart_as_published_sets(count: int, smallest: int, mean: float) -> None:
    # JiGen's shipped set: smallest 4, mean 8.3 among its 30
    apart = distances(permutation_set(count))
    assert apart.min() >= smallest
    assert apart.float().mean() > mean


def test_a_thousand_take_no_two_seconds_and_stay_far_apart() -> None:
    permutations._chosen.cache_clear()
    started = time.process_time()
    chosen = permutation_set(1000)
    assert time.process_time() - started < 2
    assert distances(chosen).min() == 5


def test_a_smaller_set_begins_a_larger_one_and_the_cached_one_cannot_be_spoiled() -> None:
    first = permutation_set(10)
    assert torch.equal(first, permutation_set(20)[:10])
    permutation_set(10).zero_()
    assert torch.equal(permutation_set(10), first)


def test_greedy_takes_the_best_at_every_step() -> None:
    chosen = permutation_set(12, 5)
    everything = torch.from_numpy(permutations._all_permutations(5).astype(np.int64))
    assert len(everything.unique(dim=0)) == 120
    for k in range(1, 12):
        apart = (everything[:, None] != chosen[None, :k]).sum(2)
        score = apart.min(1).values * 1000 + apart.sum(1)
        score[(apart == 0).any(1)] = -1
        mine = (chosen[k] != chosen[:k]).sum(1)
        assert mine.min() * 1000 + mine.sum() == score.max()


@pytest.mark.parametrize(
    ("count", "length", "ordered", "words"),
    [
        (25, 4, True, "4 tiles have no 25 permutations; set permutations to 1 … 24"),
        (24, 4, False, "4 tiles have no 24 permutations; set permutations to 1 … 23"),
        (0, 9, True, "9 tiles have no 0 permutations"),
        (30, 16, True, "permutations of 16 tiles cannot all be compared; take a grid of 2 or 3 tiles a side"),
    ],
)
def test_what_cannot_be_is_refused(count: int, length: int, ordered: bool, words: str) -> None:
    with pytest.raises(UserError, match=words):
        permutation_set(count, length, ordered)
