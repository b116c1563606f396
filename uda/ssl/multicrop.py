"""Multi-crop: further, smaller views of the same images (Caron et al., NeurIPS 2020, section 3.2)."""

import copy

import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import Encoder
from uda.ssl.objective import Info


def small_size(image_size: int) -> int:
    """Return the side of a small crop: the papers' 96 of 224 pixels, to the nearest multiple of 16."""
    return max(16, round(image_size * 96 / 224 / 16) * 16)


def small_crops(
    info: Info, batch: Batch, clock: Clock, count: int, size: int, scale: tuple[float, float]
) -> Tensor | None:
    """Return `count` small views of the batch one after the other, (count · B, 3, size, size); None for no crops."""
    if not count:
        return None
    return torch.cat([info.random_view(batch, clock, f"small {k}", size=size, scale=scale) for k in range(count)])


@torch.no_grad()
def check_crops(objective: str, encoder: Encoder, size: int) -> None:
    """Run a black image of that size through a copy of the encoder; UserError if the encoder cannot take it."""
    probe = copy.deepcopy(encoder).eval()
    device = next(encoder.parameters()).device
    try:
        probe(torch.zeros(1, 3, size, size, device=device))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"objective '{objective}' shows the backbone crops of {size} pixels, which it cannot take "
            f"({str(error)[:120]}); set its option local_size to what it can take, or local_crops to 0"
        ) from error
