"""An encoder that ends at an inner layer of another."""

import torch
from torch import Tensor, nn

from uda.errors import unknown_name
from uda.nn.encoder import Encoder, TimmEncoder


class LayerEncoder(Encoder):
    """The output of one module of a timm backbone, averaged over places or tokens: (B, 3, H, W) → (B, C).

    layer: the module's name as in `named_modules` ("stages.1", "blocks.3"); UserError where there is none. Outputs of
    (B, C, h, w), (B, L, C) and (B, C) are understood.
    """

    def __init__(self, encoder: TimmEncoder, layer: str):
        super().__init__()
        modules = {name: module for name, module in encoder.backbone.named_modules() if name}
        if layer not in modules:
            where = f'python -c "import timm; print(timm.create_model({encoder.name!r}))"'
            raise unknown_name(f"layer of {encoder.name}", layer, modules, where)
        self.encoder, self.layer = encoder, layer
        self._module: nn.Module = modules[layer]

    def forward(self, views: Tensor) -> Tensor:
        """Return the layer's pooled output (B, C)."""
        seen: list[Tensor] = []
        handle = self._module.register_forward_hook(lambda _, inputs, output: seen.append(output))
        try:
            self.encoder(views)
        finally:
            handle.remove()
        output = seen[-1]
        if output.ndim == 4:
            return output.mean(dim=(2, 3))
        return output.mean(dim=1) if output.ndim == 3 else torch.flatten(output, 1)
