import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.batch import Batch
from uda.clock import Clock
from uda.random import derived_seed, hash_bits, permutation, purpose_key, uniform

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(z: int) -> int:
    """The finalizer of splitmix64 in Python's unbounded integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def expected_word(seed: int, step: int, index: int, purpose: str, draw: int) -> int:
    state = seed & MASK
    for key in (step, purpose_key(purpose)):
        state = mix((state * GAMMA + key + 1) & MASK)
    state = mix((index * GAMMA + state) & MASK)
    return mix((state + (draw + 1) * GAMMA) & MASK)


def test_the_oracle_is_splitmix64() -> None:
    # the generator's first outputs from state 1234567, as published with several implementations of it
    outputs = [mix((1234567 + k * GAMMA) & MASK) for k in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(
    seed=st.integers(0, 2**31),
    step=st.integers(0, 10**7),
    index=st.lists(st.integers(0, 10**9), min_size=1, max_size=5),
    purpose=st.sampled_from(["flip", "crop", "source"]),
)
def test_words_agree_with_unbounded_integers(seed: int, step: int, index: list[int], purpose: str) -> None:
    words = hash_bits(seed, step, torch.tensor(index), purpose, 3)
    assert words.shape == (len(index), 3)
    assert words.dtype == torch.int64
    expected = [[expected_word(seed, step, i, purpose, k) for k in range(3)] for i in index]
    assert (words.numpy().astype(np.uint64) == np.array(expected, dtype=np.uint64)).all()


def test_purpose_key_is_crc32() -> None:
    # CRC-32 of "123456789" is the algorithm's published check value
    assert purpose_key("123456789") == 0xCBF43926


def test_draws_do_not_depend_on_the_batch() -> None:
    together = uniform(3, 7, torch.tensor([5, 900, 2]), "crop", 4)
    alone = uniform(3, 7, torch.tensor([900]), "crop", 4)
    assert torch.equal(together[1], alone[0])
    assert torch.equal(uniform(3, 7, torch.tensor([900]), "crop", 2)[0], alone[0, :2])


@pytest.mark.parametrize("other", [(1, 7, "crop"), (0, 8, "crop"), (0, 7, "flip")])
def test_seed_step_and_purpose_all_change_the_draws(other: tuple[int, int, str]) -> None:
    index = torch.arange(100)
    seed, step, purpose = other
    assert not (uniform(0, 7, index, "crop", 1) == uniform(seed, step, index, purpose, 1)).any()


def test_uniform_is_uniform_and_independent() -> None:
    draws = uniform(0, 0, torch.arange(100_000), "test", 2).double()
    assert draws.min() >= 0
    assert draws.max() < 1
    # the mean of 100,000 uniform numbers has standard deviation 1/√12/√100000 = .0009; the bounds are five of those
    assert (draws.mean(0) - 0.5).abs().max() < 0.0046
    assert (draws.var(0) - 1 / 12).abs().max() < 0.002
    # correlations of independent draws have standard deviation 1/√100000 = .0032
    assert abs(np.corrcoef(draws.numpy().T)[0, 1]) < 0.016
    neighbors = np.corrcoef(draws[:-1, 0].numpy(), draws[1:, 0].numpy())[0, 1]
    assert abs(neighbors) < 0.016
    # chi-square with 99 degrees of freedom: mean 99, standard deviation √198 = 14
    counts = np.bincount((draws[:, 0].numpy() * 100).astype(int), minlength=100)
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 5 * 14


def test_steps_are_independent() -> None:
    index = torch.zeros(1, dtype=torch.int64)
    draws = torch.cat([uniform(0, step, index, "test", 1) for step in range(5000)])[:, 0].double()
    assert abs(draws.mean().item() - 0.5) < 5 / np.sqrt(12 * 5000)
    assert abs(np.corrcoef(draws[:-1].numpy(), draws[1:].numpy())[0, 1]) < 5 / np.sqrt(5000)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_draws_the_same() -> None:
    index = torch.arange(1000)
    assert torch.equal(uniform(1, 2, index, "crop", 8), uniform(1, 2, index.cuda(), "crop", 8).cpu())


@given(n=st.integers(0, 300), seed=st.integers(0, 1000), step=st.integers(0, 1000))
def test_permutation_holds_every_number_once(n: int, seed: int, step: int) -> None:
    order = permutation(n, seed, step, "source")
    assert order.dtype == np.int64
    assert (np.sort(order) == np.arange(n)).all()
    assert (order == permutation(n, seed, step, "source")).all()


def test_permutations_of_three_are_equally_likely() -> None:
    orders, counts = np.unique([permutation(3, 0, step, "test") for step in range(6000)], axis=0, return_counts=True)
    assert len(orders) == 6
    # chi-square with 5 degrees of freedom: the 99.9% point is 20.5
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5


@given(seed=st.integers(-5, 2**62), step=st.integers(0, 10**7), purpose=st.sampled_from(["step", "source"]))
def test_derived_seed_is_the_first_word_of_index_zero(seed: int, step: int, purpose: str) -> None:
    assert derived_seed(seed, step, purpose) == expected_word(seed, step, 0, purpose, 0) >> 1


def test_derived_seed_fits_where_seeds_are_wanted() -> None:
    seeds = {derived_seed(seed, step, purpose) for seed in range(10) for step in range(10) for purpose in ("a", "b")}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.Generator().manual_seed(max(seeds))  # raises where a seed is too large


def test_clock() -> None:
    # 25 steps of 8 images are 200 images, of 80 there are: 2.5 epochs; 25 of 100 steps are a quarter
    clock = Clock(step=25, total=100, images_per_step=8, n_images=80)
    assert clock.epoch == 2.5
    assert clock.progress == 0.25
    assert Clock(step=0, total=0).progress == 0
    assert Clock(step=7, total=5).progress == 1


def test_batch_moves_whole() -> None:
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([5, 9]), torch.tensor([0, 1]), "art")
    assert len(batch) == 2
    moved = batch.to(torch.device("meta"))
    assert (moved.images.device.type, moved.index.device.type, moved.labels.device.type) == ("meta",) * 3
    assert moved.domain == "art"
    assert Batch(batch.images, batch.index, None, "art").to(torch.device("meta")).labels is None
