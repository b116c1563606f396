"""Randomness without state: every draw is a hash of (seed, step, image index, purpose).

Nothing has to be saved to resume, the draw for an image does not depend on the batch it is in, and CPU and CUDA agree.
The generator is splitmix64 (Steele, Lea and Flood, OOPSLA 2014) used as a counter-based hash.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15, the golden ratio in 64 bits, as int64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_WORD = (1 << 64) - 1


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch shifts arithmetically)."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """Mix in place: where memory is the limit, as for noise by the pixel, this takes half the time."""
    x ^= _shift(x, 30)
    x *= _MIX_1
    x ^= _shift(x, 27)
    x *= _MIX_2
    x ^= _shift(x, 31)
    return x


def purpose_key(purpose: str) -> int:
    """Return the 32-bit number by which a purpose ("flip", "source") enters the hash; the same on every machine."""
    return zlib.crc32(purpose.encode())


def hash_bits(seed: int, step: int, index: Tensor, purpose: str, draws: int) -> Tensor:
    """Return `draws` independent 64-bit words for each index: (B,) int64 → (B, draws) int64."""
    state = _signed(_state(seed, step, purpose))
    state_of_each = _mix(index.to(torch.int64) * _GAMMA + state)[:, None]
    counter = torch.arange(1, draws + 1, dtype=torch.int64, device=index.device)[None]
    return _mix(state_of_each + counter.mul_(_GAMMA))


def _state(seed: int, step: int, purpose: str) -> int:
    """Return what all indices share, in Python's integers: operations on a tensor of one take far longer."""
    state = seed
    for key in (step, purpose_key(purpose)):
        state = _mixed(state * _GAMMA + key + 1)
    return state


def _mixed(x: int) -> int:
    """`_mix` of one number, to 0 … 2⁶⁴ − 1."""
    x &= _WORD
    x = ((x ^ (x >> 30)) * _MIX_1) & _WORD
    x = ((x ^ (x >> 27)) * _MIX_2) & _WORD
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x


def uniform(seed: int, step: int, index: Tensor, purpose: str, draws: int) -> Tensor:
    """Return uniform float32 draws in [0, 1), `draws` for each image: (B,) int64 → (B, draws)."""
    return _shift(hash_bits(seed, step, index, purpose, draws), 40).to(torch.float32) * 2.0**-24


def permutation(n: int, seed: int, step: int, purpose: str) -> np.ndarray:
    """Return a permutation of 0 … n−1 that depends on (seed, step, purpose) alone, (n,) int64."""
    words = hash_bits(seed, step, torch.arange(n), purpose, 1)[:, 0].numpy()
    return np.argsort(words, kind="stable").astype(np.int64)


def derived_seed(seed: int, step: int, purpose: str) -> int:
    """Return a 63-bit seed for a library that wants one (torch.manual_seed, scikit-learn's random_state)."""
    return _mixed(_mixed(_state(seed, step, purpose)) + _GAMMA) >> 1  # the first word of index 0
