"""How long training and the report will take, said before either begins."""

import numpy as np
import torch

from uda.attacks import frozen
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.preflight import copied_task, for_each, supervised_time
from uda.experiments.robustness.classifier import subject_of
from uda.experiments.robustness.examination import plan_of
from uda.probes.robustness import Examined, NamedAttack, Plan, Subject
from uda.recipe import RobustnessRecipe
from uda.ssl.views import to_float
from uda.tasks.robustness import Robust
from uda.training.timing import duration, timed
from uda.wording import counted

_AUTO = 4000  # steps that AutoAttack is reckoned as: 100 and 9 · 100 of APGD, 9 · 100 of FAB, 5,000 looks of Square
_TRIED = 16  # images that are timed


def time_lines(recipe: RobustnessRecipe, task: Robust, settings: Settings) -> list[str]:
    """Return how long training and the report take, from a few steps and a few images of a copy of the task."""
    options, data, runs = loop_options(recipe, recipe.seeds[0], settings), task.data, for_each(len(recipe.seeds))
    lines = []
    if options.steps:
        lines.append(supervised_time(task, options, settings.device, data.test_images, "all test images", runs))
    if data.examined is not None:
        copied, plan = copied_task(task).to(settings.device), plan_of(recipe.report, recipe.training.batch_size)
        seconds = report_seconds(subject_of(copied), data.examined, plan, settings.device)
        lines.append(
            f"the report takes about {duration(seconds)}{runs}, on {counted(len(data.examined.images), 'test image')}"
        )
    return lines


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
