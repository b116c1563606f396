"""Encoders that end at an inner layer."""

import pytest
import torch

from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.nn.layer import LayerEncoder


def views(size: int = 32) -> torch.Tensor:
    return torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("backbone", "layer", "dim"),
    [
        ("smallconv", "stages.0", 32),
        ("smallconv", "stages.2", 128),
        ("test_vit", "blocks.0", 64),
        ("test_vit", "patch_embed", 64),  # (B, h, w, C), and below it (B, C, h, w)
        ("test_vit", "patch_embed.proj", 64),
    ],
)
@torch.no_grad()
def test_the_width_is_that_of_the_layer(backbone: str, layer: str, dim: int) -> None:
    encoder = LayerEncoder(create_encoder(backbone, "none", 32), layer).eval()
    assert encoder(views()).shape == (3, dim)


@torch.no_grad()
def test_the_last_map_averaged_is_the_pooled_feature() -> None:
    encoder = create_encoder("smallconv", "none", 32).eval()
    assert torch.allclose(LayerEncoder(encoder, "stages")(views()), encoder(views()), atol=1e-6)


@torch.no_grad()
def test_tokens_are_averaged() -> None:
    encoder = create_encoder("test_vit", "none", 32).eval()
    tokens = encoder.map(views())  # what the last norm gives
    assert torch.allclose(LayerEncoder(encoder, "norm")(views()), tokens.mean(dim=1), atol=1e-6)


@torch.no_grad()
def test_maps_with_channels_last_are_averaged_over_places() -> None:
    encoder = create_encoder("swin_tiny_patch4_window7_224", "none", 224).eval()
    x = views(224)[:1]
    found = LayerEncoder(encoder, "layers.0")(x)
    assert found.shape == (1, 96)
    assert torch.allclose(LayerEncoder(encoder, "norm")(x), encoder.map(x).mean(dim=(1, 2)), atol=1e-6)


@torch.no_grad()
def test_a_layer_of_pooled_features_is_taken_as_it_is() -> None:
    encoder = create_encoder("test_resnet", "none", 32).eval()
    assert torch.equal(LayerEncoder(encoder, "global_pool")(views()), encoder(views()))


def test_gradients_pass_and_no_hook_stays() -> None:
    encoder = create_encoder("smallconv", "none", 32)
    inner = LayerEncoder(encoder, "stages.0")
    inner(views()).sum().backward()
    assert encoder.backbone.stages[0][0].weight.grad is not None
    assert encoder.backbone.stages[2][0][0].weight.grad is None
    assert not encoder.backbone.stages[0]._forward_hooks


def test_a_layer_that_does_not_exist_is_refused_with_the_nearest() -> None:
    encoder = create_encoder("smallconv", "none", 32)
    with pytest.raises(UserError, match=r"unknown layer of smallconv 'stages.7': did you mean stages\.\d.*print\(timm"):
        LayerEncoder(encoder, "stages.7")
    with pytest.raises(UserError, match="unknown layer"):
        LayerEncoder(encoder, "")


@torch.no_grad()
def test_a_layer_that_gives_no_features_is_refused() -> None:
    encoder = create_encoder("test_vit", "none", 32)
    inner = LayerEncoder(encoder, "blocks.0.attn.attn_drop")  # passed by where attention is fused
    encoder.backbone.blocks[0].attn.fused_attn = True
    sentence = "layer 'blocks.0.attn.attn_drop' of test_vit gives no features of each image; name another layer"
    with pytest.raises(UserError, match=sentence):
        inner(views())
