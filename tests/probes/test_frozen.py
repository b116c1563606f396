import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from uda.nn.encoder import TimmEncoder, create_encoder
from uda.probes.frozen import cached_passes, compute_passes, image_ids, weights_hash
from uda.ssl.views import to_float


class Pixels:
    def __init__(self, n: int):
        self.pixels = torch.randint(
            0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: np.ndarray) -> Tensor:
        return self.pixels[torch.from_numpy(rows)]


class Counted:
    """A computation that says which rows it was asked for, each time it ran."""

    def __init__(self, passes: Tensor):
        self.passes, self.asked = passes, []

    def __call__(self, rows: np.ndarray) -> Tensor:
        self.asked.append(rows.tolist())
        return self.passes[:, rows]

    @property
    def runs(self) -> int:
        return len(self.asked)


def hashes(*first_bytes: int) -> np.ndarray:
    return np.repeat(np.array(first_bytes, dtype=np.uint8)[:, None], 32, axis=1)


def encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return create_encoder("smallconv", "none", 16)


def upright(pixels: Tensor, rows: Tensor) -> Tensor:
    return to_float(pixels)


def darker_by_row(pixels: Tensor, rows: Tensor) -> Tensor:
    return to_float(pixels) * (1 - rows.view(-1, 1, 1, 1) / 100)


@torch.no_grad()
def test_passes_are_the_encoders_features_of_every_view() -> None:
    model, images = encoder(), Pixels(70)  # more than one batch of 64, the last one smaller
    ids = torch.arange(70)
    passes = compute_passes(model, images, ids, [upright, darker_by_row], torch.device("cpu"), None)
    assert passes.shape == (2, 70, 128)
    assert passes.dtype == torch.float32
    everything, rows = images.pixels, torch.arange(70)
    model.eval()
    assert torch.allclose(passes[0], model(upright(everything, rows)), atol=1e-6)
    assert torch.allclose(passes[1], model(darker_by_row(everything, rows)), atol=1e-6)
    assert not torch.allclose(passes[0, 50:], passes[1, 50:], atol=1e-3)


def test_passes_leave_weights_and_statistics_alone_and_carry_no_gradient() -> None:
    model = encoder()
    before = weights_hash(model)
    passes = compute_passes(model, Pixels(3), torch.arange(3), [upright], torch.device("cpu"), None)
    assert weights_hash(model) == before
    assert not passes.requires_grad


def test_the_second_time_comes_from_the_cache(tmp_path: Path) -> None:
    compute = Counted(torch.rand(5, 2, 3).transpose(0, 1))  # not contiguous
    first = cached_passes(tmp_path, "key", hashes(1, 2, 3, 4, 5), compute)
    second = cached_passes(tmp_path, "key", hashes(1, 2, 3, 4, 5), compute)
    assert compute.runs == 1
    assert torch.equal(first, compute.passes)
    assert torch.equal(second, compute.passes)
    assert [file.suffix for file in tmp_path.rglob("*") if file.is_file()] == [".safetensors"]  # nothing half-written


def test_only_images_that_no_earlier_selection_held_are_computed(tmp_path: Path) -> None:
    compute = Counted(torch.rand(2, 4, 3))
    cached_passes(tmp_path, "key", hashes(7, 9), Counted(compute.passes[:, [1, 3]]))
    found = cached_passes(tmp_path, "key", hashes(6, 7, 8, 9), compute)
    assert compute.asked == [[0, 2]]
    assert torch.equal(found, compute.passes)


def test_images_with_the_same_content_share_their_features(tmp_path: Path) -> None:
    compute = Counted(torch.rand(1, 3, 4))
    found = cached_passes(tmp_path, "key", hashes(5, 5, 6), compute)
    assert torch.equal(found[:, 0], found[:, 1])
    assert len(compute.asked[0]) == 2


def test_another_key_is_another_file(tmp_path: Path) -> None:
    one, two = Counted(torch.zeros(1, 2, 3)), Counted(torch.ones(1, 2, 3))
    cached_passes(tmp_path, "key one", hashes(1, 2), one)
    assert torch.equal(cached_passes(tmp_path, "key two", hashes(1, 2), two), two.passes)
    assert torch.equal(cached_passes(tmp_path, "key one", hashes(1, 2), one), one.passes)
    assert (one.runs, two.runs) == (1, 1)


@pytest.mark.parametrize("keep", [0, 7, 100])
def test_a_file_that_was_cut_short_is_computed_anew_and_repaired(tmp_path: Path, keep: int) -> None:
    compute = Counted(torch.rand(2, 5, 30))
    cached_passes(tmp_path, "key", hashes(1, 2, 3, 4, 5), compute)
    (file,) = (tmp_path / "features").rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:keep])
    assert torch.equal(cached_passes(tmp_path, "key", hashes(1, 2, 3, 4, 5), compute), compute.passes)
    assert compute.runs == 2
    cached_passes(tmp_path, "key", hashes(1, 2, 3, 4, 5), compute)
    assert compute.runs == 2


def test_a_place_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    compute = Counted(torch.rand(1, 2, 3))
    for _ in range(2):
        assert torch.equal(cached_passes(tmp_path / "file", "key", hashes(1, 2), compute), compute.passes)
    assert compute.runs == 2


def test_a_full_disk_costs_only_time(tmp_path: Path) -> None:
    compute = Counted(torch.rand(4, 100, 128))  # 200 kB
    names = hashes(*range(100))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # no file may grow beyond 10 kB
    try:
        found = cached_passes(tmp_path, "key", names, compute)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(found, compute.passes)
    assert torch.equal(cached_passes(tmp_path, "key", names, compute), compute.passes)
    assert compute.runs == 2


def test_an_images_number_is_the_first_63_bits_of_its_hash() -> None:
    # eight bytes of value 1, little-endian: 0x0101010101010101 // 2; of 255: (2⁶⁴ − 1) // 2 = 2⁶³ − 1
    assert image_ids(hashes(1, 255)).tolist() == [0x0101010101010101 // 2, 2**63 - 1]


def test_the_hash_separates_weights_statistics_and_normalization() -> None:
    first, second = encoder(), encoder()
    assert weights_hash(first) == weights_hash(second)
    with torch.no_grad():
        next(second.parameters()).flatten()[0] += 1e-6
    assert weights_hash(first) != weights_hash(second)
    third = encoder()
    third.mean.add_(0.01)
    assert weights_hash(first) != weights_hash(third)
    fourth = encoder().train()
    fourth(torch.rand(2, 3, 16, 16))  # moves the running statistics
    assert weights_hash(first) != weights_hash(fourth)
