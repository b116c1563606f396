"""The report's measurements: clean, corrupted, attacked and other images, each part by itself."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from uda.attacks import frozen
from uda.datasets.sampling import stratified
from uda.datasets.streams import Subset
from uda.errors import UserError
from uda.metrics import auroc_interval, calibration_intervals, calibration_metrics, ood_metrics
from uda.probes.ood import unknown_scores
from uda.probes.robustness.findings import Attacked, Baseline, Findings, Judged, Told, ends_of
from uda.probes.robustness.plan import Examined, NamedAttack, Plan
from uda.probes.robustness.subject import Outputs, Subject, batches, outputs
from uda.probes.temperature import fit_temperature, scaled_probabilities
from uda.random import permutation
from uda.ssl.views import to_float

Say = Callable[[str], None]


def examine(
    subject: Subject, data: Examined, plan: Plan, baseline: Baseline | None = None, say: Say = lambda text: None
) -> Findings:
    """Return everything that a report shows of a model, held in evaluation mode; say: is told which part comes next."""
    say(f"clean: {len(data.images)} images")
    test = outputs(subject, data.images, plan.batch_size, details=True)
    temperatures = temperatures_of(subject, data, test, plan.batch_size)
    clean = judged("clean", 0, test.logits, data.labels, temperatures)
    cells, worst = corrupted(subject, data, temperatures, plan, say)
    rows = stratified(data.labels, plan.attacked) if plan.attacks else np.empty(0, dtype=np.int64)
    scaled = scaled_probabilities(test.logits, temperatures).numpy()
    intervals = {
        name + ending: ends_of(found)
        for ending, probabilities in (("", test.probabilities), ("_scaled", scaled))
        for name, found in calibration_intervals(probabilities, data.labels, groups=data.groups).items()
    }
    return Findings(
        clean,
        float(temperatures.mean()),
        "halves" if data.validation is None else "validation",
        intervals,
        [
            ("clean", test.probabilities, data.labels),
            ("clean, with the temperature", scaled, data.labels),
            *worst,
        ],
        cells,
        data.corrupted is None or data.corrupted.paired,
        [attacked(subject, data, rows, attack, plan, say) for attack in plan.attacks],
        rows,
        others(subject, data, test, plan.batch_size, say),
        baseline,
        data.groups,
    )


def temperatures_of(subject: Subject, data: Examined, test: Outputs, batch_size: int) -> np.ndarray:
    """Return the temperature of each test image, (N,): fitted on the validation images, or on the half it is not in.

    No group is in both halves. A half without images, where a single image or group is tested, has the temperature 1.
    """
    n = len(data.labels)
    if data.validation is not None:
        images, labels = data.validation
        return np.full(n, fit_temperature(outputs(subject, images, batch_size).logits, labels))
    of = np.arange(n) if data.groups is None else np.unique(data.groups, return_inverse=True)[1]
    units = len(np.unique(of))
    first = np.isin(of, permutation(units, 0, 0, "temperature halves")[: units // 2])
    found = np.ones(n)
    for half in (first, ~first):
        if half.any() and not half.all():
            found[half] = fit_temperature(test.logits[~half], data.labels[~half])
    return found


def judged(name: str, severity: int, logits: Tensor, labels: np.ndarray, temperatures: np.ndarray) -> Judged:
    """Return how right and how sure logits (N, K) are; temperatures (M,): their mean is used where M is not N."""
    if len(temperatures) != len(labels):
        temperatures = np.full(len(labels), temperatures.mean())
    before, after = (scaled_probabilities(logits, values).numpy() for values in (1.0, temperatures))
    right = logits.argmax(1).numpy() == labels
    return Judged(name, severity, right, calibration_metrics(before, labels), calibration_metrics(after, labels))


def corrupted(
    subject: Subject, data: Examined, temperatures: np.ndarray, plan: Plan, say: Say
) -> tuple[list[Judged], list[tuple[str, np.ndarray, np.ndarray]]]:
    """Return the model's answers under each corruption at each severity, and a diagram of all at the highest one."""
    if data.corrupted is None:
        return [], []
    cells, probabilities, truth = [], [], []
    worst = max(data.corrupted.severities)
    for name in data.corrupted.names:
        say(f"corruption: {name}")
        for severity in data.corrupted.severities:
            images, labels = data.corrupted.at(name, severity)
            logits = outputs(subject, images, plan.batch_size).logits
            cells.append(judged(name, severity, logits, labels, temperatures))
            if severity == worst:
                probabilities.append(scaled_probabilities(logits, 1.0).numpy())
                truth.append(labels)
    return cells, [(f"all corruptions, severity {worst}", np.concatenate(probabilities), np.concatenate(truth))]


def attacked(subject: Subject, data: Examined, rows: np.ndarray, attack: NamedAttack, plan: Plan, say: Say) -> Attacked:
    """Return which of those rows are still right under an attack; its random starts depend on the row alone."""
    say(f"attack: {attack.name}, {attack.norm}, eps {attack.levels:g}/255")
    right = []
    with frozen(subject):
        for some, pixels in batches(Subset(data.images, rows), plan.batch_size):
            index = torch.from_numpy(rows[some]).to(subject.device)
            labels = torch.from_numpy(data.labels[rows[some]]).to(subject.device)
            found = attack(subject, to_float(pixels.to(subject.device)), labels, plan.seed, index)
            with torch.no_grad():
                right.append((subject(found).argmax(1) == labels).cpu().numpy())
    return Attacked(attack.name, attack.norm, attack.levels, attack.steps, attack.restarts, np.concatenate(right))


def others(subject: Subject, data: Examined, test: Outputs, batch_size: int, say: Say) -> list[Told]:
    """Return how well each unknown-score that the model allows tells each other set from the test images."""
    training = None
    if data.training is not None and test.features is not None:
        training = outputs(subject, data.training[0], batch_size, details=True).features, data.training[1]

    def scores(of: Outputs) -> dict[str, np.ndarray]:
        features, labels = (None, None) if training is None else training
        if labels is not None and np.bincount(labels).max(initial=0) < 2:
            labels = None  # no class of a single image has a spread, so there is no Mahalanobis distance
        try:
            found = unknown_scores(of.logits, of.features, features, labels, of.turned)
        except UserError:  # a network that has collapsed: nothing differs from its class's mean
            found = unknown_scores(of.logits, of.features, features, None, of.turned)
        return {name: values.cpu().numpy() for name, values in found.items()}

    known = scores(test) if data.near or data.far else {}
    told = []
    for distance, sets in (("near", data.near), ("far", data.far)):
        for dataset, images in sets.items():
            say(f"{distance}: {dataset}")
            unknown = scores(outputs(subject, images, batch_size, details=True))
            for name, values in known.items():
                ends = ends_of(auroc_interval(values, unknown[name], known_groups=data.groups))
                metrics = ood_metrics(values, unknown[name])
                told.append(Told(dataset, distance, name, len(images), metrics, ends))
    return told
