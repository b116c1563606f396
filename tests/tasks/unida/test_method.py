import math

import pytest

from uda.tasks.unida import Setup, SourceOnly


def test_unless_a_paper_says_otherwise_half_the_largest_entropy_is_the_line() -> None:
    # log(4) / 2 = log(2)
    assert SourceOnly(Setup(dim=8, n_classes=4, n_target=3)).fixed_threshold == pytest.approx(math.log(2))
