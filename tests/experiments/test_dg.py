"""Domain generalization from the command: what it prints and leaves, comparisons, resuming, prediction."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file

import uda
from tests.report.reading import read
from tests.tasks.dg.small import small_task
from tests.tiny import SMALL, assert_same_run, command, draw_classes, metrics_of, tensors_of
from uda.experiments.dg import outputs
from uda.experiments.dg.preflight import expected_time
from uda.experiments.experiment import Settings
from uda.layers import published_layers, read_layer
from uda.recipe import DgRecipe, build_as

OF_A_RUN = {
    *("recipe.yaml", "metrics.json", "history.csv", "checkpoint"),
    *("backbone.safetensors", "predictions.csv", "report.html"),
}
METRICS = {"accuracy", "per_class_accuracy", "source_accuracy", "ece"}


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three domains with two classes; the night has a class of its own."""
    root = tmp_path_factory.mktemp("domains")
    draw_classes(root / "day", {"apple": 6, "bird": 6})
    draw_classes(root / "dusk", {"apple": 6, "bird": 6}, noise=40)
    draw_classes(root / "night", {"apple": 5, "bird": 5, "cat": 2}, noise=60)
    return root


def generalize(domains: Path, out: Path, *more: object, target: str = "night", steps: int = 6, flags: Any = ()) -> int:
    """Hold a domain out with the smallest network; return the exit status. more: further values of --set."""
    ends = ("--source", domains, "--target", target, "--steps", steps, "--out", out, *flags)
    return command("--task", "dg", *ends, *SMALL, "training.checkpoint_every=3", *more)


