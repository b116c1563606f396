import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.datasets.corruptions.glass import glass_blur, offsets, sources, swept


def swept_one_by_one(offset: list[int], height: int, width: int, reach: int, copies: bool) -> list[int]:
    """The published loops, on the numbers of the places."""
    content = [[row * width + column for column in range(width)] for row in range(height)]
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            code = offset[(row - reach - 1) * (width - 2 * reach) + column - reach - 1]
            down, right = code // (2 * reach) - reach, code % (2 * reach) - reach
            here, there = content[row][column], content[row + down][column + right]
            content[row][column] = there
            if not copies:
                content[row + down][column + right] = here
    return [place for row in content for place in row]


@given(st.integers(1, 4), st.integers(8, 15), st.integers(8, 15), st.booleans(), st.integers(0, 1000))
def test_the_outcome_is_that_of_the_sweep(reach: int, height: int, width: int, copies: bool, seed: int) -> None:
    n = swept(height, width, reach)
    words = torch.randint(-(2**31), 2**31, (2, n), generator=torch.Generator().manual_seed(seed)).int()
    offset = offsets(words, reach)
    if not n:
        return
    found = sources(offset, height, width, reach, copies)
    for one, codes in zip(found, offset.tolist(), strict=True):
        assert one.tolist() == swept_one_by_one(codes, height, width, reach, copies)


def test_an_exchange_loses_no_pixel_and_a_copy_does() -> None:
    offset = offsets(torch.randint(-(2**31), 2**31, (1, swept(20, 30, 2))).int(), 2)
    assert sources(offset, 20, 30, 2, copies=False)[0].sort().values.tolist() == list(range(600))
    assert len(sources(offset, 20, 30, 2, copies=True)[0].unique()) < 600


@pytest.mark.parametrize("reach", [1, 2, 3, 4])
def test_all_partners_are_equally_likely(reach: int) -> None:
    words = torch.randint(-(2**31), 2**31, (1, 100_000), generator=torch.Generator().manual_seed(0)).int()
    counts = torch.bincount(offsets(words, reach)[0], minlength=4 * reach**2).double()
    assert len(counts) == 4 * reach**2
    mean = 100_000 / len(counts)
    # chi-square of n − 1 degrees of freedom: mean n − 1, standard deviation √(2n)
    assert ((counts - mean) ** 2 / mean).sum() < len(counts) - 1 + 5 * (2 * len(counts)) ** 0.5


def test_nothing_is_exchanged_where_there_is_no_room() -> None:
    images = torch.rand(1, 3, 8, 8) * 255
    found = glass_blur(images, torch.zeros(1, 2, 0).int(), 0.05, 4)
    assert torch.equal(found, images.floor())
