"""Long-tailed data from the command: what a run leaves, comparisons, resuming, pre-training first, refusals."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import uda
from tests.report.reading import read
from tests.tiny import SMALL, assert_same_run, command, draw_classes, metrics_of
from uda.tasks.imbalance import METHODS

OF_A_RUN = {
    *("recipe.yaml", "metrics.json", "history.csv", "checkpoint"),
    *("backbone.safetensors", "predictions.csv", "report.html"),
}
FIGURES = {
    *("accuracy", "many_accuracy", "medium_accuracy", "few_accuracy", "balanced_error"),
    *("balancedness", "classifier_balancedness", "probe_accuracy"),
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a training and a test split of three classes."""
    root = tmp_path_factory.mktemp("pool")
    draw_classes(root / "train", {"apple": 24, "bird": 24, "cat": 24})
    draw_classes(root / "test", {"apple": 6, "bird": 6, "cat": 6}, noise=40)
    return root


def learn(pool: Path, out: Path, *more: object, steps: int = 8, flags: tuple[object, ...] = ()) -> int:
    """Train on the pool's tail with the smallest network; return the exit status. more: further values of --set."""
    ends = ("--source", pool, "--steps", steps, "--out", out)
    return command("--task", "imbalance", *ends, *SMALL, "data.ratio=12", "training.checkpoint_every=2", *more, *flags)


