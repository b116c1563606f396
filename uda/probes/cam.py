"""Class activation maps: where in an image the evidence for a class lies."""

import torch
from torch import Tensor, nn

from uda.nn.encoder import Encoder


def class_activation_maps(maps: Tensor, weight: Tensor, classes: Tensor) -> Tensor:
    """Return Σ_c w_kc · A_c(x, y) of each image's class k: (B, C, h, w), (K, C) and (B,) → (B, h, w).

    Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, equation 2. The mean over places
    plus the classifier's bias is the class's logit, if the classifier stands on the mean of the map.
    """
    return torch.einsum("bchw,bc->bhw", maps, weight[classes])


@torch.no_grad()
def activation_maps(encoder: Encoder, classifier: nn.Linear, views: Tensor, classes: Tensor) -> Tensor | None:
    """Return the class activation maps of views (B, 3, S, S) in [0, 1] for classes (B,), (B, h, w) float32 on the CPU.

    In evaluation mode, in which the modules are left. None where the backbone's features are not the mean of its map,
    for then such maps would not be what the classifier goes by.
    """
    encoder.eval()
    if getattr(encoder, "unpooled_dims", 0) != 4:
        return None
    maps, features = encoder.map(views), encoder(views)
    if maps.shape[:2] != features.shape or not torch.allclose(maps.mean(dim=(2, 3)), features, rtol=1e-3, atol=1e-4):
        return None
    return class_activation_maps(maps, classifier.weight, classes).float().cpu()
