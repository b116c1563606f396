"""Classifier heads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CosineClassifier(nn.Module):
    """Cosine similarity to one row a class, divided by a temperature: (B, dim) → (B, classes) logits.

    The head of MME and DANCE (Saito et al., NeurIPS 2020, section 3.1). Rows are normalized in the forward pass;
    with `normalize_rows=False` the rows count as they stand and `normalize_` renews them, as DANCE's code does once a
    step.
    """

    def __init__(self, dim: int, classes: int, temperature: float = 0.05, normalize_rows: bool = True):
        super().__init__()
        # Unit rows: the gradient of a normalized row is divided by its norm, so the norm at the start sets the rate.
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, dim)))
        self.temperature, self.normalize_rows = temperature, normalize_rows

    def forward(self, features: Tensor) -> Tensor:
        """Return cos(features, rows) ÷ temperature; features are normalized here."""
        rows = F.normalize(self.weight) if self.normalize_rows else self.weight
        return F.normalize(features) @ rows.T / self.temperature

    @torch.no_grad()
    def normalize_(self) -> None:
        """Normalize the rows in place."""
        self.weight.copy_(F.normalize(self.weight))
