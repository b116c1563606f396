"""Classifier heads."""

import pytest
import torch

from uda.nn.heads import CosineClassifier, ScaledCosineClassifier


@pytest.mark.parametrize("kind", [CosineClassifier, ScaledCosineClassifier])
def test_cosines_are_not_rounded_under_autocast(kind: type[CosineClassifier] | type[ScaledCosineClassifier]) -> None:
    torch.manual_seed(0)
    head, features = kind(64, 10), torch.randn(8, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(features)
    assert torch.allclose(logits, head(features.float()), atol=1e-4)  # bfloat16's steps are 1/16 between 8 and 16
