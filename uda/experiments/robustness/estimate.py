"""How long training and the report will take, said before either begins."""

import copy

import numpy as np
import torch

from uda.attacks import frozen
from uda.probes.robustness import Examined, NamedAttack, Plan, Subject
from uda.ssl.views import to_float
from uda.tasks.robustness import Robust
from uda.training.loop import LoopOptions
from uda.training.timing import duration, seconds_per_step, timed
from uda.wording import counted

_AUTO = 4000  # steps that AutoAttack is reckoned as: 100 and 9 · 100 of APGD, 9 · 100 of FAB, 5,000 looks of Square
_TRIED = 16  # images that are timed


def time_line(task: Robust, options: LoopOptions, plan: Plan, device: torch.device, seeds: int) -> str:
    """Return how long training and the report take, from a few steps and a few images of a copy of the task."""
    data = task.examined
    assert data is not None
    copied = copy.deepcopy(task, {id(task.data): task.data, id(data): data})
    copied.to(device)
    report = report_seconds(Subject(copied.encoder, copied.method.classifier), data, plan, device)
    step = seconds_per_step(copied, options, device) if options.steps else 0.0
    each = f" for each of {seeds} seeds" if seeds > 1 else ""
    parts = [f"the report about {duration(report)}"]
    if options.steps:
        parts.insert(
            0, f"training takes about {duration(options.steps * step)} ({options.steps} steps of {step:.2g} s)"
        )
    return f"{' and '.join(parts)}{each}, on {counted(len(data.images), 'test image')}"


def report_seconds(subject: Subject, data: Examined, plan: Plan, device: torch.device) -> float:
    """Return the seconds that a report takes: looks at clean, corrupted and other images, and the attacks."""
    with frozen(subject):
        return _seconds(subject, data, plan, device)


def _seconds(subject: Subject, data: Examined, plan: Plan, device: torch.device) -> float:
    rows = np.arange(min(_TRIED, len(data.images)))
    views = to_float(data.images.batch(rows).to(device))
    labels = torch.from_numpy(data.labels[rows]).to(device)
    n = len(rows)

    @torch.no_grad()
    def look() -> None:
        subject(views)

    look()
    look_one = timed(look, device) / n
    total = look_one * (len(data.images) + sum(len(images) for images in (*data.near.values(), *data.far.values())))
    for given in (data.validation, data.training):
        total += look_one * (0 if given is None else len(given[1]))
    if data.corrupted is not None:
        for name in data.corrupted.names:
            images, own = data.corrupted.at(name, data.corrupted.severities[0])
            some = np.arange(min(_TRIED, len(own)))
            making = timed(lambda images=images, some=some: images.batch(some), device) / len(some)  # type: ignore[misc]
            total += (making + look_one) * len(own) * len(data.corrupted.severities)
    if plan.attacks:
        one_step = NamedAttack("pgd-1", 1.0)
        index = torch.arange(n, device=device)
        following = timed(lambda: one_step(subject, views, labels, 0, index), device) / n
        followed = sum((attack.steps or _AUTO) * attack.restarts for attack in plan.attacks)
        total += following / 2 * followed * min(plan.attacked, len(data.images))  # pgd-1 looks three times, once back
    return total
