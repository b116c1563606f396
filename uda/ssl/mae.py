"""Masked autoencoder."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder, TimmEncoder
from uda.random import uniform
from uda.ssl.objective import Info, Loss, Need, Objective, Views


@dataclass(frozen=True)
class MaskedViews(Views):
    """order: (B, L) the patches of each image in random order, of which the encoder sees the first."""

    order: Tensor | None = None


class MaskedAutoencoder(Objective):
    """Paint the patches that a ViT has not seen from the quarter that it has (He et al., CVPR 2022, section 3).

    The encoder works on the visible patches alone; a small transformer, which is thrown away, sees its tokens and one
    learned token in each gap, all with fixed positions, and paints every patch. Each target patch is normalized by its
    own mean and variance, and only unseen ones count. mask: share of patches unseen; the decoder has `depth` blocks of
    `width` channels (published: 8 of 512, for images of 224 pixels).
    Works with any of timm's VisionTransformer; there is `smallvit` for images of 32 pixels.
    """

    name: ClassVar[str] = "mae"
    needs: ClassVar[Need] = Need.PIXELS | Need.TOKENS
    positions: Tensor

    def __init__(
        self,
        encoder: Encoder,
        info: Info,
        *,
        mask: Annotated[float, Field(gt=0, lt=1)] = 0.75,
        width: Annotated[int, Field(ge=32, multiple_of=32)] = 128,
        depth: Annotated[int, Field(ge=1)] = 4,
        normalize: bool = True,
    ):
        super().__init__(encoder, info)
        vit = _vit(encoder)
        self.patch, self.normalize = vit.patch_embed.patch_size[0], normalize
        side = info.image_size // self.patch
        self.visible = round(side * side * (1 - mask))
        if not 0 < self.visible < side * side:
            raise UserError(
                f"objective 'mae' has {side * side} patches an image, of which mask={mask:g} leaves {self.visible} to "
                "see; choose another mae.mask, a larger --image-size or a backbone of smaller patches"
            )
        self.embed = nn.Linear(vit.embed_dim, width)
        self.gap = nn.Parameter(0.02 * torch.randn(width))
        self.register_buffer("positions", build_sincos2d_pos_embed([side, side], dim=width), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, num_heads=width // 32, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.paint = nn.Linear(width, 3 * self.patch**2)

    def views(self, batch: Batch, clock: Clock) -> Views:
        """The task's own view, and which of its patches are seen; targets: all patches, (B, L, 3p²)."""
        images = self.info.augment(batch, clock)
        patches = to_patches(images, self.patch)
        draws = uniform(clock.seed, clock.step, batch.index, f"mae/{batch.domain}", patches.shape[1])
        targets = normalized(patches) if self.normalize else patches
        return MaskedViews(images, targets=targets, order=draws.argsort(dim=1, stable=True))

    def encode(self, encoder: Encoder, views: Views) -> Tensor:
        """Return the tokens of visible patches in their random order, after the ViT's own (class, registers)."""
        assert isinstance(encoder, TimmEncoder)  # the constructor has looked
        assert isinstance(views, MaskedViews)  # this class made them
        assert views.order is not None
        vit = _vit(encoder)
        tokens = vit._pos_embed(vit.patch_embed((views.images - encoder.mean) / encoder.std))
        own = vit.num_prefix_tokens
        seen = taken(tokens[:, own:], views.order[:, : self.visible])
        tokens = vit.norm_pre(torch.cat([tokens[:, :own], seen], dim=1))
        return vit.norm(vit.blocks(tokens))

    def loss(self, features: Tensor, views: Views) -> Loss:
        """Squared error of the unseen patches, mean over their pixels."""
        assert isinstance(views, MaskedViews)  # this class made them
        assert views.order is not None
        assert views.targets is not None
        unseen = views.order[:, self.visible :]
        painted = taken(self.decode(features, views.order), unseen).float()
        return Loss((painted - taken(views.targets, unseen)).square().mean())

    def decode(self, features: Tensor, order: Tensor) -> Tensor:
        """Return all patches as the decoder paints them, in their places: (B, L, 3p²)."""
        tokens = self.embed(features)
        own, seen = tokens.split([tokens.shape[1] - self.visible, self.visible], dim=1)
        gaps = self.gap.to(tokens.dtype).expand(len(tokens), order.shape[1] - self.visible, -1)
        places = taken(torch.cat([seen, gaps], dim=1), order.argsort(1)) + self.positions
        return self.paint(self.norm(self.blocks(torch.cat([own, places], dim=1)))[:, own.shape[1] :])


def taken(rows: Tensor, order: Tensor) -> Tensor:
    """Take those rows of each image: (B, L, D) and (B, K) → (B, K, D)."""
    return rows.gather(1, order[:, :, None].expand(-1, -1, rows.shape[-1]))


def to_patches(images: Tensor, patch: int) -> Tensor:
    """Cut images into patches, row by row: (B, 3, S, S) → (B, (S/p)², 3p²)."""
    cut = images.unflatten(2, (-1, patch)).unflatten(4, (-1, patch))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def normalized(patches: Tensor) -> Tensor:
    """Give each patch the mean 0 and the variance 1, (…, D)."""
    centered = patches - patches.mean(-1, keepdim=True)
    return centered / (patches.var(-1, keepdim=True) + 1e-6).sqrt()


def _vit(encoder: Encoder) -> VisionTransformer:
    backbone = getattr(encoder, "backbone", None)
    if not isinstance(backbone, VisionTransformer):
        raise UserError(
            "objective 'mae' needs one of timm's VisionTransformer models as backbone; choose --backbone smallvit for "
            "small images or vit_small_patch16_224 for large ones"
        )
    return backbone
