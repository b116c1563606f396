"""Encoders: float views in [0, 1] → features, for any timm backbone or for features computed beforehand."""

from collections.abc import Callable

import timm
import torch
from timm.models import get_arch_pretrained_cfgs
from torch import Tensor, nn

from uda.errors import UserError, unknown_name
from uda.nn import smallconv, smallvit  # noqa: F401  (they register their models with timm)
from uda.nn.adapter import ResidualAdapter
from uda.nn.weights import Weights, find_weights


class Encoder(nn.Module):
    """What every task and objective calls: (B, 3, H, W) float views in [0, 1] → (B, dim) features.

    `map` gives the unpooled (B, C, h, w) map where there is one.
    """

    dim: int

    def forward(self, views: Tensor) -> Tensor:
        """Return pooled features (B, dim)."""
        raise TypeError(f"{type(self).__name__} has no forward")

    def map(self, views: Tensor) -> Tensor:
        """Return the unpooled map (B, C, h, w), or a ViT's tokens (B, L, C)."""
        raise TypeError(f"{type(self).__name__} has no map")

    def pool(self, maps: Tensor) -> Tensor:
        """Return the pooled features (B, dim) of what `map` gave."""
        raise TypeError(f"{type(self).__name__} has no pool")

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that a recipe's backbone learning rate applies to."""
        return []


class TimmEncoder(Encoder):
    """A timm model without its classifier, behind the normalization that its weights were trained with."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, weights: Weights, image_size: int):
        super().__init__()
        self.name, self.origin = name, weights.origin
        self.backbone = _create(name)
        if weights.state is not None:
            self.backbone.load_state_dict(weights.state)
        self.register_buffer("mean", torch.tensor(weights.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(weights.std).view(1, 3, 1, 1), persistent=False)
        self.dim, self.unpooled_dims = self._probe(image_size)

    def forward(self, views: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → (B, dim)."""
        return self.backbone((views - self.mean) / self.std)

    def map(self, views: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] → the unpooled map (B, C, h, w), or a ViT's tokens (B, L, C)."""
        forward_features: Callable[[Tensor], Tensor] = self.backbone.forward_features  # type: ignore[assignment]
        return forward_features((views - self.mean) / self.std)

    def pool(self, maps: Tensor) -> Tensor:
        """(B, C, h, w), or tokens (B, L, C) → (B, dim), as the model's own forward pass does it."""
        forward_head: Callable[..., Tensor] = self.backbone.forward_head  # type: ignore[assignment]
        return forward_head(maps, pre_logits=True)

    def backbone_parameters(self) -> list[nn.Parameter]:
        """All parameters of the timm model."""
        return list(self.backbone.parameters())

    @torch.no_grad()
    def _probe(self, image_size: int) -> tuple[int, int]:
        """Return the width, and how many dimensions the unpooled features have (4: a map (B, C, h, w), 3: tokens).

        Runs one gray image through, which also finds a size that the backbone cannot take.
        """
        self.backbone.eval()
        image = torch.full((1, 3, image_size, image_size), 0.5)
        try:
            features, unpooled = self(image), self.map(image)
        except (AssertionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"backbone '{self.name}' cannot take {image_size}-pixel images ({str(error)[:120]}); "
                "choose another --image-size or --backbone"
            ) from error
        finally:
            self.backbone.train()
        a_map = unpooled.ndim == 3 or (unpooled.ndim == 4 and unpooled.shape[1] >= unpooled.shape[3])  # no (B, h, w, C)
        return int(features.shape[1]), unpooled.ndim if a_map else 0


class FeatureEncoder(Encoder):
    """Frozen mode: what comes in are features, and what may move is a residual adapter that starts as the identity."""

    def __init__(self, dim: int, adapter: bool):
        super().__init__()
        self.dim = dim
        self.adapter = ResidualAdapter(dim) if adapter else nn.Identity()

    def forward(self, views: Tensor) -> Tensor:
        """(B, dim) precomputed features → (B, dim)."""
        return self.adapter(views)


def _create(name: str) -> nn.Module:
    """Create a timm model; ViTs take any image size and keep their native position embeddings for export."""
    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:
        return timm.create_model(name, num_classes=0)


def create_encoder(name: str, weights: str | None, image_size: int) -> TimmEncoder:
    """Return the encoder for a timm name with weights found in the documented order (see `uda.nn.weights`).

    Raises UserError for a name timm does not know, weights that cannot be had, or an image size that does not fit.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_name("backbone", name, timm.list_models(), "python -c 'import timm; print(timm.list_models())'")
    tagged = get_arch_pretrained_cfgs(architecture)
    if tag and name not in tagged:
        raise unknown_name("backbone", name, [architecture, *tagged], "what follows the dot names a set of weights")
    return TimmEncoder(name, find_weights(name, weights), image_size)
