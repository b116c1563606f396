"""What several seeds, or one test set, allow to be said: means, paired differences and their uncertainty."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student_t

_SAME = 1e-12  # differences that vary by less than this share of the values vary by rounding only


@dataclass(frozen=True)
class Summary:
    """A figure over seeds.

    std has n − 1 in its denominator; ci95 is the half width of the 95 % interval for the mean by Student's t. Both are
    None for one seed. Everything but n is None where a seed's figure is undefined.
    """

    n: int
    mean: float | None
    std: float | None
    ci95: float | None


@dataclass(frozen=True)
class PairedDifference:
    """A difference a − b over seeds that both arms share.

    std (n − 1) is that of the differences; ci95 the 95 % interval (low, high) of their mean by Student's t; p_value
    that of the two-sided paired t test. smallest_detectable is the smallest *true* difference that this test, with
    this n and this std, would find at 5 % with 80 % power; a smaller one may exist and have been missed.
    With one seed all four are None; with differences that do not vary p_value and smallest_detectable are (such seeds
    say nothing of chance: take a bootstrap over images).
    """

    n: int
    mean: float
    std: float | None
    ci95: tuple[float, float] | None
    p_value: float | None
    smallest_detectable: float | None


@dataclass(frozen=True)
class BootstrapInterval:
    """A percentile bootstrap interval for a statistic of one test set.

    estimate is the statistic of the whole set; n_resamples counts those where it was defined. low and high are None
    where the estimate is, or where it was defined in no resample.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n_resamples: int


def summarize(values: Sequence[float | None] | np.ndarray) -> Summary:
    """Return mean, standard deviation and 95 % half width of one figure over seeds; see `Summary`.

    A mean over only those seeds where the figure is defined would not be comparable, so one None makes all None.
    """
    given = list(values)
    defined = [value for value in given if value is not None]
    n = len(given)
    if not n or len(defined) < n:
        return Summary(n, None, None, None)
    array = _finite(defined, "values")
    if n == 1:
        return Summary(1, float(array[0]), None, None)
    std = _std(array, float(np.abs(array).max()))
    return Summary(n, float(array.mean()), std, float(student_t.ppf(0.975, n - 1)) * std / math.sqrt(n))


def paired_difference(a: ArrayLike, b: ArrayLike) -> PairedDifference:
    """Return a − b over seeds, with what it can and cannot show; see `PairedDifference`.

    a, b: (n,) the same figure under two recipes, seed by seed in the same order, n ≥ 1.
    """
    first, second = _finite(a, "a"), _finite(b, "b")
    if len(first) != len(second) or not len(first):
        raise ValueError(f"paired arms need the same seeds, at least one; there are {len(first)} and {len(second)}")
    differences = first - second
    n, mean = len(differences), float(differences.mean())
    if n == 1:
        return PairedDifference(1, mean, None, None, None, None)
    std = _std(differences, float(max(np.abs(first).max(), np.abs(second).max())))
    error = std / math.sqrt(n)
    half = float(student_t.ppf(0.975, n - 1)) * error
    p_value = float(2 * student_t.sf(abs(mean) / error, n - 1)) if std > 0 else None
    detectable = smallest_detectable_difference(n, std) if std > 0 else None
    return PairedDifference(n, mean, std, (mean - half, mean + half), p_value, detectable)


