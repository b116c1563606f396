"""A residual adapter for frozen features."""

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualAdapter(nn.Module):
    """x + W₂·relu(W₁·x), a bottleneck that starts as the identity because W₂ starts at zero.

    After Houlsby et al., "Parameter-efficient transfer learning for NLP", ICML 2019, section 2.1.
    (B, dim) → (B, dim).
    """

    def __init__(self, dim: int, width: int = 256):
        super().__init__()
        self.down = nn.Linear(dim, width)
        self.up = nn.Linear(width, dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted features."""
        return x + self.up(F.relu(self.down(x)))
