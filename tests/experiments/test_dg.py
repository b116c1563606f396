"""Domain generalization from the command: what it prints and leaves, comparisons, resuming, prediction, refusals."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
from safetensors.torch import load_file

import uda
from tests.report.reading import read
from tests.tiny import SMALL, assert_same_run, command, draw_classes, metrics_of
from uda.experiments.dg import outputs
from uda.experiments.dg.domains import find_domains
from uda.layers import published_layers, read_layer
from uda.recipe import DgRecipe, build_as
from uda.sections import DomainsRecipe

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


# what the user got wrong


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--target", "nigth"), "night"),
        (("--target", "night", "--freeze"), "moves the backbone"),
        ((), "wants a --target"),
        (("--target", "night", "--method", "corral"), "coral"),
        (("--target", "night", "--method", "rsc", "--set", "compat=official"), "re-assembled puzzle"),
        (("--target", "night", "--labels", "10%"), "means nothing to task 'dg'"),
        (("--target", "night", "--set", "selection=source", "data.validation=0"), "data.validation"),
        (("--target", "night", "--set", "encoder.batch_statistics=target"), "held out"),
        (("--target", "night", "--method", "deepall", "--compare"), "nothing to compare"),
    ],
)
def test_what_does_not_fit_is_refused(said: Any, domains: Path, tmp_path: Path, more: Any, says: str) -> None:
    small = ("--backbone", "smallconv", "--weights", "none", "--image-size", 16)
    assert says in said("--task", "dg", "--source", domains, "--out", tmp_path / "run", *small, *more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("source", "more", "says"),
    [
        ("day", (), "two different domains"),  # the target is the only source
        ("dusk", ("--method", "coral"), "compares source domains"),
        ("dusk", ("--set", "selection=leave_one_out"), "1 in all"),
    ],
)
def test_a_single_source_domain_is_not_always_enough(
    said: Any, domains: Path, tmp_path: Path, source: str, more: Any, says: str
) -> None:
    small = ("--backbone", "smallconv", "--weights", "none", "--image-size", 16)
    ends = ("--source", domains / source, "--target", domains / "day", "--out", tmp_path / "run")
    assert says in said("--task", "dg", *ends, *small, *more)


def test_the_held_out_domain_needs_a_source(said: Any, domains: Path, tmp_path: Path) -> None:
    assert "wants a --source" in said("--task", "dg", "--target", domains / "day", "--out", tmp_path / "run")


def test_the_held_out_domain_is_not_learned_from_by_whatever_name(domains: Path, tmp_path: Path) -> None:
    data, link = DomainsRecipe(source=str(domains)), tmp_path / "dark"
    link.symlink_to(domains / "night")
    for target in ("night", str(domains / "night"), str(link), f"{domains.parent}/./{domains.name}/night"):
        found = find_domains(data.model_copy(update={"target": target}))
        assert [table.name.rsplit("/")[-1] for table in found.sources] == ["day", "dusk"], target


def test_a_part_of_a_domain_holds_all_of_it_out(tmp_path: Path) -> None:
    for name in ("day", "dusk", "night"):
        for split in ("train", "test"):
            draw_classes(tmp_path / name / split, {"apple": 2, "bird": 2})
    found = find_domains(DomainsRecipe(source=str(tmp_path), target=str(tmp_path / "night" / "test")))
    assert [table.name.split("/")[-2] for table in found.sources] == ["day", "dusk"]
    assert "not learned from, for it is the target" in "\n".join(found.lines)


def test_a_source_that_is_the_target_leaves_nothing(said: Any, domains: Path, tmp_path: Path) -> None:
    link = tmp_path / "dark"
    link.symlink_to(domains / "night")
    ends = ("--source", domains / "night", "--target", link, "--backbone", "smallconv", "--weights", "none")
    assert "name" in said("--task", "dg", *ends, "--out", tmp_path / "run")


def test_a_selection_without_validation_images_is_refused(said: Any, domains: Path, tmp_path: Path) -> None:
    ends = ("--source", domains, "--target", "night", *SMALL, "selection=source", "data.validation=0.05")
    assert "it takes 10 images of a class and domain" in said("--task", "dg", *ends, "--out", tmp_path / "run")
