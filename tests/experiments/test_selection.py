"""A run whose answer is the evaluation that a validator chose, from recipe to report."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import uda
from tests.tiny import assert_same_run, tiny_domains, tiny_recipe
from uda.errors import UserError
from uda.experiments.experiment import Settings, run_arm
from uda.experiments.parts import write_backbone
from uda.experiments.predict import predictions_table
from uda.experiments.selection import mean_selection, selection_content
from uda.experiments.unida.assemble import Inputs
from uda.experiments.unida.domains import Domains
from uda.experiments.unida.experiment import UnidaExperiment
from uda.experiments.unida.outputs import backbone_of
from uda.recipe import UnidaRecipe, differences
from uda.tasks.unida import UniDA
from uda.training.checkpoint import saved_steps
from uda.training.outputs import write_text

CPU = Settings(torch.device("cpu"), progress=False, say=lambda text: None)
SETTINGS: dict[str, Any] = {"training": {"evaluate_every": 2, "checkpoint_every": 5}, "rejection": "otsu"}


def recipe_for(rule: str, **changes: Any) -> UnidaRecipe:
    # Without the look beforehand, whose trial steps run on a copy: `PowerCut` would cut those off too.
    return tiny_recipe(SETTINGS, {"selection": rule, "preflight": False}, changes)


class WithoutPage(UnidaExperiment):
    """Writes what a run writes, but no report, which takes longer than all the rest."""

    def write(
        self, folder: Path, recipe: UnidaRecipe, loaded: Domains, inputs: Inputs, task: UniDA, content: dict[str, Any]
    ) -> None:
        assert task.last_answer is not None
        write_backbone(folder / "backbone.safetensors", backbone_of(task, inputs))
        table = predictions_table(loaded.target.table.paths, task.last_answer, loaded.class_names)
        write_text(folder / "predictions.csv", table.to_csv(index=False))


def adapt(recipe: UnidaRecipe, out: Path, domains: Domains | None = None, resume: bool = False) -> dict[str, Any]:
    settings = dataclasses.replace(CPU, resume=resume)
    return run_arm(WithoutPage(), recipe, domains or tiny_domains(recipe), out, settings).content


def evaluations(out: Path, column: str) -> dict[int, float]:
    table = pd.read_csv(out / "history.csv").dropna(subset=["universal_score"])
    return dict(zip(table["step"], table[column], strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run that was never stopped, and of which another step than the last was selected."""
    out = tmp_path_factory.mktemp("selection") / "whole"
    recipe = recipe_for("snd")
    run_arm(UnidaExperiment(), recipe, tiny_domains(recipe), out, CPU)
    return out


def test_the_answer_is_that_of_the_best_score(whole: Path) -> None:
    content = json.loads((whole / "metrics.json").read_text())
    scores, worth = (evaluations(whole, name) for name in ("selection_snd", "universal_score"))
    assert list(scores) == [2, 4, 6, 8, 10, 12]
    step = max(scores, key=lambda at: scores[at])
    assert step < 12  # else this file tests nothing
    assert saved_steps(whole / "selected") == [step]
    found = content["selection"]
    assert (found["rule"], found["step"], found["evaluations"], found["held_out"]) == ("snd", step, 6, 0)
    assert content["metrics"]["universal_score"] == pytest.approx(worth[step], abs=1e-12)
    assert found["oracle"]["universal_score"] == pytest.approx(max(worth.values()))
    assert found["by_validator"]["snd"] == {
        "step": step,
        "universal_score": worth[step],
        "regret": max(worth.values()) - worth[step],
    }
    assert found["last"] == {"step": 12, "universal_score": worth[12], "regret": max(worth.values()) - worth[12]}
    assert found["by_validator"]["dev"] is None
    page = (whole / "report.html").read_text()
    assert f"The answer is that of step {step} (rule: snd), of 6 evaluations" in page


