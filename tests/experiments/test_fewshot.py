"""Few-shot boosting from the command: what it understands of folders, what it leaves, comparisons, refusals."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import timm
from safetensors.torch import load_file

from tests.report.reading import read
from tests.tiny import SMALL, assert_same_run, command, draw_classes, metrics_of

SHORT = ("episodes.ways=3", "episodes.queries=3", "episodes.episodes=40", "training.checkpoint_every=3")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of base and novel classes, and one of other images."""
    root = tmp_path_factory.mktemp("classes")
    draw_classes(root / "data" / "base", dict.fromkeys(("ant", "bee", "cow", "doe"), 10))
    draw_classes(root / "data" / "novel", dict.fromkeys(("elk", "fox", "gnu"), 10))
    draw_classes(root / "more", {"hen": 8, "ibis": 8})
    return root


def learn(source: Path, out: Path, *more: object, steps: int = 6, flags: tuple[object, ...] = ()) -> int:
    ends = ("--source", source, "--steps", steps, "--out", out)
    return command("--task", "fewshot", *ends, *SMALL, *SHORT, *more, *flags)


@pytest.fixture(scope="module")
def finished(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert learn(classes / "data", out, flags=("--compare",)) == 0
    return out


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    names = {"recipe.yaml", "metrics.json", "history.csv", "checkpoint", "backbone.safetensors", "report.html"}
    assert {entry.name for entry in finished.iterdir()} == names | {"baseline", "summary.html"}
    content = metrics_of(finished)
    assert (content["task"], content["method"]) == ("fewshot", "cosine+rotation")
    assert set(content["metrics"]) == {"novel_accuracy_1", "novel_accuracy_5", "base_accuracy"}
    assert content["images"] == {"base": 40, "novel": 30, "held_out": 4, "unlabelled": 0}
    assert content["novel_classes"] == ["elk", "fox", "gnu"]
    assert content["by_classifier"]["5"]["cosine"]["accuracy"] == content["metrics"]["novel_accuracy_5"]
    assert set(content["per_class"]["1"]) == {"elk", "fox", "gnu"}
    # Each class is in every episode, three of three, so the mean over classes is the mean over episodes.
    per_class = content["per_class"]["1"].values()
    assert sum(per_class) / 3 == pytest.approx(content["metrics"]["novel_accuracy_1"])
    model = timm.create_model("smallconv", num_classes=0)
    model.load_state_dict(load_file(finished / "backbone.safetensors"))
    text = " ".join(read((finished / "report.html").read_text(encoding="utf-8")).text)
    for part in ("Answer", "An episode", "Classes", "3-way 5-shot", "finetune", "Training curves"):
        assert part in text


def test_both_arms_are_paired_over_the_same_episodes(finished: Path) -> None:
    difference = metrics_of(finished)["difference"]
    assert difference["against"] == "cosine"
    entry = difference["metrics"]["novel_accuracy_1"]
    assert entry["ci95_kind"] == "bootstrap over episodes"
    low, high = entry["ci95"]
    assert low <= entry["mean"] <= high


def test_resuming_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "metrics.json").unlink()
    shutil.rmtree(out / "checkpoint" / "step-6")
    assert command("--task", "fewshot", "--resume", "--out", out) == 0
    assert_same_run(finished, out)


def test_the_last_classes_are_novel_where_nothing_else_says(classes: Path, tmp_path: Path) -> None:
    own, source = ("data.novel=2", "episodes.ways=2"), classes / "data" / "base"
    assert learn(source, tmp_path / "run", *own, steps=1, flags=("--method", "linear")) == 0
    content = metrics_of(tmp_path / "run")
    assert (content["classes"], content["novel_classes"]) == (["ant", "bee"], ["cow", "doe"])


def test_novel_classes_may_come_from_another_domain(classes: Path, tmp_path: Path) -> None:
    other = draw_classes(tmp_path / "other", dict.fromkeys(("ant", "fox", "gnu", "hen"), 9), noise=60)
    own = ("--target", other, "--method", "prototypical")
    more = ("method.train_ways=2", "method.train_shots=1", "episodes.unlabelled=1")
    assert learn(classes / "data" / "base", tmp_path / "run", *more, steps=2, flags=own) == 0
    content = metrics_of(tmp_path / "run")
    assert content["novel_classes"] == ["fox", "gnu", "hen"]  # the ant was learned from
    assert "episode" in pd.read_csv(tmp_path / "run" / "history.csv")


def test_unlabelled_images_join(classes: Path, tmp_path: Path) -> None:
    flags = ("--unlabelled", classes / "more", "--objective", "rotation")
    assert learn(classes / "data", tmp_path / "run", steps=1, flags=flags) == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"]["unlabelled"] == 16
    assert content["method"] == "cosine+rotation (with unlabelled images)"
    recipe = json.dumps((tmp_path / "run" / "recipe.yaml").read_text())
    assert "head: block" in recipe  # the published options of the objective that is named stay


