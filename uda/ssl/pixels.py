"""Pixel operations on a batch in which every image has parameters of its own, equal to torchvision's image by image.

Images are (B, 3, H, W) float32 in [0, 1], parameters (B,) tensors on their device; every function returns new images in
[0, 1]. None waits for an accelerator. Differences from torchvision's operations on the same floats are rounding alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_TRIES = 10
_LARGE = 64**2  # pixels of an image from which on a loop over images is the faster one on a CPU
BOX_DRAWS = 2 * _TRIES + 2  # the draws that `crop_boxes` wants for an image


@dataclass(frozen=True)
class Taps:
    """What each of S output rows (or columns) is a weighted sum of: (B, S, K) int64 places and float32 weights."""

    places: Tensor
    weights: Tensor


def resample(images: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Return (B, 3, S, T) sums of `columns`, then of `rows`, of (B, 3, H, W) uint8 or float images, in [0, 1].

    As few numbers of a row have weight, this is several times faster than products with whole matrices.
    """
    n, channels, height, width = images.shape
    unit = 1 / 255 if images.dtype == torch.uint8 else 1.0
    # What is summed lies outermost: rows of a table, which embedding_bag adds up at the speed of memory.
    table = torch.empty(n, width, channels, height, device=images.device).copy_(images.permute(0, 3, 1, 2))
    across = _weighted_sums(table.flatten(2), columns.places, columns.weights * unit)
    offsets = torch.arange(channels, device=images.device)[:, None, None] * height
    places = (rows.places[:, None] + offsets).flatten(1, 2)
    weights = rows.weights[:, None].expand(-1, channels, -1, -1).flatten(1, 2)
    sums = _weighted_sums(_transposed(across), places, weights)
    return sums.view(n, channels, -1, sums.shape[-1]).clamp_(0, 1)


def _weighted_sums(table: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Sum rows of each table: (B, L, W) → (B, S, W) by (B, S, K) places and weights."""
    n, length, width = table.shape
    places = places + torch.arange(n, device=table.device)[:, None, None] * length
    sums = F.embedding_bag(
        places.flatten(0, 1), table.view(-1, width), per_sample_weights=weights.flatten(0, 1), mode="sum"
    )
    return sums.view(n, -1, width)


def _transposed(matrices: Tensor) -> Tensor:
    """(B, M, N) → (B, N, M), contiguous."""
    if matrices.device.type != "cpu" or matrices[0].numel() < 2**15:
        return matrices.transpose(1, 2).contiguous()
    # PyTorch copies the transpose of one large matrix in blocks, but not that of a stack: half the time.
    out = matrices.new_empty(matrices.shape[0], matrices.shape[2], matrices.shape[1])
    for target, matrix in zip(out, matrices, strict=True):
        target.copy_(matrix.t())
    return out


def crop_boxes(draws: Tensor, sides: Sequence[int], scale: tuple[float, float], ratio: tuple[float, float]) -> Tensor:
    """Return a random box in images of (height, width) for each row of draws, (B, 22) in [0, 1) → (B, 4) int64.

    Boxes are top, left, height, width in whole pixels. The area's share is uniform in `scale`, the aspect (width ÷
    height) log-uniform in `ratio`; the first of 10 tries that fits is taken, else the largest central box of a
    permitted aspect. As torchvision's RandomResizedCrop (after Szegedy et al., CVPR 2015, section 6).
    """
    height, width = sides
    draws = draws.double()  # a side must not round differently on another device
    area = (scale[0] + draws[:, :_TRIES] * (scale[1] - scale[0])) * (height * width)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + draws[:, _TRIES : 2 * _TRIES] * (high - low)).exp()
    wide, tall = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    narrow, broad = round(width / ratio[0]), round(height * ratio[1])
    tall = torch.where(found, tall.gather(1, first)[:, 0], float(min(height, max(1, narrow))))
    wide = torch.where(found, wide.gather(1, first)[:, 0], float(min(width, max(1, broad))))
    top, left = height - tall, width - wide
    top = torch.where(found, draws[:, -2] * (top + 1), top / 2).floor()
    left = torch.where(found, draws[:, -1] * (left + 1), left / 2).floor()
    return torch.stack([top, left, tall, wide], dim=1).long()


def resized_crop(
    images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None = None, antialias: bool = True
) -> Tensor:
    """Cut a box out of each image, resize it to size × size, bilinear, and mirror those of the (B,) bool mask.

    images: uint8, or float in [0, 1]; boxes: (B, 4) int64 top, left, height, width in whole pixels, inside the image.
    antialias: average over all pixels that an output pixel covers, as torchvision does by default. Large uint8 images
    on a CPU are rounded to whole gray levels, as torchvision's are; others are not, and lie within one level of that.
    """
    on_cpu = images.device.type == "cpu"
    if on_cpu and images.dtype == torch.uint8 and images.shape[2] * images.shape[3] > _LARGE:
        return _resized_one_by_one(images, boxes, size, mirrored, antialias)
    top, left, tall, wide = boxes.unbind(1)
    if on_cpu:  # what no box reaches need not be looked at
        first_row, first_column = int(top.min()), int(left.min())
        images = images[:, :, first_row : int((top + tall).max()), first_column : int((left + wide).max())]
        top, left = top - first_row, left - first_column
    rows = _bilinear(top, tall, images.shape[2], size, None, antialias)
    return resample(images, rows, _bilinear(left, wide, images.shape[3], size, mirrored, antialias))


def _resized_one_by_one(images: Tensor, boxes: Tensor, size: int, mirrored: Tensor | None, antialias: bool) -> Tensor:
    """Resize by PyTorch's kernel for bytes, which takes images of one size: .31 ms of 224 px, in place of .66 ms."""
    views = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
    flips = [False] * len(images) if mirrored is None else mirrored.tolist()
    for view, image, (top, left, tall, wide), flip in zip(views, images, boxes.tolist(), flips, strict=True):
        box = image[None, :, top : top + tall, left : left + wide]
        if min(tall, wide, size) == 1:  # which the kernel for bytes refuses
            box = box.float()
        resized = F.interpolate(box, (size, size), mode="bilinear", antialias=antialias)[0]
        if resized.is_floating_point():
            resized = resized.round_()
        view.copy_(resized.flip(2) if flip else resized)
    return views.float().div_(255)


