import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from tests.report.reading import pixels
from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.report.attention import attention_figure, cls_attention

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 0}


def vit(**options: object) -> nn.Module:
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(**(SMALL | options))
    for parameter in model.parameters():  # at timm's start attention is nearly even, which would hide mistakes
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return model


def images(n: int = 2, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(1))


def timms_own(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the softmax (B, heads, L, L) that timm computes in the last block when attention is not fused."""
    attention, found = model.blocks[-1].attn, []
    attention.fused_attn = False
    handle = attention.attn_drop.register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))
    with torch.no_grad():
        model.eval()(batch)
    handle.remove()
    return found[0]


@pytest.mark.parametrize(
    "options", [{}, {"qk_norm": True}, {"qkv_bias": False}, {"reg_tokens": 4}, {"init_values": 1e-1}]
)
def test_maps_are_timms_own_attention(options: dict[str, object]) -> None:
    found = cls_attention(vit(**options), images())
    expected = timms_own(vit(**options), images())[:, :, 0, 1 + int(str(options.get("reg_tokens", 0))) :]
    assert found.shape == (2, 3, 4, 4)
    assert found.dtype == np.float32
    assert np.abs(found - expected.unflatten(2, (4, 4)).numpy()).max() < 1e-6
    assert (found.sum(axis=(2, 3)) < 1).all()
    assert found.std() > 0.01


def test_maps_lie_the_way_the_image_does() -> None:
    model = vit(dynamic_img_size=True, class_token=True)
    wide = cls_attention(model, images(1, 16, 48))
    assert wide.shape == (1, 3, 2, 6)
    # No position embedding, and values that depend on nothing but the patch: moving a patch moves its weight.
    model = vit(depth=1)
    nn.init.zeros_(model.pos_embed)
    picture = images(1)
    moved = picture.clone()
    moved[:, :, :8, 8:16], moved[:, :, 24:, :8] = picture[:, :, 24:, :8], picture[:, :, :8, 8:16]
    before, after = cls_attention(model, picture), cls_attention(model, moved)
    assert after[0, :, 0, 1] == pytest.approx(before[0, :, 3, 0], abs=1e-6)
    assert after[0, :, 3, 0] == pytest.approx(before[0, :, 0, 1], abs=1e-6)
    assert np.abs(before[0, :, 0, 1] - before[0, :, 3, 0]).max() > 1e-3


def test_the_model_is_left_as_it_was() -> None:
    model = vit(attn_drop_rate=0.5, pos_drop_rate=0.5).train()
    model.blocks[0].eval()
    modes = [module.training for module in model.modules()]
    fused = [block.attn.fused_attn for block in model.blocks]
    first, second = cls_attention(model, images()), cls_attention(model, images())
    assert np.array_equal(first, second)  # no dropout
    assert [module.training for module in model.modules()] == modes
    assert [block.attn.fused_attn for block in model.blocks] == fused
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_it_is_left_so_after_a_failure_too() -> None:
    model = vit().train()
    with pytest.raises(AssertionError):
        cls_attention(model, images(1, 24, 24))
    assert model.training
    assert not model.blocks[-1].attn._forward_pre_hooks


def test_an_encoder_normalizes_on_the_way() -> None:
    encoder = create_encoder("vit_tiny_patch16_224", "none", 32).eval()
    found = cls_attention(encoder, images())
    assert found.shape == (2, 3, 2, 2)
    expected = cls_attention(encoder.backbone, (images() - encoder.mean) / encoder.std)
    assert np.abs(found - expected).max() < 1e-6


def test_models_without_such_attention_are_refused() -> None:
    with pytest.raises(UserError, match="'smallconv' cannot be drawn: it is no vision transformer with plain self-att"):
        cls_attention(create_encoder("smallconv", "none", 32), images())
    with pytest.raises(UserError, match="'VisionTransformer' cannot be drawn: it has no class token; take vit_tiny"):
        cls_attention(vit(class_token=False, global_pool="avg"), images())
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, img_size=56, window_size=7, embed_dim=12, depths=(1, 1, 1, 1)
    )
    with pytest.raises(UserError, match="'SwinTransformer' cannot be drawn: it is no vision transformer"):
        cls_attention(swin, images(1, 56, 56))
    with pytest.raises(UserError, match="has 9 tokens, not 1 and 16 patches; take a ViT that drops no patches"):
        cls_attention(Halved(vit()), images())


class Halved(nn.Module):
    """A ViT that drops half its patches before the blocks."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        model.norm_pre = Half()

    def forward(self, batch: Tensor) -> Tensor:
        return self.model(batch)


class Half(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, :9]


def test_a_figure_has_a_row_for_each_image_and_a_panel_for_each_head() -> None:
    uint8 = (images(3) * 255).to(torch.uint8).numpy()
    maps = np.random.default_rng(0).random((3, 4, 4, 4)).astype(np.float32)
    three = pixels(attention_figure(uint8, maps))
    one = pixels(attention_figure(uint8[:1], maps[:1]))
    assert three.shape[0] > 2.2 * one.shape[0]
    assert three.shape[1] == one.shape[1]
    assert pixels(attention_figure(uint8, maps, most_heads=2)).shape[1] * 6 == pytest.approx(
        three.shape[1] * 4, rel=0.01
    )
    assert attention_figure(uint8, maps) == attention_figure(uint8, maps)


def test_the_brightest_patch_is_where_the_attention_is() -> None:
    maps = np.zeros((1, 1, 2, 2))
    maps[0, 0, 1, 0] = 0.3  # below left
    drawn = pixels(attention_figure(np.zeros((1, 3, 8, 8), dtype=np.uint8), maps))
    yellow = (np.abs(drawn - [253, 231, 36]).max(axis=2) < 25).astype(int)
    dark = (np.abs(drawn - [68, 1, 84]).max(axis=2) < 25).astype(int)
    rows, columns = np.nonzero(yellow)
    dark_rows, dark_columns = np.nonzero(dark)
    assert len(rows) > 1000
    assert rows.mean() > dark_rows.mean()
    assert columns.mean() < dark_columns.mean()


def test_maps_of_zeros_can_be_drawn_and_ones_that_do_not_fit_are_refused() -> None:
    blank = np.zeros((2, 3, 8, 16), dtype=np.uint8)
    pixels(attention_figure(blank, np.zeros((2, 1, 2, 4))))
    with pytest.raises(ValueError, match=r"2 images and maps of the shape \(1, 1, 2, 4\)"):
        attention_figure(blank, np.zeros((1, 1, 2, 4)))