@pytest.mark.parametrize(
    ("more", "flags", "words"),
    [
        (("episodes.ways=5",), (), "5-way episodes of 1 shots and 3 queries need 5 classes"),
        (("episodes.classifier=svm",), (), "unknown episode classifier 'svm'"),
        (("episodes.shots=[1, 1]",), (), "has a number twice"),
        (("data.novel=39",), (), "leaves 0 of 4 classes as base"),
        ((), ("--freeze",), "leave --freeze and encoder.adapter out"),
        ((), ("--method", "cosine", "--unlabelled", "."), "add one by --objective"),
        (("method.train_ways=9",), ("--method", "prototypical"), "leaves no queries beside 9 ways"),
    ],
)
def test_refusals_are_one_sentence(
    classes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    flags: tuple[str, ...],
    words: str,
) -> None:
    assert learn(classes / "data", tmp_path / "run", *more, flags=flags) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_does_not_say_what_is_novel(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learn(classes / "data" / "base", tmp_path / "run") == 2
    assert (
        "give a folder with base/ and novel/, a --target with other classes, or data.novel=N" in capsys.readouterr().err
    )


def test_novel_classes_of_another_domain_with_the_same_names(classes: Path, tmp_path: Path) -> None:
    names = ("ant", "bee", "cow", "doe")
    sketches = draw_classes(tmp_path / "sketches", dict.fromkeys(names, 9), noise=60)
    own = ("data.novel=2", "episodes.ways=2", "episodes.shots=[2]")
    flags = ("--target", sketches, "--method", "prototypical", "--batch-size", 8)
    more = (*own, "method.train_ways=2", "method.train_shots=2")
    assert learn(classes / "data" / "base", tmp_path / "run", *more, steps=1, flags=flags) == 0
    content = metrics_of(tmp_path / "run")
    assert (content["classes"], content["novel_classes"]) == (["ant", "bee"], ["cow", "doe"])
    # Prototypical networks learn distances, and are tested by them.
    assert content["metrics"]["novel_accuracy_2"] == content["by_classifier"]["2"]["euclidean"]["accuracy"]


def test_the_arm_without_objectives_goes_without_their_unlabelled_images(classes: Path, tmp_path: Path) -> None:
    flags = ("--unlabelled", classes / "more", "--objective", "rotation", "--compare")
    own = ("episodes.shots=[2]", "episodes.queries=1")
    assert learn(classes / "data", tmp_path / "run", *own, steps=1, flags=flags) == 0
    assert metrics_of(tmp_path / "run" / "baseline")["images"]["unlabelled"] == 0
    page = read((tmp_path / "run" / "summary.html").read_text(encoding="utf-8"))
    assert "Novel classes, 2-shot" in " ".join(page.text)  # there is no 1-shot figure to show first


def test_features_as_they_come_have_no_accuracy_on_base_classes(classes: Path, tmp_path: Path) -> None:
    assert learn(classes / "data", tmp_path / "run", steps=0, flags=("--method", "cosine")) == 0
    assert metrics_of(tmp_path / "run")["metrics"]["base_accuracy"] is None


def test_an_unreadable_image_that_episodes_need_is_found_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_classes(tmp_path / "data" / "base", dict.fromkeys(("ant", "bee"), 8))
    draw_classes(tmp_path / "data" / "novel", dict.fromkeys(("elk", "fox", "gnu"), 8))  # 5 shots and 3 queries
    next((tmp_path / "data" / "novel" / "fox").iterdir()).write_bytes(b"no image")
    assert learn(tmp_path / "data", tmp_path / "run", flags=("--method", "cosine")) == 2
    assert "need 3 classes with 8 images each, and there are 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_training_episodes_are_of_images_that_are_not_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_classes(tmp_path / "data" / "base", dict.fromkeys(("ant", "bee"), 10))  # one of each is held out
    draw_classes(tmp_path / "data" / "novel", dict.fromkeys(("elk", "fox", "gnu"), 8))
    flags, own = ("--method", "prototypical", "--batch-size", 20), ("method.train_ways=2", "method.train_shots=5")
    assert learn(tmp_path / "data", tmp_path / "run", *own, flags=flags) == 2
    said = capsys.readouterr().err
    assert "need 2 base classes with 10 images each that are not held out, and there are 0" in said
    assert "lower --batch-size, method.train_ways or method.train_shots" in said


def test_episodes_are_whole_where_an_objective_turns_some_of_their_images(classes: Path, tmp_path: Path) -> None:
    flags = ("--method", "prototypical", "--objective", "rotation", "--batch-size", 12)
    own = ("method.train_ways=2", "method.train_shots=2", "objectives.rotation.form=one")
    assert learn(classes / "data", tmp_path / "run", *own, "objectives.rotation.upright=0.5", steps=2, flags=flags) == 0


def test_weights_that_have_seen_the_novel_classes_are_named(classes: Path, tmp_path: Path) -> None:
    source = classes / "data" / "base"
    pretrain = ("--task", "pretrain", "--source", source, "--objective", "simclr", "--steps", 1, *SMALL)
    assert command(*pretrain, "--out", tmp_path / "weights") == 0
    flags = ("--weights", tmp_path / "weights", "--method", "cosine")
    assert learn(source, tmp_path / "run", "data.novel=2", "episodes.ways=2", steps=0, flags=flags) == 0
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "learned from these very images, the novel classes among them" in text
