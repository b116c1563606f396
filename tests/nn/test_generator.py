"""Generators: shapes, latents, batch norm by classes, statistics of an average, the file."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from uda.errors import UserError
from uda.nn.generator import (
    ClassNorm,
    Generator,
    UpBlock,
    gather_statistics,
    latents,
    load_generator,
    random_classes,
)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("n_classes", [0, 3])
def test_images_of_both_sizes_lie_in_the_unit_interval(size: int, n_classes: int) -> None:
    torch.manual_seed(0)
    generator = Generator(size, dim=8, width=16, n_classes=n_classes)
    images = generator(torch.randn(2, 8), torch.tensor([0, 2]) if n_classes else None)
    assert images.shape == (2, 3, size, size)
    assert 0 <= images.min() < images.max() <= 1


def test_published_widths() -> None:
    small, large = Generator(32), Generator(64)
    assert [block.second.weight.shape[:2] for block in small.blocks] == [(256, 256)] * 3
    assert [block.second.weight.shape[0] for block in large.blocks] == [512, 256, 128, 64]
    assert small.start.weight.shape == (256 * 16, 128)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="give --image-size 32 or 64"):
        Generator(48)


def test_latents_are_standard_normal_and_each_index_has_its_own() -> None:
    z = latents(torch.arange(4000), 8, seed=0, step=3, purpose="z")
    assert z.mean(0).abs().max() < 0.06  # standard error 0.016
    assert (z.std(0) - 1).abs().max() < 0.05
    correlations = torch.corrcoef(z.T) - torch.eye(8)
    assert correlations.abs().max() < 0.07
    assert torch.equal(latents(torch.tensor([17]), 8, 0, 3, "z")[0], z[17])
    assert not torch.equal(latents(torch.tensor([17]), 8, 0, 4, "z")[0], z[17])
    # kurtosis 3: Box and Muller's two draws make a normal variable, not a mere symmetric one
    assert (z**4).mean() == pytest.approx(3, abs=0.25)


def test_random_classes_are_even() -> None:
    counts = torch.bincount(random_classes(torch.arange(3000), 3, 0, 0, "c"), minlength=3)
    assert counts.sum() == 3000
    assert (counts - 1000).abs().max() < 100  # standard deviation 26


def test_class_norm_is_plain_batch_norm_until_classes_differ() -> None:
    x, classes = torch.randn(6, 2, 3, 3), torch.tensor([0, 1, 0, 1, 0, 1])
    norm = ClassNorm(2, 2)
    plain = ClassNorm(2, 0)(x, None)
    assert torch.allclose(norm(x, classes), plain, atol=1e-6)
    with torch.no_grad():
        norm.scale.weight[1] = 2.0  # type: ignore[union-attr]
        norm.shift.weight[1] = 3.0  # type: ignore[union-attr]
    assert torch.allclose(norm(x, classes)[1::2], 2 * plain[1::2] + 3, atol=1e-5)
    assert torch.allclose(norm(x, classes)[::2], plain[::2], atol=1e-6)


def test_an_up_block_of_zero_weights_is_the_enlarged_shortcut() -> None:
    block = UpBlock(1, 1, 0)
    with torch.no_grad():
        for layer in (block.first, block.second):
            layer.weight.zero_()
        block.beside.weight.fill_(2.0)
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert block(x, None)[0, 0].tolist() == [[2, 2, 4, 4], [2, 2, 4, 4], [6, 6, 8, 8], [6, 6, 8, 8]]


def test_gathered_statistics_are_those_of_the_images_alone() -> None:
    torch.manual_seed(0)
    generator = Generator(32, dim=4, width=4)
    z = torch.randn(64, 4)
    gather_statistics(generator, iter([(z, None)]))
    once = {name: value.clone() for name, value in generator.state_dict().items()}
    for _ in range(3):
        generator.train()(torch.randn(8, 4) * 10)  # whatever it has seen before
    gather_statistics(generator, iter([(z, None)]))
    assert all(torch.equal(value, once[name]) for name, value in generator.state_dict().items())
    assert not generator.training
    # normalized by the statistics of the very batch: as in training mode, but for n − 1 in the variance
    assert torch.allclose(generator(z), generator.train()(z), atol=2e-3)


@pytest.mark.parametrize(
    ("n_classes", "given", "said"), [(3, None, r"give it classes \(B,\) in 0 … 2"), (0, [1], "give it no classes")]
)
def test_classes_that_do_not_fit_are_named(n_classes: int, given: list[int] | None, said: str) -> None:
    generator = Generator(32, width=8, n_classes=n_classes)
    with pytest.raises(ValueError, match=said):
        generator(torch.zeros(1, 128), None if given is None else torch.tensor(given))


def test_a_file_is_loaded_again(tmp_path: Path) -> None:
    generator = Generator(32, dim=4, width=4, n_classes=2).eval()
    save_file(generator.state_dict(), tmp_path / "generator.safetensors", metadata=generator.metadata)
    z, classes = torch.randn(2, 4), torch.tensor([0, 1])
    assert torch.equal(load_generator(tmp_path / "generator.safetensors")(z, classes), generator(z, classes))
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("other.safetensors", "none.safetensors"):
        with pytest.raises(UserError, match=r"is no generator\.safetensors"):
            load_generator(tmp_path / name)
