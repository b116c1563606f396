"""Probing from the command: a saved run or any timm model as the subject."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.experiments.pretraining import pretrain, probe
from tests.report.reading import read
from tests.tiny import command, draw_classes, metrics_of
from uda.errors import UserError
from uda.experiments import EXPERIMENTS
from uda.experiments.experiment import Settings
from uda.experiments.probe import experiment
from uda.layers import read_layer
from uda.recipe import ProbeRecipe, Tree, build, build_as

HAVE_SEEN = "learned from these very images, those that are tested on among them"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("photos"), {"apple": 10, "bird": 10, "cat": 10}, noise=90)


@pytest.fixture(scope="module")
def pretrained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a pre-training run, not to be written into."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    assert pretrain(photos, out, objective="rotation") == 0
    return out


@pytest.fixture(scope="module")
def probed(photos: Path, pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a probing of it, with everything there is to ask."""
    out = tmp_path_factory.mktemp("probed") / "run"
    finetune = "method.finetune=[10%,12]"
    assert probe(photos, out, finetune, weights=pretrained / "backbone.safetensors") == 0
    return out


def test_a_saved_run_is_probed(probed: Path, pretrained: Path) -> None:
    content = metrics_of(probed)
    weights = pretrained / "backbone.safetensors"
    assert (content["task"], content["method"]) == ("probe", f"smallconv, weights {weights}")
    assert content["images"] == {"train": 24, "test": 6}  # a fifth of each class
    assert set(content["metrics"]) == {
        *("knn_accuracy", "linear_accuracy", "svm_accuracy", "linear_accuracy_1", "linear_accuracy_10"),
        *("fewshot_accuracy_1", "fewshot_accuracy_5", "alignment", "uniformity", "effective_rank", "feature_std"),
        *("finetune_accuracy_10", "finetune_accuracy_12_labels"),
    }
    ours, theirs = load_file(probed / "backbone.safetensors"), load_file(weights)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())  # nothing has moved
    assert HAVE_SEEN in (probed / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("task", "method"), [("probe", "frozen"), ("robustness", "standard")])
def test_weights_that_have_seen_what_is_tested_on_are_named(
    task: str, method: str, photos: Path, pretrained: Path
) -> None:
    tree: Tree = {"task": task, "method": method, "data": {"source": str(photos), "image_size": 16, "stored_size": 16}}
    for weights, warned in ((str(pretrained), True), ("none", False)):
        recipe = build([tree | {"encoder": {"backbone": "smallconv", "weights": weights}}])
        found = EXPERIMENTS[task].find(recipe, Settings(torch.device("cpu"), progress=False))
        assert any(HAVE_SEEN in warning for warning in found.warnings) == warned


def test_the_folder_of_a_run_is_enough(photos: Path, pretrained: Path, tmp_path: Path) -> None:
    given = ("--source", photos, "--weights", pretrained, "--device", "cpu", "--set", "method.probes=[knn]")
    assert command("--task", "probe", *given, "--out", tmp_path / "run") == 0
    recipe = build([read_layer(tmp_path / "run" / "recipe.yaml")])
    assert (recipe.encoder.backbone, recipe.data.image_size, recipe.data.stored_size) == ("smallconv", 32, 32)
    ours, theirs = (load_file(folder / "backbone.safetensors") for folder in (tmp_path / "run", pretrained))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_every_accuracy_has_an_interval_around_it(probed: Path) -> None:
    content = metrics_of(probed)
    for name, value in content["metrics"].items():
        interval = content["ci95"][name]
        if "fewshot" in name:  # two images of a class make no episode
            assert value is None
            assert interval is None
        elif "accuracy" in name:
            assert 0 <= interval[0] <= value <= interval[1] <= 1
            assert 6 * value == pytest.approx(round(6 * value))  # of the six test images
    row = pd.read_csv(probed / "history.csv").iloc[0]
    assert row["finetune_accuracy_10"] == content["metrics"]["finetune_accuracy_10"]


def test_fine_tuning_lies_below_and_has_seen_only_its_share(probed: Path) -> None:
    for name in ("finetune_accuracy_10", "finetune_accuracy_12_labels"):
        assert {entry.name for entry in (probed / name).iterdir()} == {"history.csv", "checkpoint"}
        assert pd.read_csv(probed / name / "history.csv")["classification"].notna().tolist() == [True, True]
    # 10 % of the 24 that are not tested on is 2, at least one of each class: 6 images a step are 2 epochs of 3.
    assert pd.read_csv(probed / "history.csv").shape == (1, 14)


def test_the_report_reads_well(probed: Path) -> None:
    text = " ".join(read((probed / "report.html").read_text(encoding="utf-8")).text)
    for part in (
        "Answer",
        "On test images that no probe has learned from",
        "Features (t-SNE)",
        "Recipe",
        "5-way 1-shot",
    ):
        assert part in text
    assert "Attention" not in text  # a CNN has none


def test_a_share_of_the_labels_is_tested_on_the_same_images(photos: Path, tmp_path: Path) -> None:
    assert probe(photos, tmp_path / "run", "method.probes=[knn]", "--labels", "12") == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"] == {"train": 12, "test": 6}
    assert set(content["metrics"]) == {"knn_accuracy"}


