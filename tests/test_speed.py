"""The benchmark of speed measures what it says it does."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import PARTS, measured, parts
from benchmarks.common import CPU
from benchmarks.speed import guard
from benchmarks.speed.guard import committed
from benchmarks.speed.machine import machine
from benchmarks.speed.measure import PeakMemory, ratio, spread
from benchmarks.speed.profiling import profile_row, profiled_loop
from benchmarks.speed.scaling import clustering_row
from benchmarks.speed.steps import (
    CASES,
    OBJECTIVES,
    Case,
    Stored,
    floor_of,
    memory_row,
    option_row,
    overhead_row,
    recipe_of,
    task_of,
    whole_steps,
)
from uda.errors import UserError
from uda.experiments.experiment import loop_options
from uda.training.allocation import keep_freed_memory

TINY = Case("smallconv", 16, 16, 4, 12)


def test_quartiles_and_ratios_by_hand() -> None:
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert ratio([2.0, 6.0, 6.0], [1.0, 2.0, 6.0]) == {"median": 2.0, "low": 1.5, "high": 2.5}  # of 2, 3 and 1


@pytest.mark.parametrize("objective", ["simclr", "dino", "dance"])
def test_the_floor_trains_the_same_weights_without_making_views(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(objective, TINY)
    task = task_of(objective, recipe, TINY, Stored(12, 16, CPU.device))
    step = floor_of(task, loop_options(recipe, 0, CPU), CPU.device)
    before = {name: p.detach().clone() for name, p in task.named_parameters() if p.requires_grad}

    def refuse(*_: object) -> None:
        raise AssertionError("a view was made")

    for kind in ("random_views.Contrast", "random_views.Weak", "views.CropFlip"):
        monkeypatch.setattr(f"uda.ssl.{kind}.__call__", refuse)
    for _ in range(3):
        step()
    moved = [name for name, p in task.named_parameters() if name in before and not torch.equal(before[name], p)]
    assert len(moved) > len(before) / 2


def test_rounds_are_timed_between_turns_of_the_other() -> None:
    recipe = recipe_of("simclr", TINY)
    task = task_of("simclr", recipe, TINY, Stored(12, 16, CPU.device))
    turns: list[int] = []
    forward: Callable[..., dict[str, torch.Tensor]] = task.forward
    steps: list[int] = []

    def counted(*given: object) -> dict[str, torch.Tensor]:
        steps.append(len(turns))
        return forward(*given)

    task.forward = counted  # type: ignore[method-assign]
    seconds = whole_steps(task, loop_options(recipe, 0, CPU), CPU.device, 3, 2, lambda: turns.append(1))
    assert len(seconds) == len(turns) == 3
    # One step that is not counted and two that are after each turn, and one more that ends the last round.
    assert [steps.count(turn) for turn in (1, 2, 3)] == [3, 3, 4]


def test_the_loop_takes_time_of_its_own() -> None:
    row = overhead_row(CPU.device, rounds=3, steps=20)
    assert row["row"] == "loop"
    assert row["ms_beyond_the_floor"]["median"] > 0  # it writes history.csv, which the floor does not


def test_an_option_is_measured_against_the_default() -> None:
    row = option_row(TINY, "precision", "bf16", CPU.device, rounds=3)
    assert (row["option"], row["backbone"]) == ("training.precision=bf16", "smallconv")
    assert 0 < row["default_ms"]["low"] <= row["default_ms"]["median"]
    assert row["times_the_default"]["median"] > 0


def test_freed_memory_that_is_given_back_is_measured_against_memory_that_is_kept() -> None:
    row = memory_row(TINY, rounds=3)
    assert (row["option"], row["backbone"]) == ("freed memory given back", "smallconv")
    assert row["default_ms"]["median"] > 0
    assert row["times_the_default"]["median"] > 0


def test_a_profile_counts_a_step_of_the_loop_beside_its_floor() -> None:
    row = profile_row("simclr", TINY, CPU.device, steps=2)
    convolved = next(own for own in row["operations"] if own["operation"] == "aten::convolution_backward")
    assert convolved["floor_ms"] > 0
    assert convolved["ms"] > 0


def test_what_comes_after_the_last_step_is_not_profiled() -> None:
    recipe = recipe_of("simclr", TINY)
    task = task_of("simclr", recipe, TINY, Stored(12, 16, CPU.device))
    found = profiled_loop(task, loop_options(recipe, 0, CPU), CPU.device, 2)
    assert "aten::convolution_backward" in found
    assert "aten::all" not in found  # of the check that all weights are finite


@pytest.mark.parametrize("kept", [False, True])  # freed memory that the process has is memory that is taken
def test_peak_memory_sees_what_was_held_for_a_moment(kept: bool) -> None:
    if kept:
        keep_freed_memory()
        torch.ones(80 << 20, dtype=torch.uint8)
    with PeakMemory(CPU.device) as peak:
        held = torch.ones(50 << 20, dtype=torch.uint8)
        del held
    assert 45 << 20 < peak.bytes < 80 << 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [200, 50])  # more than the batch of 64, and fewer
def test_both_forms_of_neighborhood_clustering_agree(rows: int, dtype: torch.dtype) -> None:
    row = clustering_row(rows, dtype, CPU.device, rounds=2)
    assert row["batch"] == min(64, rows)
    assert row["differs_by"]["loss"] < 1e-5
    assert row["differs_by"]["gradient"] < 1e-5


def test_what_fails_is_a_row_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> dict[str, float]:
        raise torch.OutOfMemoryError("no room\nfor that")

    rows = measured([broken, lambda: {"ms": 1.0}])
    assert rows == [{"failed": "OutOfMemoryError: no room for that"}, {"ms": 1.0}]
    assert capsys.readouterr().out.count("\n") == 2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_part_has_rows_to_measure(device: str) -> None:
    found = parts(torch.device(device), 7, 2)
    assert set(found) == set(PARTS)
    assert all(found[part] for part in PARTS if (part, device) != ("views", "cuda"))
    assert len(found["steps"]) == 16


def result_of(times: float, **changes: object) -> dict[str, object]:
    step = {"times_the_floor": {"median": times}}
    rows = [{"objective": name, **vars(case)} | step for case in CASES["cpu"] for name in OBJECTIVES]
    return {"steps": {"threads": 2, "processor": machine(CPU.device)["processor"], "rows": rows} | changes}


def test_the_guard_compares_each_step_or_says_why_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "speed_cpu.json"
    path.write_text(json.dumps(result_of(1.25)))
    found = committed(path, CPU.device, 2)
    assert set(found) == {(name, case) for case in CASES["cpu"] for name in OBJECTIVES}
    assert set(found.values()) == {1.25}
    with pytest.raises(UserError, match="measured with threads 2, and here it is 3; measure them on this machine"):
        committed(path, CPU.device, 3)
    for broken, words in (
        (result_of(1.25, processor="another"), "measured with processor another"),
        (result_of(1.25, rows=[]), "has no step of simclr with Case"),
        ({}, "holds no steps"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(UserError, match=words):
            committed(path, CPU.device, 2)
    with pytest.raises(UserError, match="holds no steps"):
        committed(tmp_path / "nothing.json", CPU.device, 2)


def test_the_guard_fails_where_a_step_is_a_tenth_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CASES", {"cpu": (TINY,)})
    monkeypatch.setattr(guard, "OBJECTIVES", ("rotation",))
    path = tmp_path / "speed_cpu.json"
    for times, status in ((1000.0, 0), (0.001, 1)):
        step = {"objective": "rotation", **vars(TINY), "times_the_floor": {"median": times}}
        path.write_text(json.dumps(result_of(1.0, rows=[step])))
        assert guard.check(path, CPU.device, 2, 2) == status
