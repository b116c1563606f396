"""DANCE's neighborhood clustering, over a memory that is looked through block by block."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from uda.ssl.functional.precision import precise

_NO_LESS = -1e4  # of a log-probability: e to the power of it is 0 in every precision, and 0 · −1e4 is 0


def neighborhood_clustering(
    features: Tensor,
    logits: Tensor,
    memory: Tensor,
    index: Tensor,
    temperature: float = 0.05,
    eps: float = 0.0,
    rows_at_once: int | None = None,
) -> Tensor:
    """Return the mean entropy of each target feature's similarity to classes, memory and batch.

    Saito et al., "Universal domain adaptation through self-supervision" (DANCE), NeurIPS 2020, equations 2 to 5.

    features: (B, D), normalized here; logits: (B, K), already divided by the temperature; memory: (N, D) as stored, in
    any precision, carries no gradient; index: (B,) the features' rows of the memory. A feature is compared with neither
    itself nor any stored row of this batch: those similarities count as −1. The entropy is exact; `eps` is what the
    published code adds inside the logarithm (1e-5).
    rows_at_once: of the memory, None: as many as make a block of moderate size. What is needed beside the memory does
    not grow with N, neither here nor in the backward pass, which computes the similarities anew.
    """
    if logits.shape[0] != features.shape[0] or memory.shape[1] != features.shape[1]:
        shapes = [tuple(x.shape) for x in (features, logits, memory)]
        raise ValueError("features {}, logits {} and memory {} do not fit".format(*shapes))
    features = F.normalize(precise(features))
    itself = index[:, None] == index[None]  # the diagonal, and an image that a batch holds twice
    batch = (features @ features.T).masked_fill(itself, -1.0)
    near = torch.cat([precise(logits), precise(batch) / temperature], dim=1)
    device = features.device.type
    product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
    block = rows_at_once or max(1, (2**25 if features.is_cuda else 2**21) // max(features.shape))
    blocks = _Blocks(memory.detach(), index, temperature, product, block)
    with torch.autocast(device, enabled=False):  # which the backward pass would not have
        return _EntropyWithMemory.apply(near, features, blocks, eps).mean()


class _EntropyWithMemory(torch.autograd.Function):
    """The entropy of softmax([near, features · memory / temperature]), (B,), of near (B, L) and features (B, D)."""

    @staticmethod
    def forward(ctx: Any, near: Tensor, features: Tensor, blocks: "_Blocks", eps: float) -> Tensor:
        total_log, entropy = _totals(near, features, blocks)
        if eps:
            parts = [_with_eps(_log_p(near, total_log), eps)]
            parts += [_with_eps(_log_p(z, total_log), eps) for _, z in blocks.similarities(features)]
            entropy, mean_slope = torch.stack(parts).sum(0)
        else:
            mean_slope = entropy - 1  # of −log p − 1, the slope of −p · log p
        ctx.save_for_backward(near, features, total_log, mean_slope)
        ctx.constants = blocks, eps
        return entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        near, features, total_log, mean_slope = ctx.saved_tensors
        blocks, eps = ctx.constants
        scale = gradients[0][:, None]

        def slopes(z: Tensor) -> Tensor:
            """Return the gradient by some of the logits: p · (slope − mean slope)."""
            log_p = _log_p(z, total_log)
            p = log_p.exp()
            own = -(p + eps).log() - p / (p + eps) if eps else -log_p - 1
            return own.sub_(mean_slope[:, None]).mul_(p).mul_(scale)

        moved = torch.zeros_like(features)
        for rows, z in blocks.similarities(features):
            moved += blocks.product(slopes(z).masked_fill_(blocks.masked[rows], 0.0), blocks.memory[rows])
        return slopes(near), moved / blocks.temperature, None, None


class _Blocks:
    """A memory (N, D) in blocks of rows; masked: (N,) bool, the rows of the batch itself, whose similarity is −1."""

    def __init__(self, memory: Tensor, index: Tensor, temperature: float, precision: torch.dtype, block: int):
        self.memory, self.temperature, self.precision, self.block = memory, temperature, precision, block
        self.masked = torch.zeros(len(memory), dtype=torch.bool, device=memory.device).index_fill_(0, index, True)

    def similarities(self, features: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield each block's rows, and their similarity to features (B, D) divided by the temperature, (B, rows)."""
        for start in range(0, len(self.memory), self.block):
            rows = slice(start, start + self.block)
            found = self.product(features, self.memory[rows].T)
            yield rows, found.masked_fill_(self.masked[rows], -1.0).div_(self.temperature)

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a · b in the dtype of a, computed in that which autocast asks for."""
        return (a.to(self.precision) @ b.to(self.precision)).to(a.dtype)


def _totals(near: Tensor, features: Tensor, blocks: _Blocks) -> tuple[Tensor, Tensor]:
    """Return the logarithm of Σ exp and the entropy of all logits, both (B,), in one look at each block.

    With the largest logit so far, m, it keeps S = Σ exp(z − m) and W = Σ exp(z − m) · (z − m): H = log S − W / S.
    """
    top, total, weighted = _sums(near)
    for _, z in blocks.similarities(features):
        other, more, more_weighted = _sums(z)
        highest = torch.maximum(top, other)
        kept, new = (top - highest).clamp_min(_NO_LESS), (other - highest).clamp_min(_NO_LESS)
        weighted = (weighted + kept * total) * kept.exp() + (more_weighted + new * more) * new.exp()
        total = total * kept.exp() + more * new.exp()
        top = highest
    return top + total.log(), total.log() - weighted / total


def _sums(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return m = max z, Σ exp(z − m) and Σ exp(z − m) · (z − m) of each row, (B, n) → (B,)."""
    top = z.amax(1)
    below = (z - top[:, None]).clamp_min_(_NO_LESS)
    weights = below.exp()
    return top, weights.sum(1), below.mul_(weights).sum(1)


def _log_p(z: Tensor, total_log: Tensor) -> Tensor:
    return (z - total_log[:, None]).clamp_min_(_NO_LESS)


def _with_eps(log_p: Tensor, eps: float) -> Tensor:
    """Return this part of −Σ p · log(p + eps), and of the mean of its slope by p, (2, B)."""
    p = log_p.exp()
    logs = (p + eps).log()
    return torch.stack([-(p * logs).sum(1), -(p * (logs + p / (p + eps))).sum(1)])