def test_everything_written_is_of_the_selected_step(whole: Path) -> None:
    (folder,) = (whole / "selected").iterdir()
    kept = load_file(folder / "task.safetensors")
    backbone = load_file(whole / "backbone.safetensors")
    assert all(torch.equal(kept[f"encoder.backbone.{name}"], value) for name, value in backbone.items())
    last = load_file(whole / "checkpoint" / "step-12" / "task.safetensors")
    assert not all(torch.equal(last[f"encoder.backbone.{name}"], value) for name, value in backbone.items())
    table = pd.read_csv(whole / "predictions.csv")
    rejected = table["unknown_score"] > float(kept["threshold"])
    assert ((table["label"] == "unknown") == rejected).all()
    again = uda.load(whole, device="cpu")
    images = tiny_domains(again.recipe).target.images.square(np.arange(15), 16, "squash")
    assert again.predict(images)["label"].tolist() == table["label"].tolist()


class PowerCut(WithoutPage):
    """Training is gone in the forward pass of a step (0-based)."""

    def __init__(self, step: int):
        self.step = step

    def build(self, *arguments: Any) -> UniDA:
        task = super().build(*arguments)
        forward = task.forward

        def watched(batches: Any, turn: str, clock: Any) -> dict[str, torch.Tensor]:
            if clock.step == self.step:
                raise ConnectionAbortedError("the process is gone")
            return forward(batches, turn, clock)

        task.forward = watched  # type: ignore[method-assign]
        return task


@pytest.mark.parametrize("step", [3, 5, 9, 11])
def test_resume_selects_the_same_to_the_bit(whole: Path, tmp_path: Path, step: int) -> None:
    recipe, out = recipe_for("snd"), tmp_path / "cut"
    with pytest.raises(ConnectionAbortedError):
        run_arm(PowerCut(step), recipe, tiny_domains(recipe), out, CPU)
    adapt(recipe, out, resume=True)
    assert_same_run(whole, out)
    assert saved_steps(out / "selected") == saved_steps(whole / "selected")
    for name in ("backbone.safetensors", f"selected/step-{saved_steps(out / 'selected')[0]}/task.safetensors"):
        ours, theirs = load_file(out / name), load_file(whole / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_resume_after_the_last_checkpoint_selects_the_same(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "cut")
    for name in ("metrics.json", "predictions.csv", "report.html", "backbone.safetensors"):
        (tmp_path / "cut" / name).unlink()
    adapt(recipe_for("snd"), tmp_path / "cut", resume=True)
    assert_same_run(whole, tmp_path / "cut")


def test_the_last_step_is_the_default_and_keeps_nothing(whole: Path, tmp_path: Path) -> None:
    assert tiny_recipe().selection == "last"
    content = adapt(recipe_for("last"), tmp_path / "last")
    assert not (tmp_path / "last" / "selected").exists()
    assert content["selection"]["rule"] == "last"
    assert content["selection"]["step"] == 12
    # Selection changes what is kept, not what is trained.
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "last" / "history.csv"), pd.read_csv(whole / "history.csv"))
    assert content["metrics"]["universal_score"] == evaluations(whole, "universal_score")[12]


def test_target_labels_select_nothing(whole: Path, tmp_path: Path) -> None:
    recipe = recipe_for("snd")
    domains = tiny_domains(recipe)
    table = dataclasses.replace(domains.target.table, labels=np.roll(domains.target.table.labels, 7))
    permuted = dataclasses.replace(domains, target=dataclasses.replace(domains.target, table=table))
    content = adapt(recipe, tmp_path / "permuted", permuted)
    assert (tmp_path / "permuted/predictions.csv").read_text() == (whole / "predictions.csv").read_text()
    honest = json.loads((whole / "metrics.json").read_text())
    assert content["metrics"] != honest["metrics"]  # the labels are others
    found, true = content["selection"]["by_validator"], honest["selection"]["by_validator"]
    for name in ("entropy", "snd", "mixval"):
        ours, theirs = (pd.read_csv(out / "history.csv")[f"selection_{name}"] for out in (tmp_path / "permuted", whole))
        assert ours.equals(theirs)
        assert (found[name] or {}).get("step") == (true[name] or {}).get("step")