def _bilinear(start: Tensor, length: Tensor, side: int, size: int, mirrored: Tensor | None, antialias: bool) -> Taps:
    """Return the taps of a triangle filter from `length` pixels on, of at most `side`, to `size`."""
    steps = torch.arange(size, device=start.device)
    if mirrored is not None:
        steps = torch.where(mirrored[:, None], steps.flip(0), steps)
    scale = (length.float() / size)[:, None]
    reach = scale.clamp_min(1) if antialias else torch.ones_like(scale)
    center = scale * (steps + 0.5)
    # An open interval of 2 · reach holds at most ⌈2 · reach⌉ pixel centers; a number known without the boxes' values.
    n_taps = math.ceil(2 * max(1.0, side / size)) if antialias else 2
    places = torch.floor(center - reach + 0.5)[..., None] + torch.arange(n_taps, device=start.device)
    weights = (1 - (places + 0.5 - center[..., None]).abs() / reach[..., None]).clamp_min(0)
    last = (length[:, None, None] - 1).float()
    weights = weights * ((places >= 0) & (places <= last))
    places = torch.minimum(places.clamp_min(0), last).long() + start[:, None, None]
    return Taps(places, weights / weights.sum(-1, keepdim=True))


def where_chosen(
    chosen: Tensor, operation: Callable[..., Tensor], images: Tensor, *parameters: Tensor, **shared: float
) -> Tensor:
    """Apply an operation to the images of a (B,) bool mask; parameters are (B, …), shared ones the same for all.

    On a CPU only those images are computed. Elsewhere all are, since how many there are is known to the device alone.
    """
    if images.device.type != "cpu":
        return torch.where(chosen[:, None, None, None], operation(images, *parameters, **shared), images)
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return operation(images, *parameters, **shared)
    changed = operation(images.index_select(0, rows), *(values[rows] for values in parameters), **shared)
    # Copies whole images; `images[rows] = changed` would copy number by number.
    source = torch.arange(len(rows), len(rows) + len(images)).index_copy_(0, rows, torch.arange(len(rows)))
    return torch.cat([changed, images]).index_select(0, source)


