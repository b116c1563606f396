"""Colors of a batch in which every image has parameters of its own, equal to torchvision's image by image.

Images are (B, 3, H, W) float32 in [0, 1], parameters (B,) tensors on their device; every function returns new images in
[0, 1]. None waits for an accelerator. Differences from torchvision's operations on the same floats are rounding alone.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from uda.ssl.resampling import gaussian_blur


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


def random_blur(images: Tensor, chosen: Tensor, widths: Tensor, share: float, sigma: tuple[float, float]) -> Tensor:
    """Blur a share of the images by Gaussians of random widths, cut off beyond 3 times the largest.

    chosen, widths: (B,) uniform in [0, 1); sigma: the range of the standard deviation, in pixels. Nothing is computed
    where the share is 0.
    """
    if not share:
        return images
    reach = min(images.shape[-1] - 1, math.ceil(3 * sigma[1]))
    return where_chosen(chosen < share, gaussian_blur, images, sigma[0] + widths * (sigma[1] - sigma[0]), reach=reach)


def solarize(images: Tensor, threshold: float = 0.5) -> Tensor:
    """Invert what is as bright as a threshold, or brighter."""
    return torch.where(images >= threshold, 1 - images, images)
