"""The weights of the best evaluation, beside the checkpoints."""

from pathlib import Path

import pytest
from torch import nn

from uda.errors import UserError
from uda.training.checkpoint import Identity, saved_steps
from uda.training.history import History
from uda.training.selected import Selected, load_selected

IDENTITY = Identity("recipe", "data")


class Run:
    """A model whose only weight is the number of its step, and its history."""

    def __init__(self, out: Path):
        self.out, self.history = out, History(out / "history.csv", ["selection_snd"])
        self.selected = Selected(out, "selection_snd", self.history, IDENTITY)

    def evaluate(self, step: int, score: float | None) -> None:
        self.history.append([{"step": step, "loss": 1.0, "selection_snd": score}])
        self.selected.keep(step, model(step))

    @property
    def kept(self) -> list[int]:
        return saved_steps(self.out / "selected")


def model(step: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, step)
    return layer


def test_the_best_is_kept_and_of_equals_the_latest(tmp_path: Path) -> None:
    run = Run(tmp_path)
    scores = {10: 0.5, 20: 0.9, 30: 0.7, 40: 0.9, 50: 0.1}
    for (step, score), kept in zip(scores.items(), [10, 20, 20, 40, 40], strict=True):
        run.evaluate(step, score)
        assert run.kept == [kept]
    loaded = model(0)
    assert load_selected(tmp_path, loaded, IDENTITY) == 40
    assert loaded.weight.item() == 40.0


def test_until_a_score_is_defined_the_latest_is_kept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for (step, score), kept in zip({1: None, 2: None, 3: -5.0, 4: None, 5: -6.0}.items(), [1, 2, 3, 3, 3], strict=True):
        run.evaluate(step, score)
        assert run.kept == [kept]


def test_what_comes_after_the_checkpoint_is_forgotten_and_found_again(tmp_path: Path) -> None:
    first = Run(tmp_path)
    first.evaluate(2, 0.3)
    first.evaluate(4, 0.8)
    again = Run(tmp_path)
    again.history.cut(3)  # the checkpoint is of step 3
    again.selected.cut(3)
    assert again.kept == []
    again.evaluate(4, 0.8)
    assert again.kept == [4]
    again.selected.cut(4)
    assert again.kept == [4]


def test_what_was_lost_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not hold the weights of the selected step; start anew"):
        load_selected(tmp_path, model(0), IDENTITY)
    Run(tmp_path).evaluate(1, 0.5)
    with pytest.raises(UserError, match="comes from other data"):
        load_selected(tmp_path, model(0), Identity("recipe", "other"))
