"""Glass blur: pixels change places with near ones, in a sweep in which each exchange sees what the earlier ones did.

The sweep is sequential, yet what ends up where is a question of pointers: content comes from a place, as it was after
the last exchange there, which came from another place. The pointers of all places are found at once and followed by
doubling, so the outcome is that of the sweep, exchange by exchange, at a cost that a batch shares.
"""

import torch
from torch import Tensor

from uda.datasets.corruptions.blur import gaussian_blur
from uda.datasets.corruptions.levels import truncated


def glass_blur(images: Tensor, words: Tensor, sigma: float, reach: int, copies: bool = False) -> Tensor:
    """Blur, exchange pixels, blur again: (B, C, H, W) float32 gray levels → the same.

    words: (B, sweeps, `swept(height, width, reach)`) random bits for `offsets`; copies: see `sources`.
    """
    levels = truncated(gaussian_blur(images, sigma))
    height, width = images.shape[-2:]
    if words.shape[2]:
        found = None
        for bits in words.unbind(1):
            source = sources(offsets(bits, reach), height, width, reach, copies)
            found = source if found is None else found.gather(1, source)
        assert found is not None
        channels = images.shape[1]
        levels = levels.flatten(2).gather(2, found[:, None].expand(-1, channels, -1)).view_as(levels)
    return gaussian_blur(levels.float(), sigma)


def swept(height: int, width: int, reach: int) -> int:
    """Return how many pixels a sweep starts an exchange at: rows and columns reach + 1 … side − reach."""
    return max(0, height - 2 * reach) * max(0, width - 2 * reach)


def offsets(words: Tensor, reach: int) -> Tensor:
    """Return where each swept pixel's partner is: 2 · reach · (dy + reach) + dx + reach, of −reach ≤ dy, dx < reach.

    (B, n) int32 random bits → (B, n) uint8. As published, +reach is never drawn.
    """
    down = ((words >> 16) & 0xFFFF) * (2 * reach) >> 16
    right = (words & 0xFFFF) * (2 * reach) >> 16
    return (down * (2 * reach) + right).to(torch.uint8)


def sources(offset: Tensor, height: int, width: int, reach: int, copies: bool) -> Tensor:
    """Return from which place the content of each place comes after a sweep from the last pixel to the first.

    offset: (B, n) of `offsets`; returns (B, H·W) int64. copies: a pixel takes its partner's content and leaves it there
    as well, as the published exchange does (it swaps two views of one array); else the two are exchanged.
    """
    n = height * width
    place = torch.arange(n, device=offset.device)
    inner = place.view(height, width)[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1].flatten()
    moves = [down * width + right for down in range(-reach, reach) for right in range(-reach, reach)]
    found = (_copied if copies else _exchanged)(offset, inner, moves, n)
    return found - n * torch.arange(len(offset), device=offset.device)[:, None]


def _copied(offset: Tensor, inner: Tensor, moves: list[int], n: int) -> Tensor:
    """Nodes: of T places in all images, q is the final content of the place q and T + q the first one."""
    total = len(offset) * n
    swept = inner + n * torch.arange(len(offset), device=offset.device)[:, None]
    move = torch.tensor(moves, device=offset.device)[offset.int()]
    is_swept = torch.zeros(n, dtype=torch.bool, device=offset.device).scatter_(0, inner, True)
    final = (move > 0) & is_swept[inner + move]  # the partner has its final content already
    pointers = torch.arange(total, 2 * total, device=offset.device)
    pointers.scatter_(0, swept.flatten(), (swept + move + total * ~final).flatten())
    return (_followed(pointers.clone(), pointers, total) - total).view(-1, n)


def _exchanged(offset: Tensor, inner: Tensor, moves: list[int], n: int) -> Tensor:
    """Nodes: q is what the place q holds right after its own exchange, T + q what its partner's place then holds.

    2T + q is the first content of the place q.
    """
    total = len(offset) * n
    swept = (inner + n * torch.arange(len(offset), device=offset.device)[:, None]).flatten()
    last = torch.arange(2 * total, 3 * total, device=offset.device)  # the node that holds a place's content so far
    pointers = torch.empty(2 * total, dtype=torch.int64, device=offset.device)
    # A place takes part in its own exchange and in those of near places that drew it. These come in the same order
    # for all places, that of the moves, which is why all places can be walked through together, move by move.
    codes, order = offset.flatten().sort()
    ends = torch.searchsorted(codes, torch.arange(len(moves), device=codes.device).to(codes.dtype), right=True)
    movers = swept.index_select(0, order).tensor_split(ends[:-1].cpu())
    for move, places in zip(moves, movers, strict=True):
        if move:
            partners = places + move
            pointers.scatter_(0, places, last.gather(0, partners))
            last.scatter_(0, partners, places + total)
        else:  # those who drew themselves do nothing
            still = last.gather(0, places)
            pointers.scatter_(0, swept + total, last.gather(0, swept))
            last.scatter_(0, swept, swept).scatter_(0, places, still)
    return (_followed(last, pointers, 2 * total) - 2 * total).view(-1, n)


def _followed(start: Tensor, pointers: Tensor, ends: int) -> Tensor:
    """Follow the pointers from each start until they lead to a node of `ends` or above; few go far."""
    going = (start < ends).nonzero()[:, 0]
    while len(going):
        further = pointers.index_select(0, start.index_select(0, going))
        start.scatter_(0, going, further)
        going = going.masked_select(further < ends)
    return start