@pytest.fixture(scope="module")
def finished(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of cRT and rotation with cRT alone, not to be written into."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert learn(pool, out, flags=("--method", "crt", "--objective", "rotation", "--compare")) == 0
    return out


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert {entry.name for entry in finished.iterdir()} == OF_A_RUN | {"baseline", "summary.html"}
    content = metrics_of(finished)
    assert (content["task"], content["method"], content["steps"]) == ("imbalance", "crt+rotation", 8)
    assert content["images"] == {"train": 32, "test": 18}
    classes = content["per_class"]
    assert classes["train_images"] == [24, 6, 2]  # 24 · 12^(-1/2) is 6.9
    assert classes["test_images"] == [6, 6, 6]
    metrics = content["metrics"]
    assert set(metrics) == FIGURES
    assert metrics["many_accuracy"] is None
    assert metrics["medium_accuracy"] == pytest.approx(classes["accuracy"][0])
    assert metrics["few_accuracy"] == pytest.approx(np.mean(classes["accuracy"][1:]))
    assert metrics["accuracy"] == pytest.approx(1 - metrics["balanced_error"])
    assert metrics["probe_accuracy"] == pytest.approx(np.mean(classes["probe_accuracy"]))
    a = np.array(classes["probe_accuracy"])
    pairs = [np.exp(-abs(a[i] - a[j]) / 0.2) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert metrics["balancedness"] == pytest.approx(np.mean(pairs))
    predictions = pd.read_csv(finished / "predictions.csv")
    truth = predictions["path"].map(lambda path: Path(path).parent.name)
    assert metrics["accuracy"] == pytest.approx((truth == predictions["label"]).mean())
    low, high = content["ci95"]["few_accuracy"]
    assert 0 <= low <= metrics["few_accuracy"] <= high <= 1
    page = (finished / "report.html").read_text(encoding="utf-8")
    text = " ".join(read(page).text)
    for part in ("Classes", "Feature space", "24 of the most frequent and 2 of the rarest", "Every class as numbers"):
        assert part in text
    assert len(re.findall("data:image/png", page)) == 4


def test_both_arms_stand_side_by_side(finished: Path) -> None:
    theirs = metrics_of(finished / "baseline")
    assert theirs["method"] == "crt"
    page = (finished / "summary.html").read_text(encoding="utf-8")
    text = " ".join(read(page).text)
    assert "Classes" in text
    assert "Feature space" in text
    difference = metrics_of(finished)["difference"]["metrics"]
    for name in ("few_accuracy", "balanced_error"):
        mean = metrics_of(finished)["metrics"][name] - theirs["metrics"][name]
        assert difference[name]["mean"] == pytest.approx(mean)
        low, high = difference[name]["ci95"]
        assert low <= mean + 1e-9
        assert mean - 1e-9 <= high
    assert "many_accuracy" not in difference  # no class has that many images


def test_resume_ends_as_the_run_that_was_not_stopped(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "metrics.json").unlink()
    shutil.rmtree(out / "checkpoint" / "step-8")  # what is left is the end of the first stage
    assert command("--task", "imbalance", "--resume", "--out", out) == 0
    assert_same_run(finished, out)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_loaded_again_with_the_same_answers(pool: Path, tmp_path: Path, method: str) -> None:
    assert learn(pool, tmp_path / "run", steps=4, flags=("--method", method)) == 0
    table = uda.load(tmp_path / "run").predict(pool / "test", progress=False).set_index("path")
    known = pd.read_csv(tmp_path / "run" / "predictions.csv").set_index("path")
    assert table.loc[known.index, "label"].tolist() == known["label"].tolist()
    assert table.loc[known.index, "confidence"].to_numpy() == pytest.approx(known["confidence"].to_numpy(), abs=1e-5)


def test_pre_training_sees_the_same_tail_and_starts_it(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = ("--source", pool, "--steps", 2, "--out", tmp_path / "first")
    assert command("--task", "pretrain", "--objective", "simclr", *ends, *SMALL, "data.ratio=12") == 0
    said = capsys.readouterr().out
    assert "learned from: 32 labelled images: apple 24, bird 6, cat 2" in said
    first = metrics_of(tmp_path / "first")
    assert first["images"] == {"train": 32, "test": 18}
    begun = ("--weights", tmp_path / "first")
    assert learn(pool, tmp_path / "second", steps=0, flags=("--method", "ce", *begun)) == 0
    assert "classifier: a linear probe fitted on 32 images" in capsys.readouterr().out
    second = metrics_of(tmp_path / "second")
    assert second["fingerprints"] == first["fingerprints"]
    assert second["method"] == "as it comes"
    assert second["metrics"]["balancedness"] is not None
    assert learn(pool, tmp_path / "third", steps=2, flags=("--method", "ldam", *begun)) == 0


def test_several_seeds_and_the_same_method_without_objectives(pool: Path, tmp_path: Path) -> None:
    flags = ("--method", "lws", "--seeds", 0, 1, "--compare")
    assert learn(pool, tmp_path / "run", steps=4, flags=flags) == 0
    content = metrics_of(tmp_path / "run")
    assert content["difference"]["against"] == "ce"
    assert content["per_class"]["train_images"] == [24, 6, 2]
    seeds = [metrics_of(tmp_path / "run" / f"seed-{seed}")["per_class"]["accuracy"] for seed in (0, 1)]
    assert content["per_class"]["accuracy"] == pytest.approx(np.mean(seeds, axis=0))


def test_data_that_have_a_tail_of_their_own_are_taken_as_they_come(tmp_path: Path) -> None:
    source = draw_classes(tmp_path / "own", {"apple": 20, "bird": 5})
    small = (*SMALL, "method.name=tau_norm")
    ends = ("--source", source, "--steps", 2, "--out", tmp_path / "run")
    assert command("--task", "imbalance", *ends, *small) == 0
    content = metrics_of(tmp_path / "run")
    assert content["per_class"]["train_images"] == [16, 4]
    assert content["per_class"]["test_images"] == [4, 1]
    # A probe of a single image would learn nothing of its class.
    assert content["metrics"]["balancedness"] is None
    assert content["metrics"]["probe_accuracy"] is None


def test_weights_that_have_seen_what_is_tested_on_are_named(tmp_path: Path) -> None:
    source = draw_classes(tmp_path / "own", {"apple": 20, "bird": 10})
    first = ("--objective", "simclr", "--out", tmp_path / "weights")
    assert command("--task", "pretrain", "--source", source, "--steps", 1, *first, *SMALL) == 0
    second = ("--method", "ce", "--weights", tmp_path / "weights", "--out", tmp_path / "run")
    assert command("--task", "imbalance", "--source", source, "--steps", 0, *SMALL, *second) == 0
    told = "learned from these very images, those that are tested on among them"
    assert told in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_one_class_is_no_tail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = draw_classes(tmp_path / "own", {"apple": 20})
    assert command("--task", "imbalance", "--source", source, "--out", tmp_path / "run", *SMALL) == 2
    assert "has one class, 'apple'; name a folder with at least two class folders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "flags", "words"),
    [
        (("data.ratio=25",), (), "give a ratio of 24 or less"),
        (("data.ratio=0.5",), (), "data.ratio"),
        (("data.tail=linear",), (), "data.tail"),
        (("method.stage2=1",), ("--method", "crt"), "method.stage2"),
        (("method.beta=1",), ("--method", "class_balanced"), "method.beta"),
        ((), ("--method", "kcl", "--objective", "kcl"), "leave --objective kcl out"),
        ((), ("--freeze",), "leave --freeze and encoder.adapter out"),
        ((), ("--labels", "10%"), "--labels means nothing to task 'imbalance'"),
        ((), ("--method", "crt", "--steps", 0), "--steps 0 trains nothing"),
        ((), ("--method", "ce", "--compare"), "nothing to compare"),
    ],
)
def test_refusals_are_one_sentence(
    pool: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    flags: tuple[object, ...],
    words: str,
) -> None:
    assert learn(pool, tmp_path / "run", *more, flags=flags) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