def test_a_test_split_is_tested_on(tmp_path: Path) -> None:
    draw_classes(tmp_path / "data" / "train", {"apple": 5, "bird": 5})
    draw_classes(tmp_path / "data" / "test", {"apple": 3, "bird": 4}, noise=30)
    assert probe(tmp_path / "data", tmp_path / "run", "method.probes=[linear]", "method.finetune=[100%]") == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"] == {"train": 10, "test": 7}
    for name in ("linear_accuracy", "finetune_accuracy_100"):
        assert 7 * content["metrics"][name] == pytest.approx(round(7 * content["metrics"][name]))


def test_a_vision_transformer_shows_where_it_looks_and_an_inner_layer_can_be_asked(
    photos: Path, tmp_path: Path
) -> None:
    more = ("method.probes=[linear]", "method.layer=blocks.0")
    assert probe(photos, tmp_path / "run", *more, backbone="test_vit") == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Attention maps" in page


def test_a_probing_goes_on_to_the_same_figures(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    more = ("method.probes=[knn]", "method.finetune=[50%,12]")
    assert probe(photos, tmp_path / "whole", *more) == 0
    finetune, done = experiment.finetune, []

    def dies(*arguments: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(arguments[2])
        return finetune(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "finetune", dies)
        assert probe(photos, tmp_path / "cut", *more) == 130
    assert probe(photos, tmp_path / "cut", *more, "--resume") == 0
    whole, cut = metrics_of(tmp_path / "whole"), metrics_of(tmp_path / "cut")
    assert cut == whole
    assert not np.isnan(whole["metrics"]["finetune_accuracy_12_labels"])


def test_two_backbones_are_compared(photos: Path, pretrained: Path, tmp_path: Path) -> None:
    compare = ("method.probes=[linear]", "--compare", "encoder.weights=none")
    assert probe(photos, tmp_path / "run", *compare, weights=pretrained / "backbone.safetensors") == 0
    difference = metrics_of(tmp_path / "run")["difference"]
    assert difference["against"] == "smallconv, weights none"
    (figure,) = difference["metrics"].values()
    assert set(difference["metrics"]) == {"linear_accuracy"}
    assert figure["ci95_kind"] == "bootstrap over test images"
    assert figure["ci95"][0] <= figure["mean"] <= figure["ci95"][1]


def test_arms_of_other_figures_are_compared_by_those_they_share(photos: Path, tmp_path: Path) -> None:
    compare = ("method.probes=[linear,knn]", "--compare", "method.probes=[knn]", "encoder.weights=none", "method.k=3")
    assert probe(photos, tmp_path / "run", *compare) == 0
    assert set(metrics_of(tmp_path / "run")["difference"]["metrics"]) == {"knn_accuracy"}


def test_other_test_images_are_not_paired(photos: Path, tmp_path: Path) -> None:
    other = draw_classes(tmp_path / "other", {"apple": 10, "bird": 5, "cat": 10}, noise=90)
    compare = ("method.probes=[knn]", "--compare", f"data.source={other}")
    assert probe(photos, tmp_path / "run", *compare) == 0
    figure = metrics_of(tmp_path / "run")["difference"]["metrics"]["knn_accuracy"]
    assert (figure["ci95"], figure["ci95_kind"]) == (None, None)


# what is refused


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            {"objectives": ["rotation"]},
            "probing trains no objective; leave --objective out, or pre-train by --task pre",
        ),
        ({"encoder": {"freeze": "true"}}, "probing never moves the backbone; leave --freeze and encoder.adapter out"),
        ({"encoder": {"adapter": "true"}}, "probing never moves the backbone"),
        ({"method": {"probes": "[knn, foo]"}}, "unknown probe 'foo'"),
        ({"method": {"finetune": "[foo]"}}, r"method.finetune wants shares of the labels, such as \[1%, 10%\]"),
        ({"data": {"image_size": 64, "stored_size": 32}}, "data.stored_size=32 is below the image size 64; raise it"),
        ({"training": {"backbone_lr_scale": 1}}, "training.backbone_lr_scale has no effect in task 'probe'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(layer: dict[str, Any], sentence: str) -> None:
    recipe = build_as(ProbeRecipe, [{"encoder": {"backbone": "smallconv", "weights": "none"}}, layer])
    with pytest.raises(UserError, match=sentence):
        EXPERIMENTS["probe"].check(recipe)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("method.layer=stages.9",), "unknown layer of smallconv 'stages.9': did you mean stages"),
        (("method.layer=stages.0.0.weight",), "unknown layer of smallconv"),
        (("--labels", "2"), "--labels asks for 2 labels for 3 classes; ask for at least 3"),
        (("method.k=0",), "recipe key 'method.k' cannot be '0'"),
    ],
)
def test_what_cannot_be_had_leaves_no_folder(
    photos: Path, tmp_path: Path, capsys: Any, more: tuple[str, ...], sentence: str
) -> None:
    assert probe(photos, tmp_path / "run", *more) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ({"apple": 4}, "labelled images of at least two classes are needed; name a folder with class folders"),
        ({"apple": 1, "bird": 1}, "a second image of some class is needed to test on; add images, or a folder"),
    ],
)
def test_images_that_nothing_can_be_tested_on(tmp_path: Path, capsys: Any, classes: Any, sentence: str) -> None:
    assert probe(draw_classes(tmp_path / "few", classes), tmp_path / "run") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
