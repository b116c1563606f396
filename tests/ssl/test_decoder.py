import pytest
import torch

from uda.ssl.decoder import Decoder, painted_size, shrunk


@pytest.mark.parametrize(("size", "painted"), [(8, 8), (28, 28), (32, 32), (64, 64), (65, 33), (96, 48), (224, 56)])
def test_large_images_are_painted_at_half_the_size_or_less(size: int, painted: int) -> None:
    assert painted_size(size) == painted
    assert shrunk(torch.rand(2, 3, size, size)).shape == (2, 3, painted, painted)
    images = Decoder(5, size, width=16)(torch.randn(2, 5))
    assert images.shape == (2, 3, painted, painted)
    assert images.min() > 0
    assert images.max() < 1


def test_shrinking_takes_the_mean_of_the_pixels_covered() -> None:
    image = torch.zeros(1, 3, 96, 96)
    image[:, :, ::2, ::2] = 1.0
    assert torch.allclose(shrunk(image), torch.full((1, 3, 48, 48), 0.25))
    small = torch.rand(1, 3, 32, 32)
    assert shrunk(small) is small


def test_all_of_it_is_trained() -> None:
    decoder = Decoder(6, 32)
    decoder(torch.randn(4, 6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoder.parameters())
    # 8 pixels doubled twice, half the channels each time, then the three colors
    convolutions = [m for m in decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(128, 64), (64, 32), (32, 3)]