def luma(images: Tensor) -> Tensor:
    """Return 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), (B, 1, H, W)."""
    red, green, blue = images.split(1, dim=1)
    return (red * 0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def grayscale(images: Tensor) -> Tensor:
    """Return the luma in all three channels."""
    return luma(images).expand(-1, 3, -1, -1)


def blend(images: Tensor, shares: Tensor) -> Tensor:
    """Return a · image + b · its luma + c · the luma's mean over the image, clipped; shares: (B, 3) of a, b, c.

    Brightness, contrast and saturation are three cases of it, so images that undergo different ones share a call.
    """
    own, pixel, mean = shares[:, :, None, None, None].unbind(1)
    gray = luma(images)
    base = gray.mean((1, 2, 3), keepdim=True) * mean
    return torch.addcmul(torch.addcmul(base, gray, pixel), images, own).clamp_(0, 1)


def brightness_shares(factor: Tensor) -> Tensor:
    """Return the shares by which `blend` scales brightness: toward black at factors below 1, (B,) → (B, 3)."""
    zero = torch.zeros_like(factor)
    return torch.stack([factor, zero, zero], dim=1)


def contrast_shares(factor: Tensor) -> Tensor:
    """Return the shares by which `blend` scales contrast: toward the mean luma at factors below 1, (B,) → (B, 3)."""
    return torch.stack([factor, torch.zeros_like(factor), 1 - factor], dim=1)


def saturation_shares(factor: Tensor) -> Tensor:
    """Return the shares by which `blend` scales saturation: toward the luma at factors below 1, (B,) → (B, 3)."""
    return torch.stack([factor, 1 - factor, torch.zeros_like(factor)], dim=1)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue in HSV by a fraction of the circle, −0.5 … 0.5; value and saturation stay."""
    red, green, blue = images.unbind(1)
    # Maxima, minima and differences alone, for selections by a mask take a CPU ten times as long. Of green and blue the
    # larger is `upper`; where red is above it, the hue lies around 0 (or 6), else around 2 or, if that is blue, 4.
    upper, lower = torch.maximum(green, blue), torch.minimum(green, blue)
    high, low, middle = torch.maximum(red, upper), torch.minimum(red, lower), torch.minimum(red, upper)
    span = high - low
    is_blue, not_red = _is_positive(blue - green), _is_positive(upper - red)
    # Where span is 0 all differences are 0, and so is what the hue is multiplied with below.
    sector = (middle - lower).div_(span.clamp_min(1e-10)).sub_(is_blue, alpha=6)
    sector.sub_(not_red, alpha=2).add_(is_blue.mul_(not_red), alpha=12).abs_().add_(6 * turn[:, None, None])
    sector.sub_((sector / 6).floor_(), alpha=6)
    out = torch.empty_like(images)
    # Each channel is a trapezoid over the hue, 0 … 6: red is full around 0, green around 2, blue around 4.
    shares = ((sector - 3).abs_().sub_(1), 2 - (sector - 2).abs_(), 2 - (sector - 4).abs_())
    for channel, share in enumerate(shares):
        torch.addcmul(low, span, share.clamp_(0, 1), out=out[:, channel])
    return out.clamp_(0, 1)


def _is_positive(differences: Tensor) -> Tensor:
    """Return 1 where a number is above 0, else 0, in place; what is below 1e-30 is no difference that can be seen."""
    return differences.mul_(1e30).clamp_(0, 1)


def color_jitter(
    images: Tensor,
    priority: Tensor,
    chosen: Tensor,
    brightness: Tensor | None = None,
    contrast: Tensor | None = None,
    saturation: Tensor | None = None,
    turn: Tensor | None = None,
) -> Tensor:
    """Change brightness, contrast, saturation and hue of the images of a mask, in an order of their own.

    priority: (B, 4) of the four in this order, the smallest comes first; chosen: (B,) bool; factors: (B,), as in
    `blend` and `hue`, None: that one is left out.
    """
    kinds = ((brightness, brightness_shares), (contrast, contrast_shares), (saturation, saturation_shares))
    present = [place for place, (factor, _) in enumerate(kinds) if factor is not None]
    blends = [shares(factor) for factor, shares in kinds if factor is not None]
    if not blends:
        return images if turn is None else where_chosen(chosen, hue, images, turn)
    # Not `priority[:, present]`: the list would be copied to a GPU, which would be waited for.
    ranks, order = torch.stack([priority[:, place] for place in present], dim=1).sort(dim=1)
    shares = torch.stack(blends, dim=1).gather(1, order[:, :, None].expand(-1, -1, 3))
    if turn is None:
        for place in range(len(blends)):
            images = where_chosen(chosen, blend, images, shares[:, place])
        return images
    # Hue costs as much as three blends, so it has one place for all images: each blend has a place before and behind.
    before = ranks < priority[:, 3:]
    for place in range(len(blends)):
        images = where_chosen(chosen & before[:, place], blend, images, shares[:, place])
    images = where_chosen(chosen, hue, images, turn)
    for place in range(len(blends)):
        images = where_chosen(chosen & ~before[:, place], blend, images, shares[:, place])
    return images


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur by a Gaussian of `sigma` pixels, cut off beyond `reach` pixels; images are reflected at their edges.

    reach: less than the image's side; torchvision's kernel_size is 2 · reach + 1.
    """
    return resample(images, *(_gaussian(sigma, reach, side) for side in images.shape[2:]))


def random_blur(images: Tensor, chosen: Tensor, widths: Tensor, share: float, sigma: tuple[float, float]) -> Tensor:
    """Blur a share of the images by Gaussians of random widths, cut off beyond 3 times the largest.

    chosen, widths: (B,) uniform in [0, 1); sigma: the range of the standard deviation, in pixels. Nothing is computed
    where the share is 0.
    """
    if not share:
        return images
    reach = min(images.shape[-1] - 1, math.ceil(3 * sigma[1]))
    return where_chosen(chosen < share, gaussian_blur, images, sigma[0] + widths * (sigma[1] - sigma[0]), reach=reach)


def _gaussian(sigma: Tensor, reach: int, side: int) -> Taps:
    offsets = torch.arange(-reach, reach + 1, device=sigma.device)
    places = (torch.arange(side, device=sigma.device)[:, None] + offsets).abs()
    places = side - 1 - (side - 1 - places).abs()
    weights = (-0.5 * (offsets / sigma[:, None]) ** 2).softmax(dim=1)[:, None]
    return Taps(places.expand(len(sigma), -1, -1), weights.expand(-1, side, -1))


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert what is as bright as a threshold, or brighter."""
    return torch.where(images >= threshold, 1 - images, images)
