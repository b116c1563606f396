"""What the task tells its validators, and what it must not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.unida.small import N_SOURCE, N_TARGET, Pixels, copy_of_state, run, small_data, small_task
from uda.metrics import UNIDA_METRICS
from uda.probes.answer import Answer
from uda.probes.selection import COLUMN, VALIDATORS, Evidence
from uda.tasks.unida import METHODS
from uda.tasks.unida.evidence import MOST, gather

HELD_OUT = np.array([0, 1, 2, 9, 10, 11])


def scores_of(metrics: dict[str, float | None]) -> dict[str, float | None]:
    return {name.removeprefix(COLUMN): value for name, value in metrics.items() if name.startswith(COLUMN)}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_evaluation_has_every_validators_score(tmp_path: Path, method: str) -> None:
    metrics = run(small_task(method, held_out=HELD_OUT, rejection="otsu"), tmp_path)
    scores = scores_of(metrics)
    assert set(scores) == set(VALIDATORS)
    # After four steps a method may still call all that it accepts one class, and then MixVal has nothing to mix.
    assert all(score is not None and np.isfinite(score) for name, score in scores.items() if name != "mixval")
    assert (tmp_path / "history.csv").read_text().splitlines()[0].endswith(",selection_iwv,selection_dev")


def test_without_held_out_images_nothing_is_said_of_them() -> None:
    scores = scores_of(small_task(rejection="otsu").evaluate())
    assert scores["iwv"] is None
    assert scores["dev"] is None
    assert scores["snd"] is not None


def test_held_out_images_are_never_trained_on() -> None:
    stream = small_task("source_only", held_out=HELD_OUT).streams()["source"]
    drawn = np.concatenate([stream.batch(number).index for number in range(200)])
    assert set(drawn.tolist()) == set(range(N_SOURCE)) - set(HELD_OUT.tolist())


def test_without_held_out_images_the_source_is_drawn_as_ever() -> None:
    batches = [small_task(held_out=rows).streams()["source"].batch(3) for rows in (None, np.arange(0))]
    assert torch.equal(batches[0].index, batches[1].index)
    assert batches[0].labels is not None
    assert torch.equal(batches[0].labels, batches[0].index % 3)


@pytest.mark.parametrize("change", ["permuted", "absent"])
def test_target_labels_change_no_score(tmp_path: Path, change: str) -> None:
    found = {}
    for name in ("true", change):
        data = small_data()
        if name == "permuted":
            data = dataclasses.replace(data, target_labels=np.roll(data.target_labels, 1))
        if name == "absent":
            data = dataclasses.replace(data, target_labels=np.full(N_TARGET, -1))
        found[name] = run(small_task(data=data, held_out=HELD_OUT, rejection="otsu"), tmp_path / name)
    assert scores_of(found["true"]) == scores_of(found[change])
    assert [found["true"][name] for name in UNIDA_METRICS] != [found[change][name] for name in UNIDA_METRICS]


def test_validators_leave_the_model_alone() -> None:
    task = small_task(held_out=HELD_OUT).train()
    task.evaluate()
    assert task.last_answer is not None
    before = copy_of_state(task)
    task.validate(task.last_answer)
    assert task.training
    after = task.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_is_gathered() -> None:
    task = small_task(rejection="otsu")
    task.evaluate()
    answer = task.last_answer
    assert answer is not None
    asked: list[int] = []

    def ask(images: Pixels) -> Answer:
        asked.append(len(images))
        return task.answer(images, answer.threshold)

    source = task.data.source
    found: Evidence = gather(answer, task.data.target, source, task.data.source_labels, ask)
    assert found.target.scores.tolist() == answer.scores.tolist()  # 30 images are few enough for all
    assert found.mixed is not None
    assert found.mixed_labels is not None
    assert asked == [len(found.mixed_labels), N_SOURCE]
    assert found.mixed.threshold == answer.threshold
    assert found.source is not None
    assert found.source.features == pytest.approx(task.encode(source)[0], abs=1e-5)


def test_of_many_images_evenly_spread_ones_are_asked() -> None:
    n = 3 * MOST
    many = Answer(np.zeros((n, 1)), np.tile([0.5, 0.5], (n, 1)), np.arange(n, dtype=float), float(n))
    images = Pixels(torch.zeros(n, 3, 1, 1, dtype=torch.uint8))

    def ask(some: Pixels) -> Answer:
        return many.at(np.arange(len(some)))

    found = gather(many, images, images, np.arange(n), ask)
    assert len(found.target.scores) == MOST
    assert found.target.scores[[0, -1]].tolist() == [0, n - 1]
    assert found.source_labels is not None
    assert found.source_labels.tolist() == found.target.scores.astype(int).tolist()
