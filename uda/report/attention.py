"""Where a vision transformer looks: the last block's attention of the class token (Caron et al., ICCV 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from uda.errors import UserError
from uda.report.canvas import new_figure, png_bytes


@torch.no_grad()
def cls_attention(model: nn.Module, images: Tensor) -> np.ndarray:
    """Return how much each head of the last block has the class token attend to each patch, (B, heads, h, w) float32.

    model: a timm VisionTransformer or a module around one, such as `uda.nn.encoder.TimmEncoder`; images: (B, 3, H, W)
    as `model` takes them. A head's map sums to at most 1: what is missing goes to the class token and the registers.
    The model is run in evaluation mode and left as it was. Recomputed from queries and keys, so it does not matter
    whether the model's own attention is fused. Raises UserError for a model without blocks of timm's plain attention or
    without a class token.
    """
    transformer = _transformer(model)
    attention = transformer.blocks[-1].attn
    inputs: list[Tensor] = []
    handle = attention.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    try:
        with _evaluating(model):
            model(images)
    finally:
        handle.remove()
    (tokens,) = inputs
    prefix = int(transformer.num_prefix_tokens)
    height, width = transformer.patch_embed.dynamic_feat_size(tuple(images.shape[-2:]))
    if tokens.shape[1] != prefix + height * width:
        raise UserError(
            f"attention cannot be drawn: the last block has {tokens.shape[1]} tokens, not {prefix} and "
            f"{height * width} patches; take a ViT that drops no patches"
        )
    weights = _class_token_weights(attention, tokens)[:, :, prefix:]
    return weights.unflatten(2, (height, width)).float().cpu().numpy()


def attention_figure(images: np.ndarray, maps: np.ndarray, most_heads: int = 12) -> bytes:
    """Return a row for each image as PNG: the image, the mean over heads, then each head (the first `most_heads`).

    images: (n, 3, H, W) uint8; maps: (n, heads, h, w). Each map is drawn from 0 to its own largest value, because a
    head's scale says nothing of the next one's.
    """
    n = len(images)
    if not n or n != len(maps) or maps.ndim != 4:
        raise ValueError(f"{n} images and maps of the shape {maps.shape}: each image needs maps (heads, h, w)")
    heads = min(maps.shape[1], most_heads)
    shown = np.concatenate([maps.mean(axis=1, keepdims=True), maps[:, :heads]], axis=1)
    titles = ["image", "mean of heads", *(f"head {head + 1}" for head in range(heads))]
    side = 1.3
    figure = new_figure(side * len(titles), side * images.shape[2] / images.shape[3] * n + 0.3)
    axes = figure.subplots(n, len(titles), squeeze=False)
    for row, (image, panels) in enumerate(zip(images, shown, strict=True)):
        axes[row, 0].imshow(np.moveaxis(image, 0, -1), interpolation="antialiased")
        extent = (0, image.shape[2], image.shape[1], 0)  # patches lie over the image's pixels, whatever its shape
        for ax, panel in zip(axes[row, 1:], panels, strict=True):
            largest = float(panel.max())
            ax.imshow(panel, cmap="viridis", vmin=0, vmax=largest or 1.0, extent=extent, interpolation="nearest")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    for ax in axes.ravel():
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    return png_bytes(figure, palette=True)


def _transformer(model: nn.Module) -> Any:
    """Return the ViT in a model; UserError where there is none whose class token's attention can be read."""
    name = getattr(model, "name", type(model).__name__)
    for module in model.modules():
        blocks = getattr(module, "blocks", None)
        if isinstance(blocks, (nn.Sequential, nn.ModuleList)) and len(blocks) and hasattr(module, "patch_embed"):
            if not isinstance(getattr(blocks[-1], "attn", None), Attention):
                break
            if getattr(module, "cls_token", None) is None:
                raise UserError(
                    f"attention of '{name}' cannot be drawn: it has no class token; take vit_tiny_patch16_224"
                )
            return module
    raise UserError(
        f"attention of '{name}' cannot be drawn: it is no vision transformer with plain self-attention; take a "
        "--backbone such as vit_tiny_patch16_224"
    )


def _class_token_weights(attention: Any, tokens: Tensor) -> Tensor:
    """Return the softmax row of the first token for each head: (B, L, D) → (B, heads, L)."""
    batch, length, _ = tokens.shape
    qkv = attention.qkv(tokens).reshape(batch, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(qkv[0])[:, :, :1], attention.k_norm(qkv[1])
    return (query * attention.scale @ key.transpose(-2, -1)).softmax(-1)[:, :, 0]


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its modules back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
