"""What a robustness report has found, and the figures that are made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from uda.metrics import BootstrapInterval, bootstrap_ci, mean_corruption_error, relative_mean_corruption_error

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Judged:
    """A model's answers about N labelled images, clean ones or under a corruption (`name`, `severity`).

    right: (N,) bool; before, after: calibration figures as the model is and with its temperature (`None` undefined).
    """

    name: str
    severity: int
    right: np.ndarray
    before: Mapping[str, float | None]
    after: Mapping[str, float | None]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Attacked:
    """What is left of the accuracy under an attack: right is (n,) bool, of the same images for every attack."""

    name: str
    norm: str
    levels: float
    steps: int
    restarts: int
    right: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Told:
    """How well one unknown-score tells one set of other images from the test images; metrics as in `ood_metrics`."""

    dataset: str
    distance: str  # "near" or "far"
    score: str
    images: int
    metrics: Mapping[str, float | None]
    interval: Interval  # of the AUROC


@dataclass(frozen=True)
class Baseline:
    """Whose errors the mCE divides by: of each corruption the mean over severities, and on clean images."""

    name: str
    errors: Mapping[str, float]
    clean: float


@dataclass(frozen=True)
class Findings:
    """Everything a report shows.

    temperature: the one fitted, the mean of two where it is fitted on halves; fitted_on: "validation" or "halves";
    calibration: intervals of the figures of `clean`, before and, with "_scaled", after; attacked_rows: (n,), which
    of the images were attacked; diagrams: probabilities (N, K) and labels (N,) to draw, by
    title; paired: whether the corrupted images are the clean ones, row by row.
    """

    clean: Judged
    temperature: float
    fitted_on: str = "validation"
    calibration: Mapping[str, Interval] = field(default_factory=dict)
    diagrams: Sequence[tuple[str, np.ndarray, np.ndarray]] = ()
    corruptions: Sequence[Judged] = ()
    paired: bool = True
    attacks: Sequence[Attacked] = ()
    attacked_rows: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    told: Sequence[Told] = ()
    baseline: Baseline | None = None
    groups: np.ndarray | None = None

    @property
    def clean_attacked(self) -> np.ndarray:
        """Which of the attacked images are right without an attack, (n,) bool."""
        return self.clean.right[self.attacked_rows]

    @property
    def corrupted_groups(self) -> np.ndarray | None:
        """The group of each corrupted image; None where these are not the clean ones."""
        return self.groups if self.paired else None

    @property
    def attacked_groups(self) -> np.ndarray | None:
        """The group of each attacked image, (n,)."""
        return None if self.groups is None else self.groups[self.attacked_rows]

    def errors(self) -> dict[str, list[float]]:
        """Return the error of each corruption at each severity looked at."""
        found: dict[str, list[float]] = {}
        for cell in self.corruptions:
            found.setdefault(cell.name, []).append(1 - cell.accuracy)
        return found

    def right(self) -> dict[str, np.ndarray]:
        """Return for each figure that is a mean over images its values image by image, which comparisons pair."""
        found = {"accuracy": self.clean.right}
        if same_images(self.corruptions):
            found["corruption_accuracy"] = np.mean([cell.right for cell in self.corruptions], axis=0)
        return found | {metric_name(attack): attack.right for attack in self.attacks}

    def belonging(self) -> dict[str, np.ndarray]:
        """Return for each figure of `right` the group of each of its images; nothing where none are known."""
        attacks = {metric_name(attack): self.attacked_groups for attack in self.attacks}
        found = {"accuracy": self.groups, "corruption_accuracy": self.corrupted_groups, **attacks}
        return {name: groups for name, groups in found.items() if groups is not None}

    def metrics(self) -> dict[str, float | None]:
        """Return the figures for `metrics.json`, None where undefined."""
        clean, cells = self.clean, self.corruptions
        found: dict[str, float | None] = {"accuracy": clean.accuracy, **clean.before}
        found |= {f"{name}_scaled": value for name, value in clean.after.items()}
        if cells:
            found["corruption_accuracy"] = float(np.mean([cell.accuracy for cell in cells]))
            found["corruption_ece"] = _mean([cell.before["ece"] for cell in cells])
            found["corruption_ece_scaled"] = _mean([cell.after["ece"] for cell in cells])
            found["mce"], found["relative_mce"] = self.mce(self.errors(), 1 - clean.accuracy)
        found |= {metric_name(attack): float(attack.right.mean()) for attack in self.attacks}
        for distance in ("near", "far"):
            for score in dict.fromkeys(cell.score for cell in self.told):
                own = [cell.metrics["auroc"] for cell in self.told if (cell.distance, cell.score) == (distance, score)]
                if own:
                    found[f"{distance}_auroc_{score}"] = _mean(own)
        return found

    def mce(self, errors: Mapping[str, Sequence[float]], clean: float) -> tuple[float | None, float | None]:
        """Return mCE and relative mCE of those corruptions that the baseline has, None without one."""
        if self.baseline is None:
            return None, None
        own = {name: float(np.mean(errors[name])) for name in errors if name in self.baseline.errors}
        return (
            mean_corruption_error(own, self.baseline.errors),
            relative_mean_corruption_error(own, self.baseline.errors, clean, self.baseline.clean),
        )

    def intervals(self, seed: int = 0) -> dict[str, Interval]:
        """Return 95 % bootstrap intervals, over groups where known: of means over images, calibration and the mCE."""
        belong = self.belonging()
        found = {name: mean_interval(values, seed, belong.get(name)) for name, values in self.right().items()}
        found |= self.calibration
        if self.baseline is not None and same_images(self.corruptions):
            stacked = {
                name: np.mean([1 - cell.right for cell in self.corruptions if cell.name == name], axis=0)
                for name in self.errors()
            }
            clean, count = 1 - self.clean.right, len(self.corruptions[0].right)

            def figure(which: int) -> Callable[[np.ndarray], float | None]:
                return lambda rows: self.mce(
                    {name: [float(values[rows].mean())] for name, values in stacked.items()},
                    float((clean[rows] if self.paired else clean).mean()),
                )[which]

            for which, name in enumerate(("mce", "relative_mce")):
                found[name] = ends_of(bootstrap_ci(figure(which), count, seed=seed, groups=self.corrupted_groups))
        return found


def metric_name(attack: Attacked) -> str:
    """Return the name of an attack's figure in `metrics.json`: "pgd-20_linf_8_accuracy"."""
    return f"{attack.name}_{attack.norm}_{attack.levels:g}_accuracy"


def same_images(cells: Sequence[Judged]) -> bool:
    """Return whether there are cells and all are of the same number of images, which then pair."""
    return len({len(cell.right) for cell in cells}) == 1


def mean_interval(values: np.ndarray, seed: int = 0, groups: np.ndarray | None = None) -> Interval:
    """Return the 95 % bootstrap interval of a mean over images, values (N,), or over groups of them, (N,)."""
    if not len(values):
        return None
    return ends_of(bootstrap_ci(lambda rows: float(values[rows].mean()), len(values), seed=seed, groups=groups))


def ends_of(interval: BootstrapInterval) -> Interval:
    """Return both ends of a bootstrap interval, None where it has none."""
    return None if interval.low is None or interval.high is None else (interval.low, interval.high)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) and defined else None
