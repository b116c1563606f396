"""The in-domain study by its command: every start, the same images to test on, one table, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.datasets.test_originals import tissue
from tests.experiments.pretraining import probe
from tests.report.reading import read
from tests.tiny import command, metrics_of

FIGURES = {f"{kind}_{what}" for kind in ("linear", "knn") for what in ("accuracy", "auroc", "ece")}
FIGURES |= {f"linear_{what}_{share}" for what in ("accuracy", "auroc", "ece") for share in (1, 10)}


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 12 images of each of two classes, made from six originals each by turning and mirroring."""
    root = tmp_path_factory.mktemp("slides")
    for number, name in enumerate(("benign", "malignant")):
        (root / name).mkdir()
        for original in range(6):
            picture = np.asarray(tissue(10 * number + original))
            for copy, image in enumerate((picture, np.rot90(picture[:, ::-1]))):
                Image.fromarray(np.ascontiguousarray(image)).save(root / name / f"{original}-{copy}.png")
    return root


def study(source: Path, out: Path, *more: object) -> int:
    where = ("--source", source, "--out", out, "--backbone", "smallconv", "--steps", 2, "--batch-size", 6)
    small = ("data.stored_size=32", "training.evaluate_every=0", "training.warmup_steps=0")
    chosen = ("--image-size", 32, "--device", "cpu", "--set", "study=in-domain", "views=histology", *small)
    return command("--task", "pretrain", *where, *chosen, *more)


@pytest.fixture(scope="module")
def done(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "run"
    queues = ("objectives.moco.queue=16", "objectives.placebo:moco.queue=16")
    assert study(slides, out, *queues, "--objective", "moco", "placebo:moco", "--seeds", 0, 1) == 0
    return out


def test_every_start_is_probed_with_every_share_of_labels(done: Path) -> None:
    content = metrics_of(done)
    assert [start["start"] for start in content["starts"]] == ["random", "moco from random", "placebo:moco from random"]
    for start in content["starts"]:
        assert set(start["metrics"]) == FIGURES
    assert content["metrics"]["moco from random: linear_auroc"] == content["starts"][1]["metrics"]["linear_auroc"]
    assert content["seeds"] == [0, 1]
    assert [(d["start"], d["against"]) for d in content["differences"]] == [
        ("moco from random", "random"),
        ("placebo:moco from random", "random"),
    ]
    assert "starts from ImageNet are left out" in content["warnings"][0]  # smallconv has no such weights


def test_intervals_of_what_seeds_do_not_vary_are_called_so(done: Path) -> None:
    content = metrics_of(done)
    assert any(std == 0 for std in content["std"].values())
    assert content["ci95_kind"] == (
        "Student's t over seeds; where these do not vary, bootstrap over groups of test images"
    )


def test_copies_of_an_original_are_on_one_side(done: Path, slides: Path) -> None:
    content = metrics_of(done)
    groups = content["groups"]
    assert groups["groups"] == 12
    assert groups["per_class"] == {name: {"images": 12, "groups": 6} for name in ("benign", "malignant")}
    assert (groups["test_groups"], groups["leaked"]) == (2, 0)
    assert content["images"] == {"train": 20, "test": 4}
    prints = {json.dumps(json.loads(path.read_text())["fingerprints"]) for path in done.glob("seed-*/*/metrics.json")}
    assert len(prints) == 1  # pre-training and probing hold out the same images


def test_the_table_and_the_page(done: Path) -> None:
    table = pd.read_csv(done / "study.csv")
    assert set(table["figure"]) == FIGURES
    assert len(table) == 3 * len(FIGURES)
    text = " ".join(read((done / "report.html").read_text(encoding="utf-8")).text)
    for part in ("Answer", "Macro AUROC", "Does pre-training here help?", "t-SNE", "Feature maps", "12 groups"):
        assert part in text


def test_the_page_says_how_many_labels_a_share_is(done: Path) -> None:
    text = " ".join(read((done / "report.html").read_text(encoding="utf-8")).text)
    # Of 20 images 1 % is none, but a group of two of each class is learned from; 10 % is no more.
    assert "labels: 1% is 4, 10% is 4 of 20, in whole groups" in text


def test_resume_keeps_what_is_finished(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.glob("seed-*/*/metrics.json")}
    assert command("--task", "pretrain", "--out", done, "--resume", "--device", "cpu") == 0
    assert {path: path.stat().st_mtime_ns for path in done.glob("seed-*/*/metrics.json")} == before
    assert "24 images in 12 groups" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--labels", "10%"), "leave data.labels out"),
        (("--compare",), "a study compares its starts already"),
        (("--sweep", "training.lr=0.1,0.2"), "give it to the command, without --sweep"),
        (("study=other",), "recipe key 'study' cannot be 'other'"),
        (("data.groups=patient",), "unknown column 'patient'"),
        (("data.groups=(x+)",), "does not match"),
        (("data.groups=none",), "no images that pre-training would not see"),
        (("--weights", "some-run"), "leave --weights out"),
        (("--method", "supervised"), "leave --method supervised out"),
    ],
)
def test_what_a_study_cannot_have(
    slides: Path, tmp_path: Path, more: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(slides, tmp_path / "run", *more) == 2
    assert why in capsys.readouterr().err


def test_a_probe_holds_out_whole_groups_by_a_pattern(slides: Path, tmp_path: Path) -> None:
    more = (r"data.groups=(\w+/\d+)-", "method.auroc=true", "method.probes=[linear]")
    assert probe(slides, tmp_path / "run", *more) == 0
    content = metrics_of(tmp_path / "run")
    assert (content["groups"]["groups"], content["groups"]["test_groups"]) == (12, 2)
    assert set(content["metrics"]) == {"linear_accuracy", "linear_auroc", "linear_ece"}
    assert content["ci95_kind"].startswith("bootstrap over groups of test images")


def test_pictures_that_look_alike_by_chance_are_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Two soft lungs, moved and noised a little: films of twelve people each, of which the hash makes one group.
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:96, :96]
    for name, left in (("normal", 30), ("pneumonia", 34)):
        (tmp_path / name).mkdir()
        for number in range(12):
            lungs = sum(60 * np.exp(-((x - at - 2 * rng.normal()) ** 2 + (y - 48) ** 2) / 400) for at in (left, 66))
            film = (120 + lungs + rng.normal(0, 3, (96, 96))).clip(0, 255).astype(np.uint8)
            Image.fromarray(film).save(tmp_path / name / f"{number}.png")
    for number in range(3):  # what is no film, so that something can be held out
        for name in ("normal", "pneumonia"):
            noise = rng.integers(0, 256, (96, 96), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"noise-{number}.png")
    assert probe(tmp_path, tmp_path / "run", "data.groups=look-alike", "method.probes=[linear]") == 0
    assert "of the 30 images look like copies of one original, as films" in capsys.readouterr().out