@pytest.fixture(scope="module")
def finished(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of JiGen with DeepAll, chosen by source images, not to be written into."""
    out = tmp_path_factory.mktemp("finished") / "run"
    own = ("selection=source", "training.evaluate_every=2", "data.validation=0.3")
    assert generalize(domains, out, *own, flags=("--compare",)) == 0
    return out


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert {entry.name for entry in finished.iterdir()} == OF_A_RUN | {"baseline", "selected", "summary.html"}
    content = metrics_of(finished)
    assert (content["task"], content["method"], content["steps"]) == ("dg", "deepall+jigsaw", 6)
    assert set(content["metrics"]) == METRICS
    assert content["images"] == {"source": 24, "validation": 8, "target": 10}
    assert content["target_images_used"] is False
    assert content["chosen"]["rule"] == "source"
    history = pd.read_csv(finished / "history.csv").set_index("step")
    best = history["source_accuracy"].dropna()
    assert content["chosen"] == {"rule": "source", "step": int(best[best == best.max()].index[-1]), "evaluations": 3}
    assert content["metrics"]["source_accuracy"] == best.max()
    predictions = pd.read_csv(finished / "predictions.csv")
    assert list(predictions.columns) == ["path", "label", "confidence", "unknown_score"]
    assert len(predictions) == 10
    truth = predictions["path"].map(lambda path: Path(path).parent.name)
    assert content["metrics"]["accuracy"] == (truth == predictions["label"]).mean()
    model = timm.create_model("smallconv", num_classes=0)
    model.load_state_dict(load_file(finished / "backbone.safetensors"))
    text = " ".join(read((finished / "report.html").read_text(encoding="utf-8")).text)
    for part in ("Answer", "Example images", "Confusion matrix", "Training curves", "held out", "2 of the 12 images"):
        assert part in text


def test_the_default_is_jigen_and_it_is_compared_with_deepall(finished: Path) -> None:
    ours, theirs = (read_layer(folder / "recipe.yaml") for folder in (finished, finished / "baseline"))
    puzzle = ours["objectives"]["jigsaw"]
    assert (puzzle["form"], puzzle["weight"], puzzle["gray"]) == ("assembled", "0.7", "0.0")
    assert (ours["method"]["name"], theirs["method"]["name"], theirs["objectives"]) == ("deepall", "deepall", {})
    assert {key: ours[key] for key in ("data", "views", "training", "seeds")} == {
        key: theirs[key] for key in ("data", "views", "training", "seeds")
    }
    difference = metrics_of(finished)["difference"]
    assert difference["against"] == "deepall"
    assert difference["metrics"]["accuracy"]["ci95"] is not None
    page = " ".join(read((finished / "summary.html").read_text(encoding="utf-8")).text)
    assert "Class activation maps" in page
    assert "Where each model sees evidence" in page


def test_resuming_ends_with_the_same_bits(domains: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    for arm in (out, out / "baseline"):
        (arm / "metrics.json").unlink()
        (arm / "predictions.csv").unlink()
        shutil.rmtree(arm / "checkpoint" / "step-6")
    assert command("--task", "dg", "--resume", "--out", out) == 0
    assert_same_run(finished, out)
    assert_same_run(finished / "baseline", out / "baseline")


def test_a_finished_run_classifies_other_images(finished: Path, domains: Path, tmp_path: Path) -> None:
    result = uda.load(finished)
    again = result.predict(domains / "night").set_index("path")
    known = pd.read_csv(finished / "predictions.csv").set_index("path")
    assert again.loc[known.index, "label"].tolist() == known["label"].tolist()
    assert command("--task", "predict", "--source", finished, "--target", domains / "day", "--out", tmp_path / "p") == 0
    assert len(pd.read_csv(tmp_path / "p" / "predictions.csv")) == 12


def test_leave_one_out_trains_a_run_for_each_source_domain(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "write_dg_report", lambda path, report: path.write_text(report.title))
    own = ("selection=leave_one_out", "training.evaluate_every=2")
    assert generalize(domains, tmp_path / "run", *own, steps=4, flags=("--method", "deepall")) == 0
    folds = [pd.read_csv(tmp_path / "run" / "folds" / str(d) / "history.csv").set_index("step") for d in (0, 1)]
    means = (folds[0]["accuracy"].dropna() + folds[1]["accuracy"].dropna()) / 2
    assert means.index.tolist() == [2, 4]
    content = metrics_of(tmp_path / "run")
    assert content["chosen"]["step"] == max((2, 4), key=lambda step: (means[step], step))
    assert content["metrics"]["leave_one_out_accuracy"] == pytest.approx(means.max())
    assert content["method"] == "deepall"  # a method that is named comes without the puzzle
    shutil.copytree(tmp_path / "run", tmp_path / "again")
    (tmp_path / "again" / "metrics.json").unlink()
    shutil.rmtree(tmp_path / "again" / "checkpoint" / "step-4")
    shutil.rmtree(tmp_path / "again" / "folds" / "1")
    assert command("--task", "dg", "--resume", "--out", tmp_path / "again") == 0
    assert_same_run(tmp_path / "run", tmp_path / "again")


def test_all_holds_each_domain_out_in_turn(domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "write_dg_report", lambda path, report: path.write_text(report.title))
    assert generalize(domains, tmp_path / "run", target="all", steps=1, flags=("--compare",)) == 0
    content = metrics_of(tmp_path / "run")
    assert [pair["domains"][1] for pair in content["pairs"]] == ["day", "dusk", "night"]
    assert [pair["source"].count(" + ") for pair in content["pairs"]] == [1, 1, 1]
    mean = sum(pair["metrics"]["accuracy"] for pair in content["pairs"]) / 3
    assert content["metrics"]["accuracy"] == pytest.approx(mean)
    assert "mean over pairs" in (tmp_path / "run" / "table.md").read_text()
    assert [pair["pair"][-5:] for pair in content["difference"]["pairs"]] == ["→ day", " dusk", "night"]


def test_adapting_says_that_target_images_were_used(
    domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generalize(domains, tmp_path / "run", "adapt=true", steps=1) == 0
    content = metrics_of(tmp_path / "run")
    assert content["target_images_used"] is True
    assert content["method"] == "deepall+jigsaw (target images used)"
    assert "this is adaptation" in capsys.readouterr().out
    assert "this is adaptation" in " ".join(read((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text)
    assert "target_entropy" in pd.read_csv(tmp_path / "run" / "history.csv")


def test_both_arms_draw_domains_equally_often_where_that_is_asked(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "write_dg_report", lambda path, report: path.write_text(report.title))
    assert generalize(domains, tmp_path / "run", "data.draw=balanced", steps=1, flags=("--compare",)) == 0
    recipes = [read_layer(folder / "recipe.yaml") for folder in (tmp_path / "run", tmp_path / "run" / "baseline")]
    assert [recipe["data"]["draw"] for recipe in recipes] == ["balanced", "balanced"]


def test_without_steps_every_selection_takes_the_weights_as_they_come(
    domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "write_dg_report", lambda path, report: path.write_text(report.title))
    found = {}
    for rule in ("last", "source", "leave_one_out"):
        own = (f"selection={rule}", "data.validation=0.3")
        assert generalize(domains, tmp_path / rule, *own, steps=0) == 0
        content = metrics_of(tmp_path / rule)
        assert content["chosen"] == {"rule": rule, "step": 0, "evaluations": 1}
        found[rule] = content["metrics"]["accuracy"]
    assert found["source"] == found["leave_one_out"] == found["last"]


# what is said before training


def test_how_long_it_will_take_is_said_once_and_changes_no_number(
    domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "write_dg_report", lambda path, report: path.write_text(report.title))
    own = ("training.evaluate_every=2", "data.validation=0.3")
    assert generalize(domains, tmp_path / "with", *own, steps=5) == 0
    before, after = capsys.readouterr().out.split("deepall+jigsaw, seed 0")
    assert "training takes about" in before
    assert "5 steps of" in before
    assert "and 3 looks of" in before  # after steps 2, 4 and 5
    assert "training takes" not in after
    assert generalize(domains, tmp_path / "without", *own, "preflight=false", steps=5) == 0
    assert "training takes" not in capsys.readouterr().out
    ours, theirs = tensors_of(tmp_path / "with"), tensors_of(tmp_path / "without")
    assert [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []
    rows = [pd.read_csv(tmp_path / name / "history.csv") for name in ("with", "without")]
    pd.testing.assert_frame_equal(*rows, check_exact=True)
    assert metrics_of(tmp_path / "with") == metrics_of(tmp_path / "without")
    (tmp_path / "with" / "metrics.json").unlink()
    assert command("--task", "dg", "--resume", "--out", tmp_path / "with") == 0
    assert "training takes" not in capsys.readouterr().out


def test_the_estimate_counts_the_runs_of_leave_one_out_and_pseudo_labels() -> None:
    """Three source domains, so two seeds are 2 · (1 + 3) runs; 33 images in steps of 12: clusters are made twice."""
    layers = [{"seeds": [0, 1], "selection": "leave_one_out"}, {"training": {"steps": 4, "evaluate_every": 0}}]
    recipe = build_as(DgRecipe, layers)
    said = expected_time(recipe, small_task(objectives=("deepcluster",)), Settings(torch.device("cpu")))
    assert "for each of 8 runs" in said
    assert "1 look of" in said
    assert "2 looks of" in said
    assert "at all images learned from" in said


# recipes


def of(*layers: Any) -> DgRecipe:
    return build_as(DgRecipe, [*published_layers("dg", "pacs", False), *layers])


def test_the_recipe_of_pacs_has_jigens_constants() -> None:
    recipe = of()
    training = recipe.training
    assert (training.optimizer, training.momentum, training.nesterov) == ("sgd", 0.9, False)
    assert training.weight_decay == 5e-4
    assert (training.batch_size, training.rate, training.schedule) == (128, 0.001, "step")
    assert (recipe.data.image_size, recipe.data.packed_size, recipe.data.validation) == (222, 222, 0.1)
    views = {key: recipe.views[key] for key in ("scale", "flip", "brightness", "hue", "gray", "gray_tiles", "blur")}
    assert views == {
        **{"scale": (0.8, 1.0), "flip": 0.5, "brightness": 0.4, "hue": 0.4},
        **{"gray": 0, "gray_tiles": 0.1, "blur": 0},
    }
    assert recipe.objectives["jigsaw"]["weight"] == 0.7
