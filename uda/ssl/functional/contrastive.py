"""Losses that compare: positives are drawn together and negatives driven apart.

Natural logarithm, mean over the batch. Half-precision inputs are compared in float32, also under autocast.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.ssl.functional.precision import precise

_NEVER = -math.inf


def unit(features: Tensor) -> Tensor:
    """Return features (..., D) of length 1, in float32 at least."""
    return F.normalize(precise(features), dim=-1)


def products(a: Tensor, b: Tensor) -> Tensor:
    """Return all inner products, (B, D) and (K, D) → (B, K), which autocast leaves as they are.

    Similarities are divided by temperatures of 0.1 and less, so bfloat16's 8 bits would show in the loss.
    """
    with torch.autocast(a.device.type, enabled=False):
        return precise(a) @ precise(b).T


def nt_xent(
    a: Tensor, b: Tensor, temperature: float = 0.5, normalize: bool = True, images: Tensor | None = None
) -> Tensor:
    """Return the normalized, temperature-scaled cross-entropy of two views, mean over all 2B anchors.

    Chen et al., "A simple framework for contrastive learning of visual representations" (SimCLR), ICML 2020,
    equation 1; its published code sums the two views' means, which is twice this.
    a, b: (B, D), row i of both is one image; L2-normalized here, unless for the study of what that is worth; images:
    (B,) which image that is, where one may come twice: it is no negative of itself. Collapsed features give
    log(2B − 1).
    """
    logits, positive = _two_views(a, b, temperature, normalize, images)
    return F.cross_entropy(logits, positive)


def info_nce(
    query: Tensor, positive: Tensor, negatives: Tensor, temperature: float = 0.07, exclude: Tensor | None = None
) -> Tensor:
    """Return −log(exp(q·k₊/T) / (exp(q·k₊/T) + Σ exp(q·k₋/T))), mean over the batch.

    van den Oord et al., 2018, equation 4; as He et al., "Momentum contrast", CVPR 2020, equation 1.
    query, positive: (B, D); negatives: (K, D), the same for all queries; all L2-normalized here. exclude: (B, K) bool,
    true where that row is no negative of that query.
    """
    query = unit(query)
    against = products(query, unit(negatives))
    if exclude is not None:
        against = against.masked_fill(exclude, _NEVER)
    together = (query * unit(positive)).sum(1, keepdim=True)
    logits = torch.cat([together, against], dim=1) / temperature
    return (logits.logsumexp(1) - logits[:, 0]).mean()


def hard_negative_nt_xent(
    a: Tensor,
    b: Tensor,
    temperature: float = 0.5,
    tau_plus: float = 0.1,
    beta: float = 1.0,
    images: Tensor | None = None,
) -> Tensor:
    """Return NT-Xent whose negatives count the more the closer they are, with false negatives taken off.

    Robinson et al., "Contrastive learning with hard negative samples", ICLR 2021, section 3.
    a, b: (B, D), L2-normalized here. tau_plus: probability that a "negative" is of the anchor's class; beta: how much
    harder negatives count (weights ∝ exp(β·s/T), through which the gradient flows). The N = 2B − 2 negatives' corrected
    sum is at least N·e^(−1/T), the smallest that N similarities can give. β = 0 and τ⁺ = 0 is NT-Xent exactly. images:
    (B,) which image each row is, where one may come twice: it is no negative of itself, and N is less.
    """
    logits, positive = _two_views(a, b, temperature, images=images)
    never = logits.detach().isneginf().scatter_(1, positive[:, None], True)
    # Counted in float64: τ⁺·N rounds once, as with a plain number.
    n = (~never).sum(1).double()
    # Everything is in units of e^(1/T), the largest that there can be: no temperature overflows.
    together = logits.gather(1, positive[:, None])[:, 0] - 1 / temperature
    against = (logits - 1 / temperature).masked_fill(never, _NEVER).exp()
    # A finite number, for a row without any negative shall have weights too.
    weights = (beta * logits).masked_fill(never, torch.finfo(logits.dtype).min).softmax(1)
    reweighted = n.to(logits.dtype) * (weights * against).sum(1)
    corrected = (reweighted - (tau_plus * n).to(logits.dtype) * together.exp()) / (1 - tau_plus)
    floor = (n * math.exp(-2 / temperature)).clamp_min(torch.finfo(logits.dtype).tiny).to(logits.dtype)
    return (torch.logaddexp(together, corrected.maximum(floor).log()) - together).mean()


def supervised_contrastive(
    features: Tensor,
    labels: Tensor,
    temperature: float = 0.07,
    positives: int | None = None,
    generator: torch.Generator | None = None,
    images: Tensor | None = None,
) -> Tensor:
    """Return the contrastive loss whose positives are the other rows of the anchor's class, mean over anchors.

    Khosla et al., "Supervised contrastive learning", NeurIPS 2020, L_out (equation 2); with `positives` = k that of
    Kang et al., "Exploring balanced feature spaces for representation learning", ICLR 2021, equation 2: k of them at
    random, and the unused ones in no denominator.

    features: (B, D), L2-normalized here; labels: (B,); generator: on the features' device, or None for the global one;
    images: (B,) which image a row is a view of: other views of the anchor's image are positives beside the k.
    Anchors without a positive are left out of the mean; without any, the loss is 0.
    """
    z = unit(features)
    logits = products(z, z) / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    same = (labels[:, None] == labels[None]) & ~itself
    used = same
    if positives is not None:
        certain = torch.zeros_like(same) if images is None else (images[:, None] == images[None]) & same
        used = certain | _some(same & ~certain, positives, generator)
    among = logits.masked_fill(itself | (same & ~used), _NEVER).logsumexp(1, keepdim=True)
    count = used.sum(1)
    anchors = -torch.where(used, logits - among, 0.0).sum(1) / count.clamp_min(1)
    return anchors.sum() / (count > 0).sum().clamp_min(1)


def k_positive_contrastive(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    same: Tensor,
    temperature: float,
    positives: int | None,
    generator: torch.Generator | None = None,
    official: bool = False,
) -> Tensor:
    """Return the contrastive loss of queries with their own keys and k of a queue's keys of their class, mean over B.

    Kang et al., "Exploring balanced feature spaces for representation learning", ICLR 2021, equation 2, over a queue.
    query, key: (B, D), queue: (K, D), L2-normalized here, no gradient reaches the last two; same: (B, K) bool, which
    keys of the queue are of the query's class. positives: k, drawn at random, the unused ones in no denominator; all
    where there are fewer, or where it is None. official: as the released code has it, the first k of the queue, and the
    unused ones stay in the denominator as if they were of other classes.
    """
    q = unit(query)
    own = (q * unit(key.detach())).sum(1, keepdim=True) / temperature
    others = products(q, unit(queue.detach())) / temperature
    if positives is None:
        used = same
    elif official:
        used = same & (same.cumsum(1) <= positives)
    else:
        used = _some(same, positives, generator)
    among = others if official else others.masked_fill(same & ~used, _NEVER)
    total = torch.cat([own, among], dim=1).logsumexp(1, keepdim=True)
    drawn = (own - total)[:, 0] + torch.where(used, others - total, 0.0).sum(1)
    return -(drawn / (used.sum(1) + 1)).mean()


def nce(positive_logits: Tensor, negative_logits: Tensor, n_data: int, z: Tensor | float) -> Tensor:
    """Return the noise-contrastive estimate of a softmax over n_data rows: data against uniform noise.

    Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018, equations 5 to 7.
    positive_logits: (B,), negative_logits: (B, K) for rows drawn uniformly; both similarity ÷ temperature,
    exponentiated here: P = exp(logit) / z. z: the normalizing constant, n_data · mean of exp(logit), a constant of the
    run. Summed over the K, mean over the batch.
    """
    z = torch.as_tensor(z, dtype=positive_logits.dtype, device=positive_logits.device)
    # P / (P + K/n) is the sigmoid of log(P) − log(K/n).
    shift = z.log() + math.log(negative_logits.shape[1] / n_data)
    of_data = F.logsigmoid(positive_logits - shift)
    of_noise = F.logsigmoid(shift - negative_logits).sum(1)
    return -(of_data + of_noise).mean()


def margin_contrastive(a: Tensor, b: Tensor, same: Tensor, margin: float = 1.0, squared_hinge: bool = True) -> Tensor:
    """Return y·d² + (1 − y)·max(0, m − d)² of the Euclidean distance d of raw rows, mean over the pairs.

    Hadsell, Chopra and LeCun, "Dimensionality reduction by learning an invariant mapping", CVPR 2006, equation 4
    without its halves. a, b: (B, D); same: (B,) bool, or 0 and 1. squared_hinge=False: max(0, m − d²) for pairs that
    differ, as tutorials have it.
    """
    squared = (precise(a) - precise(b)).square().sum(1)
    if squared_hinge:
        # The root has no gradient at 0; there d counts as 0 and nothing flows.
        apart = (margin - squared.clamp_min(torch.finfo(squared.dtype).tiny).sqrt()).relu().square()
    else:
        apart = (margin - squared).relu()
    y = same.to(squared.dtype)
    return (y * squared + (1 - y) * apart).mean()


def triplet(query: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2) -> Tensor:
    """Return max(0, d²₊ − d²₋ + m) of the Euclidean distances of raw rows (B, D), mean over the batch.

    Schroff et al., "FaceNet: a unified embedding for face recognition and clustering", CVPR 2015, equation 2.
    """
    query = precise(query)
    near = (query - precise(positive)).square().sum(1)
    far = (query - precise(negative)).square().sum(1)
    return (near - far + margin).relu().mean()


def n_pair(query: Tensor, positive: Tensor, negatives: Tensor | None = None, images: Tensor | None = None) -> Tensor:
    """Return log(1 + Σ exp(q·k₋ − q·k₊)) of the products of raw rows, mean over the batch.

    Sohn, "Improved deep metric learning with multi-class N-pair loss objective", NIPS 2016, equation 3.
    query, positive: (B, D); negatives: (K, D), the same for all queries; None: the other rows' positives, as in its
    section 3.2; images: (B,) which image each row then is, where one may come twice: it is no negative of itself. With
    one negative it is a soft triplet; with normalized rows ÷ T it is InfoNCE.
    """
    query, positive = precise(query), precise(positive)
    if negatives is None:
        logits, own = products(query, positive), torch.arange(len(query), device=query.device)
        if images is not None:
            logits = logits.masked_fill(_copies(images, own), _NEVER)
        return F.cross_entropy(logits, own)
    together = (query * positive).sum(1, keepdim=True)
    gaps = products(query, negatives) - together
    return torch.cat([torch.zeros_like(together), gaps], dim=1).logsumexp(1).mean()


def other_images(images: Tensor) -> Tensor:
    """Return for each row of a batch the nearest one before it, around, that is another image: (B,) → (B,)."""
    place = torch.arange(len(images), device=images.device)
    before = (place[:, None] - place) % len(images)
    return before.masked_fill(images[:, None] == images, len(images)).argmin(1)


def _copies(images: Tensor, positive: Tensor) -> Tensor:
    """Return which rows show each row's image though they are not its positive, (B,) and (B,) → (B, B) bool."""
    return (images[:, None] == images).scatter_(1, positive[:, None], False)


def _two_views(
    a: Tensor, b: Tensor, temperature: float, normalize: bool = True, images: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return cos/T of all 2B rows, (2B, 2B), and where each row's other view stands.

    −inf stands for a row with itself and with copies of its image.
    """
    if a.shape != b.shape:
        raise ValueError(f"the two views do not fit: {tuple(a.shape)} and {tuple(b.shape)}")
    z = torch.cat([a, b])
    z = unit(z) if normalize else z
    place = torch.arange(len(z), device=z.device)
    positive = place.roll(len(a))
    never = _copies((place[: len(a)] if images is None else images).repeat(2), positive)
    return (products(z, z) / temperature).masked_fill(never, _NEVER), positive


def _some(candidates: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """Return k of the candidates of each row at random, (B, B) bool → (B, B) bool; all where there are fewer."""
    scores = torch.rand(candidates.shape, generator=generator, device=candidates.device)
    chosen = scores.masked_fill(~candidates, -1.0).topk(min(k, candidates.shape[1]), dim=1).indices
    return torch.zeros_like(candidates).scatter_(1, chosen, True) & candidates
