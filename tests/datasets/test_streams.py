import numpy as np
import torch
from torch import Tensor

from uda.datasets.streams import Concatenated, Mixture


class Rows:
    def __init__(self, values: Tensor):
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, rows: np.ndarray) -> Tensor:
        return self.values[torch.from_numpy(rows)]


def test_a_mixture_by_hand() -> None:
    pixels = torch.tensor([0, 100, 255], dtype=torch.uint8)[:, None]
    first, second = np.array([2, 0, 1]), np.array([1, 2, 1])
    mixture = Mixture(Rows(pixels), first, second, 0.55)
    assert len(mixture) == 3
    # .55·255 + .45·100 = 185.25; .45·255 = 114.75; the same image twice stays
    found = mixture.batch(np.array([0, 1, 2]))
    assert found.dtype == torch.uint8
    assert found[:, 0].tolist() == [185, 115, 100]
    assert mixture.batch(np.array([1]))[:, 0].tolist() == [115]
    features = Mixture(Rows(pixels.float()), first, second, 0.55).batch(np.array([0, 1]))
    assert torch.allclose(features[:, 0], torch.tensor([185.25, 114.75]))


def test_concatenated_parts_are_counted_through_in_any_order() -> None:
    joined = Concatenated((Rows(torch.arange(3)), Rows(torch.arange(10, 12)), Rows(torch.arange(20, 24))))
    assert len(joined) == 9
    assert joined.batch(np.array([8, 0, 3, 2, 4, 0, 5])).tolist() == [23, 0, 10, 2, 11, 0, 20]
    assert joined.batch(np.arange(0)).tolist() == []
