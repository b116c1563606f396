"""Where an attack may go: the ball of radius eps around each image, cut with the box [0, 1] of images."""

import math
from typing import Literal

import torch
from torch import Tensor

from uda.errors import UserError
from uda.random import uniform

Norm = Literal["linf", "l2"]

_ROUNDING = 1e-6  # what float32 pixels, of which a step is up to 6e-8, may add to a distance
_SMALL = 1e-12  # so that a radius of 0, or next to it, divides no 0 by 0


def lengths(delta: Tensor, norm: Norm) -> Tensor:
    """Return the norm of each image's perturbation, (B, …) → (B,): its largest entry, or its Euclidean length."""
    return torch.linalg.vector_norm(delta.flatten(1), ord=math.inf if norm == "linf" else 2, dim=1)


def project(views: Tensor, images: Tensor, eps: float, norm: Norm) -> Tensor:
    """Return views (B, …) moved into the ball of radius eps around images in [0, 1], and into [0, 1].

    First the ball, then the box. The second step cannot leave the ball again: as the center lies in the box, clipping a
    pixel to the box brings it closer to the center's, so every entry of the perturbation shrinks. In l∞ this is the
    nearest point of the intersection, in l2 a point of it.
    """
    delta = views - images
    if norm == "linf":
        delta = delta.clamp(-eps, eps)
    else:
        delta = delta * _per_image(eps / lengths(delta, norm).clamp_min(max(eps, _SMALL)), delta)
    return (images + delta).clamp(0, 1)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Return each image's direction of norm 1 in which its loss rises fastest: the sign in l∞, g / ‖g‖ in l2.

    Where the gradient is zero the direction is too.
    """
    if norm == "linf":
        return gradient.sign()
    largest = lengths(gradient, "linf")
    unit = gradient / _per_image(torch.where(largest > 0, largest, 1.0), gradient)  # its squares do not underflow
    return unit / _per_image(lengths(unit, "l2").clamp_min(_SMALL), unit)


def random_point(images: Tensor, eps: float, norm: Norm, seed: int, restart: int, index: Tensor) -> Tensor:
    """Return a point of the ball around each image, uniform in the ball, then clipped to [0, 1].

    images: (B, …) float in [0, 1]; index: (B,) int64. The point is a hash of (seed, restart, index): it does not depend
    on the batch.
    """
    size = images[0].numel()
    if norm == "linf":
        delta = (2 * uniform(seed, restart, index, "attack/linf", size) - 1) * eps
    else:
        # A normal vector (Box and Muller, 1958) has no preferred direction; the share of a ball of d dimensions within
        # r of its center is r^d.
        half = (size + 1) // 2
        draws = uniform(seed, restart, index, "attack/l2", 2 * half + 1).double()
        radius, angle = (-2 * (1 - draws[:, :half]).log()).sqrt(), 2 * math.pi * draws[:, half : 2 * half]
        normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :size]
        delta = steepest(normal, norm) * (eps * draws[:, -1:] ** (1 / size))
    return project(images + delta.to(images.dtype).view_as(images), images, eps, norm)


def check_radius(eps: float, norm: str) -> None:
    """Raise UserError for a radius or a norm that no attack has."""
    if norm not in ("linf", "l2"):
        raise UserError(f"attacks in the norm '{norm}': choose linf or l2")
    if not (eps >= 0 and math.isfinite(eps)):
        raise UserError(f"attacks of eps={eps}: give a radius of at least 0, such as 8/255")
    if norm == "linf" and eps > 1:
        raise UserError(f"attacks of eps={eps}: pixels lie in [0, 1], so write {eps:g}/255 for {eps:g} gray levels")


def checked_views(images: Tensor) -> Tensor:
    """Return images detached, in at least float32; ValueError unless they are floats in [0, 1].

    Half precision could not hold the ball: its pixels near 1 are 1/256 apart.
    """
    if not images.is_floating_point():
        raise ValueError(f"attacks take float views in [0, 1], not {images.dtype}; divide uint8 images by 255")
    views = images.detach().to(torch.promote_types(images.dtype, torch.float32))
    if not bool(((views >= 0) & (views <= 1)).all()):
        raise ValueError("attacks take views in [0, 1]; leave the normalization to the model")
    return views


def checked_attack(views: Tensor, images: Tensor, eps: float, norm: Norm) -> Tensor:
    """Return the attacked views; AssertionError if one left the ball or the box."""
    assert bool((lengths(views - images, norm) <= eps * (1 + 1e-5) + _ROUNDING).all()), "an attack left its ball"
    assert bool(((views >= 0) & (views <= 1)).all()), "an attack left the box [0, 1]"
    return views


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.view(-1, *[1] * (images.ndim - 1))