def test_held_out_images_give_the_other_two(tmp_path: Path) -> None:
    found = adapt(recipe_for("dev", data={"source_holdout": 0.4}), tmp_path / "out")["selection"]
    assert found["held_out"] == 6  # .4 of 5 images, of 3 classes
    assert found["by_validator"]["dev"]["step"] == found["step"]
    assert found["by_validator"]["iwv"] is not None


@pytest.mark.parametrize("steps", [0, 3])
def test_one_evaluation_leaves_nothing_to_choose(tmp_path: Path, steps: int) -> None:
    recipe = recipe_for("snd", training={"steps": steps, "evaluate_every": 0})
    content = adapt(recipe, tmp_path / "out")
    assert (content["selection"]["step"], content["selection"]["evaluations"]) == (steps, 1)
    assert content["selection"]["last"]["regret"] == 0
    adapt(recipe, tmp_path / "out", resume=True)
    assert saved_steps(tmp_path / "out" / "selected") == [steps]


def test_with_a_selection_the_evaluations_decide_the_numbers() -> None:
    def changed(rule: str) -> list[str]:
        return differences(recipe_for(rule), recipe_for(rule, training={"evaluate_every": 3, "checkpoint_every": 5}))

    assert changed("last") == []
    assert changed("snd") == ["training.evaluate_every: 2 → 3"]


def test_a_selected_step_that_was_lost(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run", ignore=shutil.ignore_patterns("selected"))
    with pytest.raises(UserError, match="does not hold the weights of the selected step"):
        uda.load(tmp_path / "run", device="cpu").predict(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


HISTORY = pd.DataFrame(
    {
        "step": [1, 2, 3, 4],
        "universal_score": [None, 0.5, 0.75, 0.625],
        "selection_entropy": [None, -1.0, -2.0, -1.0],
        "selection_snd": [None, 1.0, 3.0, 2.0],
        "selection_mixval": [None, None, None, None],
    }
)


def test_regrets_by_hand() -> None:
    found = selection_content("entropy", HISTORY, None, 3)
    # step 1 was no evaluation; entropy has two best, of which the later; the oracle is step 3
    assert found == {
        "rule": "entropy",
        "step": 4,
        "evaluations": 3,
        "held_out": 3,
        "by_validator": {
            "entropy": {"step": 4, "universal_score": 0.625, "regret": 0.125},
            "snd": {"step": 3, "universal_score": 0.75, "regret": 0.0},
            "mixval": None,
            "iwv": None,
            "dev": None,
        },
        "last": {"step": 4, "universal_score": 0.625, "regret": 0.125},
        "oracle": {"step": 3, "universal_score": 0.75},
    }
    assert selection_content("mixval", HISTORY, None, 3)["step"] == 4  # undefined everywhere: the last
    assert selection_content("last", HISTORY, None, 3)["step"] == 4


def test_without_labels_there_is_no_oracle_and_no_regret() -> None:
    found = selection_content("snd", HISTORY.assign(universal_score=None), None, 0)
    assert found["oracle"] is None
    assert found["step"] == 3
    assert found["by_validator"]["snd"] == {"step": 3, "universal_score": None, "regret": None}


def test_seeds_are_averaged() -> None:
    better = HISTORY.assign(universal_score=HISTORY["universal_score"] + 0.125)
    seeds = [selection_content("snd", table, None, 0) for table in (HISTORY, better)]
    found = mean_selection(seeds)
    assert found["rule"] == "snd"
    assert found["by_validator"]["entropy"] == {"universal_score": 0.6875, "regret": 0.125}
    assert found["by_validator"]["dev"] is None
    assert found["oracle"] == {"universal_score": 0.8125}
    assert found["last"] == {"universal_score": 0.6875, "regret": 0.125}
