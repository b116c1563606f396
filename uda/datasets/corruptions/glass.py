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
    """Return where each swept pixel's partner is: 2 · reach · (dy + reach) + dx + reach, dy and dx in −reach … reach − 1.

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
    code = offset.view(len(offset), height - 2 * reach, width - 2 * reach)
    place = torch.arange(height * width, dtype=torch.int32, device=offset.device).view(1, height, width)
    if copies:
        return _copied(code, place, reach)
    return _exchanged(code, place, reach)


def _copied(code: Tensor, place: Tensor, reach: int) -> Tensor:
    _, height, width = place.shape
    n = height * width
    here = place[:, *_window(height, width, reach)]
    code = code.int()
    partner = here + (code // (2 * reach) - reach) * width + code % (2 * reach) - reach
    was_swept = torch.zeros_like(place, dtype=torch.bool)
    was_swept[:, *_window(height, width, reach)] = True
    earlier = (partner > here) & was_swept.flatten()[partner.long()]  # the partner has its final content already
    # Nodes: 0 … n − 1 are final contents, n … 2n − 1 first ones.
    final = (place + n).repeat(len(code), 1, 1)
    final[:, *_window(height, width, reach)] = torch.where(earlier, partner, partner + n)
    return _followed(final.flatten(1), final.flatten(1), n) - n


def _exchanged(code: Tensor, place: Tensor, reach: int) -> Tensor:
    batch = len(code)
    _, height, width = place.shape
    n = height * width
    window = _window(height, width, reach)
    # Nodes: q is the content of the place q right after q's exchange, n + q that of its partner's place,
    # 2n + l the first content of the place l. `last` is the node that holds a place's content so far.
    last = (place + 2 * n).repeat(batch, 1, 1)
    own, other = place[:, *window], place[:, *window] + n
    before_own, before_other = last[:, *window].clone(), last[:, *window].clone()
    # A place takes part in its own exchange and in those of near ones that drew it. These neighbors come in the same
    # order for all places, which is why all can be walked through together.
    for down in range(reach, -reach, -1):
        for right in range(reach, -reach, -1):
            seen = last[:, *_window(height, width, reach, -down, -right)]
            if down == right == 0:
                before_own.copy_(seen)
                still = code == _code(0, 0, reach)
                seen.copy_(torch.where(still, seen, own))
            else:
                drawn = code == _code(-down, -right, reach)
                torch.where(drawn, seen, before_other, out=before_other)
                seen.copy_(torch.where(drawn, other, seen))
    pointers = (place + 2 * n).repeat(batch, 2, 1)
    pointers[:, :height][:, *window] = before_other
    pointers[:, height:][:, *window] = before_own
    return _followed(last.flatten(1), pointers.flatten(1), 2 * n) - 2 * n


def _followed(start: Tensor, pointers: Tensor, ends: int) -> Tensor:
    """Follow pointers (B, M) from each start until they lead to a node of `ends` or above, twice as far each time."""
    start, pointers = start.long(), pointers.long()
    terminal = torch.arange(ends, ends + start.shape[1], device=start.device).expand(len(start), -1)
    pointers = torch.cat([pointers, terminal], dim=1)
    while bool((start < ends).any()):
        start = pointers.gather(1, start)
        pointers[:, :ends] = pointers.gather(1, pointers[:, :ends])
    return start


def _code(down: int, right: int, reach: int) -> int:
    return 2 * reach * (down + reach) + right + reach


def _window(height: int, width: int, reach: int, down: int = 0, right: int = 0) -> tuple[slice, slice]:
    """Return the swept rows and columns, moved by an offset."""
    return (
        slice(reach + 1 + down, height - reach + 1 + down),
        slice(reach + 1 + right, width - reach + 1 + right),
    )