def smallest_detectable_difference(n: int, std: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the true mean difference that a two-sided paired t test finds with probability `power`.

    n: pairs, at least 2. std: standard deviation of the differences. Under a true difference d the t statistic follows
    the noncentral t distribution with n − 1 degrees of freedom and noncentrality d·√n/std; d solves
    P(|t| > critical value at `alpha`) = power (Cohen, "Statistical power analysis", 1988).
    """
    if n < 2 or not alpha < power < 1:
        raise ValueError(f"needs n of at least 2 and alpha < power < 1, not {n}, {alpha} and {power}")
    critical = student_t.ppf(1 - alpha / 2, n - 1)

    def lacking(noncentrality: float) -> float:
        # Significance of the wrong sign: SciPy gives NaN for some tails that are far below rounding.
        wrong_sign = np.nan_to_num(nct.cdf(-critical, n - 1, noncentrality))
        return float(nct.sf(critical, n - 1, noncentrality) + wrong_sign) - power

    upper = 1.0
    while lacking(upper) < 0:
        upper *= 2
    return float(brentq(lacking, 0.0, upper, xtol=1e-9)) * std / math.sqrt(n)


def bootstrap_ci(
    statistic: Callable[[np.ndarray], float | None],
    n_images: int,
    n_resamples: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
) -> BootstrapInterval:
    """Return the percentile bootstrap interval of a statistic over the images of a test set (Efron, 1979).

    statistic: takes rows, (m,) int64 with repeats, and returns the figure of those images, None where undefined: for
    instance `lambda rows: h_score(y[rows], p[rows], unknown)`, or the difference of two of these for a paired interval.
    groups: (n_images,) any labels; images of one group (a patient, a video) are drawn together, whole groups with
    replacement, so m varies. Resamples where the statistic is undefined are left out and counted.
    """
    if n_images < 1 or n_resamples < 1 or not 0 < confidence < 1:
        raise ValueError("bootstrap_ci needs at least one image and one resample, and a confidence between 0 and 1")
    draw = drawing(n_images, groups)
    estimate = statistic(np.arange(n_images))
    if estimate is None:
        return BootstrapInterval(None, None, None, 0)
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(n_resamples):
        figure = statistic(draw(rng))
        if figure is not None:
            figures.append(figure)
    if not figures:
        return BootstrapInterval(float(estimate), None, None, 0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(_finite(figures, "the statistic"), [tail, 1 - tail])
    return BootstrapInterval(float(estimate), float(low), float(high), len(figures))


def accuracy_interval(
    predictions: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None = None,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> BootstrapInterval:
    """Return the accuracy with its 95 % percentile bootstrap interval over test images, or over groups of them.

    predictions, labels: (N,); groups: (N,) as in `bootstrap_ci`. Without groups the number right in a resample is
    binomial, so it is drawn as such, which is the same distribution at no cost. Without images all is None; where all
    or none are right the interval has no width, as every bootstrap's.
    """
    predicted, true = np.asarray(predictions), np.asarray(labels)
    if predicted.shape != true.shape or predicted.ndim != 1:
        raise ValueError(f"predictions and labels must pair up, but have the shapes {predicted.shape} and {true.shape}")
    right = (predicted == true).astype(np.float64)
    if not len(right):
        return BootstrapInterval(None, None, None, 0)
    if groups is not None:
        return bootstrap_ci(lambda rows: float(right[rows].mean()), len(right), n_resamples, seed, groups)
    accuracy = float(right.mean())
    drawn = np.random.default_rng(seed).binomial(len(right), accuracy, n_resamples) / len(right)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return BootstrapInterval(accuracy, float(low), float(high), n_resamples)


def drawing(n_images: int, groups: ArrayLike | None = None) -> Callable[[np.random.Generator], np.ndarray]:
    """Return what draws the rows of one resample: as many images, or groups, as there are, with replacement.

    groups: (n_images,) as in `bootstrap_ci`; ValueError for another number of them.
    """
    if groups is None:
        return lambda rng: rng.integers(0, n_images, n_images)
    names = np.asarray(groups)
    if names.shape != (n_images,):
        raise ValueError(f"groups must name one group for each of the {n_images} images, not the shape {names.shape}")
    _, number = np.unique(names, return_inverse=True)
    order = np.argsort(number, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    return lambda rng: np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])


def _std(values: np.ndarray, scale: float) -> float:
    """Return the standard deviation with n − 1, exactly 0 where only rounding varies."""
    std = float(values.std(ddof=1))
    return std if std > _SAME * scale else 0.0


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{name} must be one list of finite numbers")
    return array
