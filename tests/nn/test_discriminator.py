"""Discriminators: an encoder like any other, spectral norm, projection."""

import pytest
import torch

from uda.nn.discriminator import Discriminator
from uda.nn.encoder import Encoder


@pytest.mark.parametrize(("size", "side"), [(32, 8), (64, 2)])
def test_it_is_an_encoder(size: int, side: int) -> None:
    torch.manual_seed(0)
    network = Discriminator(size, width=16)
    views = torch.rand(2, 3, size, size)
    assert isinstance(network, Encoder)
    network.eval()  # power iteration goes on in training, one step a pass
    maps = network.map(views)
    assert maps.shape == (2, 16, side, side)
    assert maps.min() == 0
    features = network(views)
    assert torch.allclose(features, maps.sum(dim=(2, 3)))
    assert torch.equal(network.pool(maps), features)
    assert network.score(features).shape == (2,)


def test_published_widths() -> None:
    assert Discriminator(32).dim == 128
    large = Discriminator(64)
    assert [block.second.weight.shape[0] for block in large.blocks] == [64, 128, 256, 512, 1024]


@pytest.mark.parametrize("size", [32, 64])
def test_every_layer_comes_to_spectral_norm_one(size: int) -> None:
    torch.manual_seed(0)
    network = Discriminator(size, width=16, n_classes=3)
    for _ in range(30):
        network.score(network(torch.rand(1, 3, size, size)), torch.tensor([1]))
    layers = [layer for layer in network.eval().modules() if "parametrizations" in dict(layer.named_children())]
    norms = [float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) for layer in layers]  # type: ignore
    blocks = {32: 3 + 3 + 2 + 2, 64: 5 * 3}[size]  # three convolutions each, two where nothing is halved or widened
    assert len(norms) == blocks + 2  # and those of the score
    assert norms == pytest.approx([1.0] * len(norms), abs=0.02)


def test_pixels_are_centered() -> None:
    network = Discriminator(32, width=4)
    for layer in network.blocks.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    assert network(torch.full((1, 3, 32, 32), 0.5)).abs().max() == 0  # gray is zero


def test_the_score_with_classes_is_a_projection() -> None:
    torch.manual_seed(0)
    network = Discriminator(32, width=4, n_classes=2).eval()
    features, classes = torch.randn(3, 4), torch.tensor([0, 1, 1])
    assert network.classes is not None
    rows = network.classes.weight[classes]
    plain = features @ network.judge.weight[0] + network.judge.bias
    assert torch.allclose(network.score(features, classes), plain + (rows * features).sum(1), atol=1e-6)
