import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from uda.datasets.corruptions import PRESETS, corrupt
from uda.datasets.corruptions.noise import alias_table, gaussian_noise, impulse_noise, noisy, shot_noise, speckle_noise


def probabilities(table: Tensor) -> np.ndarray:
    """Read a table back: level v stays with column k, one of 256, with its threshold's probability, else its alias."""
    entries = table.numpy().astype(np.int64).reshape(256, 256)
    kept = ((entries >> 8) + 2**23) / 2**24
    out = kept / 256
    for k in range(256):
        np.add.at(out, (np.arange(256), entries[:, k] & 255), (1 - kept[:, k]) / 256)
    return out


def test_a_table_by_hand() -> None:
    wanted = np.zeros((256, 256))
    wanted[:, 3], wanted[:, 200] = 0.25, 0.75
    table = alias_table(wanted)
    assert np.abs(probabilities(table) - wanted).max() < 2**-30
    # Column 3 holds 1/256 and its share is 1/4: full. Column 7's share is 0: all goes to 200, whatever the upper bits.
    images = torch.zeros(1, 1, 1, 3, dtype=torch.uint8)
    words = torch.tensor([[3, 7 - 2**31, 2**31 - 1]]).int()  # the last one's column is 255
    assert noisy(images, words, table).flatten().tolist() == [3, 200, 200]


@pytest.mark.parametrize("table", [gaussian_noise(0.38), speckle_noise(0.6), shot_noise(3), impulse_noise(0.27)])
def test_every_level_becomes_something(table: Tensor) -> None:
    found = probabilities(table)
    assert found.min() > -(2**-30)
    assert np.allclose(found.sum(1), 1, atol=1e-12)


def test_gaussian_noise_is_the_normal_distribution_cut_to_levels() -> None:
    found, normal = probabilities(gaussian_noise(0.08)), stats.norm(100, 0.08 * 255)
    assert found[100, 120] == pytest.approx(normal.cdf(121) - normal.cdf(120), abs=2**-30)
    assert found[100, 0] == pytest.approx(normal.cdf(1), abs=2**-30)
    assert found[100, 255] == pytest.approx(normal.sf(255), abs=2**-30)


def test_speckle_noise_grows_with_the_level() -> None:
    found, normal = probabilities(speckle_noise(0.2)), stats.norm(200, 40)
    assert found[0, 0] == 1
    assert found[200, 170] == pytest.approx(normal.cdf(171) - normal.cdf(170), abs=2**-30)


def test_shot_noise_is_poisson() -> None:
    found = probabilities(shot_noise(5))
    poisson = stats.poisson(5 * 102 / 255)  # mean 2
    for k, level in enumerate((0, 51, 102, 153, 204)):
        assert found[102, level] == pytest.approx(poisson.pmf(k), abs=2**-30)
    assert found[102, 255] == pytest.approx(poisson.sf(4), abs=2**-30)
    assert found[0, 0] == 1
    many, poisson = probabilities(shot_noise(500)), stats.poisson(500)  # several counts fall into one level
    assert many[255, 250] == pytest.approx(poisson.pmf(491) + poisson.pmf(492), abs=2**-30)  # 250.4, 250.9


def test_impulse_noise_by_hand() -> None:
    found = probabilities(impulse_noise(0.1))
    assert found[77, [0, 77, 255]] == pytest.approx([0.05, 0.9, 0.05])
    assert found[255, [0, 255]] == pytest.approx([0.05, 0.95])


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
@pytest.mark.parametrize("level", [0, 30, 128, 250])
def test_what_is_drawn_has_the_table_s_distribution(name: str, level: int) -> None:
    images = torch.full((4, 3, 96, 96), level, dtype=torch.uint8)
    counts = np.bincount(corrupt(images, name, 3, seed=1).flatten().numpy(), minlength=256)
    tables = {f.__name__: f for f in (gaussian_noise, shot_noise, impulse_noise, speckle_noise)}
    expected = probabilities(tables[name](PRESETS["imagenet"][name][2]))[level] * counts.sum()
    frequent = expected > 5
    assert counts[~frequent].sum() <= 5 * expected[~frequent].sum() + 10
    squares = ((counts - expected)[frequent] ** 2 / expected[frequent]).sum()
    # chi-square: mean n, standard deviation √(2n)
    assert squares < frequent.sum() + 5 * np.sqrt(2 * frequent.sum())


def test_channels_and_neighbors_are_independent() -> None:
    images = torch.full((2, 3, 128, 128), 128, dtype=torch.uint8)
    noise = corrupt(images, "gaussian_noise", 1).double() - 128
    for one, other in (
        (noise[:, 0], noise[:, 1]),
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[0], noise[1]),
    ):
        correlation = np.corrcoef(one.flatten(), other.flatten())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(one.numel())
