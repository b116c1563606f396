"""Error on corrupted images, per corruption and severity, in one number.

Errors and baselines are error rates (fractions or percent, the same on both sides) by the corruption's name, one for
each severity; a baseline may be a single number, its mean over severities.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

Errors = Mapping[str, ArrayLike]

ALEXNET: dict[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""AlexNet's mean errors over the severities of ImageNet-C's corruptions: the baseline of the published mCE."""
ALEXNET_CLEAN = 0.435
"""AlexNet's error on ImageNet itself, in the published relative mCE."""


def mean_corruption_error(errors: Errors, baseline: Errors) -> float | None:
    """Return the mCE in percent: the mean over corruptions of 100·Σₛ E / Σₛ E_baseline; 100 is as bad as the baseline.

    Source: Hendrycks and Dietterich, ICLR 2019, whose baseline is AlexNet. The mean runs over the corruptions in
    `errors`; each must be in `baseline` (ValueError). None without corruptions or where the baseline makes no error.
    """
    return _mean_ratio(errors, baseline, 0.0, 0.0)


def relative_mean_corruption_error(
    errors: Errors, baseline: Errors, clean_error: float, baseline_clean_error: float
) -> float | None:
    """Return the relative mCE in percent: as `mean_corruption_error`, with each side's clean error subtracted.

    It measures what is *lost* by corruption (Hendrycks and Dietterich, ICLR 2019); below 0 if the network is better on
    corrupted images than on clean ones. None also where the baseline loses nothing.
    """
    return _mean_ratio(errors, baseline, clean_error, baseline_clean_error)


def plain_corruption_error(errors: Errors) -> float | None:
    """Return the plain mean over corruptions and severities, as CIFAR-10-C and CIFAR-100-C are reported."""
    per_corruption = [_severities(errors, name, "errors").mean() for name in errors]
    return float(np.mean(per_corruption)) if per_corruption else None


def _mean_ratio(errors: Errors, baseline: Errors, clean: float, baseline_clean: float) -> float | None:
    missing = sorted(set(errors) - set(baseline))
    if missing:
        raise ValueError(f"the baseline has no errors for {', '.join(missing)}")
    ratios = []
    for name in errors:
        ours, theirs = _severities(errors, name, "errors"), _severities(baseline, name, "baseline")
        if len(theirs) not in (1, len(ours)):
            raise ValueError(f"{name} has {len(ours)} severities in errors and {len(theirs)} in the baseline")
        lost = theirs.mean() - baseline_clean
        if lost <= 1e-12:  # nothing, up to rounding
            return None
        ratios.append((ours.mean() - clean) / lost)
    return float(100 * np.mean(ratios)) if ratios else None


def _severities(errors: Errors, name: str, which: str) -> np.ndarray:
    values = np.atleast_1d(np.asarray(errors[name], dtype=np.float64))
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{which}['{name}'] must be finite error rates, one for each severity")
    return values
