import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from uda.nn import smallvit  # noqa: F401  (registers its model with timm)
from uda.nn.encoder import create_encoder


def test_timm_knows_it() -> None:
    assert timm.is_model("smallvit")
    assert isinstance(timm.create_model("smallvit"), VisionTransformer)


@pytest.mark.parametrize(("size", "tokens"), [(32, 64), (16, 16), (48, 144)])
def test_shapes_at_any_multiple_of_four_pixels(size: int, tokens: int) -> None:
    encoder = create_encoder("smallvit", "none", size)
    images = torch.rand(2, 3, size, size)
    assert encoder.dim == 96
    assert encoder.map(images).shape == (2, tokens, 96)
    assert torch.allclose(encoder(images), encoder.map(images).mean(1), atol=1e-5)


def test_the_size_of_the_model() -> None:
    model = timm.create_model("smallvit", num_classes=0)
    # a block: 96 · 288 + 288, 96² + 96, 2 · 96 · 384 + 384 + 96, and two norms of 2 · 96
    block = 96 * 288 + 288 + 96 * 96 + 96 + 2 * 96 * 384 + 384 + 96 + 4 * 96
    # patches 48 · 96 + 96, positions 64 · 96, the last norm
    assert sum(p.numel() for p in model.parameters()) == 4 * block + 49 * 96 + 64 * 96 + 2 * 96


def test_tensors_load_strictly_whatever_the_image_size() -> None:
    trained = create_encoder("smallvit", "none", 48).backbone
    model = timm.create_model("smallvit", num_classes=0)
    model.load_state_dict(trained.state_dict(), strict=True)
    images = torch.rand(2, 3, 32, 32)
    assert torch.allclose(model.eval()(images), trained.eval()(images), atol=1e-6)


def test_options_pass_through_timm() -> None:
    model = timm.create_model("smallvit", num_classes=7, depth=2)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 7)
    assert len(model.blocks) == 2
