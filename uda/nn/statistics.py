"""Batch-norm statistics re-estimated on another domain."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def estimate_batch_statistics(encoder: nn.Module, views: Iterable[Tensor]) -> None:
    """Replace every batch norm's running mean and variance by their averages over batches of views (B, 3, H, W).

    AdaBN (Li et al., "Revisiting batch normalization for practical domain adaptation", ICLR workshop 2017): a network
    trained with one domain's statistics is tested with the other's. An encoder without batch norm is left as it is.
    """
    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    training = encoder.training
    encoder.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: a cumulative average
        norm.train()
    for batch in views:
        encoder(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train(training)
