"""Names, groups and the published constants of the 19 corruptions (Hendrycks and Dietterich, ICLR 2019).

A preset is the size that the constants were chosen for: "cifar" 32 pixels (CIFAR-10-C), "imagenet" 224 (ImageNet-C).
Lengths are pixels and are not rescaled for images of another size.
"""

from typing import Any, NamedTuple

NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")
BLUR = ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur")
WEATHER = ("snow", "frost", "fog", "brightness")
DIGITAL = ("contrast", "elastic_transform", "pixelate", "jpeg_compression")
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Published for validation: no part of the mean over corruptions."""

COMMON = NOISE + BLUR + WEATHER + DIGITAL
"""The 15 that errors are averaged over, in the order of the paper's table."""
NAMES = COMMON + EXTRA
GROUPS = {"noise": NOISE, "blur": BLUR, "weather": WEATHER, "digital": DIGITAL}
SEVERITIES = (1, 2, 3, 4, 5)


class Glass(NamedTuple):
    """sigma: of the blur before and after; reach: how far a pixel is moved at most; sweeps: how often."""

    sigma: float
    reach: int
    sweeps: int


class Streak(NamedTuple):
    """A one-sided Gaussian of `sigma` pixels over 2 · radius + 1 taps."""

    radius: int
    sigma: float


class Flakes(NamedTuple):
    """Noise of `mean` and `std`, magnified by `zoom`, black below `threshold`, blurred by `streak`.

    kept: share of the image that is not whitened. Brightness in [0, 1].
    """

    mean: float
    std: float
    zoom: float
    threshold: float
    streak: Streak
    kept: float


class Liquid(NamedTuple):
    """Noise of `mean` and `std`, blurred by `sigma`, dry below `threshold`.

    edge: water's opacity, or the sigma by which a splash of mud is smoothed.
    """

    mean: float
    std: float
    sigma: float
    threshold: float
    edge: float
    mud: bool


class Elastic(NamedTuple):
    """Pixels move by `alpha` times smoothed noise; three points move by up to `affine` before."""

    alpha: float
    sigma: float
    affine: float


def _flakes(*rows: tuple[float, float, float, float, int, float, float]) -> tuple[Flakes, ...]:
    return tuple(Flakes(a, b, c, d, Streak(radius, sigma), kept) for a, b, c, d, radius, sigma, kept in rows)


def _liquid(*rows: tuple[float, float, float, float, float, int]) -> tuple[Liquid, ...]:
    return tuple(Liquid(*row[:5], mud=bool(row[5])) for row in rows)


def _elastic(side: int, *rows: tuple[float, ...]) -> tuple[Elastic, ...]:
    return tuple(Elastic(*(side * share for share in row)) for row in rows)


_CIFAR: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation, white is 1
    "shot_noise": (500, 250, 100, 75, 50),  # photons that make a pixel white
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of values that turn black or white
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),  # radius, sigma of its edge
    "glass_blur": (Glass(0.05, 1, 1), Glass(0.25, 1, 1), Glass(0.4, 1, 1), Glass(0.25, 1, 2), Glass(0.4, 1, 2)),
    "motion_blur": (Streak(6, 1), Streak(6, 1.5), Streak(6, 2), Streak(8, 2), Streak(9, 2.5)),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),  # up to, in steps of
    "snow": _flakes(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "frost": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),  # weights of the image and of the ice
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),  # density, decay of its detail
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value of HSV
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "elastic_transform": _elastic(
        32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)
    ),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the sides that is left
    "jpeg_compression": (80, 65, 58, 50, 40),  # quality
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),  # standard deviation, as a share of the pixel's value
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),  # sigma
    "spatter": _liquid(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),  # factor and addend of HSV's saturation
}

_IMAGENET: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": (Glass(0.7, 1, 2), Glass(0.9, 2, 1), Glass(1, 2, 3), Glass(1.1, 3, 2), Glass(1.5, 4, 2)),
    "motion_blur": (Streak(10, 3), Streak(15, 5), Streak(15, 8), Streak(15, 12), Streak(20, 15)),
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    "snow": _flakes(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": _elastic(  # 224 was meant, the published files were made with 244
        244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)
    ),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": (1, 2, 3, 4, 6),
    "spatter": _liquid(
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

PRESETS: dict[str, dict[str, tuple[Any, ...]]] = {"cifar": _CIFAR, "imagenet": _IMAGENET}
ICE_SCALE = {"cifar": 0.2, "imagenet": 1.0}
"""By what photographs of ice are resized before a piece is cut out of them."""
