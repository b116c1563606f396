"""An encoder that ends at an inner layer of another."""

from torch import Tensor, nn

from uda.errors import UserError, unknown_name
from uda.nn.encoder import Encoder, TimmEncoder

_PLACES: dict[int, tuple[int, ...]] = {2: (), 3: (1,), 4: (2, 3)}


class LayerEncoder(Encoder):
    """The output of one module of a timm backbone, averaged over places or tokens: (B, 3, H, W) → (B, C).

    layer: the module's name as in `named_modules` ("stages.1", "blocks.3"); UserError where there is none, or none that
    gives features. Outputs of (B, C, h, w), (B, L, C) and (B, C) are understood, and where views are square
    (B, h, w, C) too, as Swin and the patch embedding of ViTs have it.
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
        seen: list[object] = []
        handle = self._module.register_forward_hook(lambda _, inputs, output: seen.append(output))
        try:
            self.encoder(views)
        finally:
            handle.remove()
        output = seen[-1] if seen else None  # fused attention passes its dropout by
        if not isinstance(output, Tensor) or output.ndim not in _PLACES or len(output) != len(views):
            raise UserError(
                f"layer '{self.layer}' of {self.encoder.name} gives no features of each image; name another layer"
            )
        last = output.ndim == 4 and output.shape[1] == output.shape[2] != output.shape[3]
        places = (1, 2) if last else _PLACES[output.ndim]
        return output.mean(dim=places) if places else output
