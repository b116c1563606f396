import time

import pytest
import torch

from tests.tiny import tiny_domains, tiny_recipe, tiny_task
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.unida.assemble import build_task, prepare_inputs, unida_data
from uda.ssl import OBJECTIVES, Need
from uda.tasks import METHODS
from uda.training.timing import duration, seconds_per_step, timed

CPU = torch.device("cpu")


def seconds(*layers, patience: float = 1.0) -> float:
    recipe = tiny_recipe(*layers)
    return seconds_per_step(tiny_task(recipe), loop_options(recipe, 0, Settings(CPU)), CPU, patience)


def test_both_halves_of_the_run_count(monkeypatch):
    from uda.tasks.unida import UniDA

    forward = UniDA.forward

    def slow(task, batches, turn, clock):
        time.sleep(0.06 if clock.progress > 0.5 else 0.02)  # 40 ms in the mean
        return forward(task, batches, turn, clock)

    monkeypatch.setattr(UniDA, "forward", slow)
    assert seconds() >= 0.04


def test_without_patience_the_first_step_of_each_half_has_to_do():
    assert seconds(patience=0.0) > 0


def test_reading_counts_where_it_takes_longer(monkeypatch):
    from uda.datasets.packed import SquareImages

    batch = SquareImages.batch
    monkeypatch.setattr(SquareImages, "batch", lambda images, rows: time.sleep(0.1) or batch(images, rows))
    assert seconds() >= 0.2  # two streams


GIVEN = Need.PIXELS | Need.INDEX | Need.MAP


@pytest.mark.parametrize("name", [name for name, kind in OBJECTIVES.items() if kind.needs in GIVEN])
def test_every_objective_can_be_timed_from_its_start(name):
    recipe = tiny_recipe({"objectives": {name: {}}, "data": {"image_size": 32, "stored_size": 32}})
    domains = tiny_domains(recipe)
    inputs = prepare_inputs(recipe, domains, CPU, progress=False)
    task = build_task(recipe, unida_data(domains, inputs), inputs.backbone, 0)
    assert seconds_per_step(task, loop_options(recipe, 0, Settings(CPU)), CPU, patience=0.0) > 0


@pytest.mark.parametrize("method", METHODS["unida"])
def test_every_method_can_be_timed_from_its_start(method):
    assert seconds({"method": {"name": method}}, patience=0.0) > 0


def test_timed_waits_for_the_work():
    assert timed(lambda: time.sleep(0.02), CPU) >= 0.02


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (0.2, "1 second"),
        (40, "40 seconds"),
        (99, "99 seconds"),
        (120, "2 minutes"),
        (720, "12 minutes"),
        (7200, "2 hours"),
        (12_600, "3.5 hours"),
        (100_000, "28 hours"),
        (200_000, "2.3 days"),
        (86_400 * 30, "30 days"),
    ],
)
def test_durations_are_said_in_the_unit_that_suits_them(given, said):
    assert duration(given) == said
