"""Generative adversarial networks from the command: what a run leaves, comparisons, resuming, refusals."""

import re
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from tests.report.reading import read
from tests.tiny import assert_same_run, command, draw_classes, metrics_of
from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.experiments.gan.assemble import check_recipe
from uda.layers import published_layers
from uda.nn.generator import latents, load_generator
from uda.recipe import GanRecipe, build_as
from uda.ssl.families import RANDOM_VIEWS
from uda.tasks.gan import Adversarial

OF_A_RUN = {
    *("recipe.yaml", "metrics.json", "history.csv", "checkpoint"),
    *("generator.safetensors", "samples.png", "report.html"),
}
FIGURES = {
    *("kid", "fid", "precision", "recall", "probe_accuracy"),
    *("confidence", "effective_classes", "asked_accuracy"),
}
TINY = [
    *("--image-size", 32, "--batch-size", 4, "--set", "method.latent=4", "method.ngf=4"),
    *("method.ndf=4", "method.n_dis=2", "training.evaluate_every=2", "training.checkpoint_every=2"),
    *("report.images=24", "report.extractor=smallconv", "report.extractor_weights=none", "report.extractor_size=16"),
    "report.probed=20",
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a training and a test split of three classes."""
    root = tmp_path_factory.mktemp("pool")
    draw_classes(root / "train", {"apple": 10, "bird": 10, "cat": 10})
    draw_classes(root / "test", {"apple": 4, "bird": 4, "cat": 4}, noise=40)
    return root


def paint(source: Path, out: Path, *more: object, steps: int = 4, flags: tuple[object, ...] = ()) -> int:
    """Train two tiny players; return the exit status. more: further values of --set."""
    return command("--task", "gan", "--source", source, "--steps", steps, "--out", out, *TINY, *more, *flags)


@pytest.fixture(scope="module")
def finished(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a comparison of SSGAN with SNGAN, not to be written into."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert paint(pool, out, flags=("--compare", "--seeds", 1)) == 0
    return out


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert {entry.name for entry in finished.iterdir()} == OF_A_RUN | {"baseline", "summary.html"}
    content = metrics_of(finished)
    assert (content["task"], content["method"], content["steps"]) == ("gan", "sngan+rotation (SSGAN)", 4)
    assert set(content["metrics"]) == FIGURES
    assert (content["n_real"], content["n_fake"]) == (24, 24)
    assert content["extractor"] == "smallconv at 16 px, random initialization (--weights none)"
    assert content["metrics"]["asked_accuracy"] is None
    assert sum(content["answers"].values()) == 24
    low, high = content["ci95"]["kid"]
    assert low <= content["metrics"]["kid"] <= high
    assert content["ci95_kind"] == "Student's t over disjoint parts of the images"
    history = pd.read_csv(finished / "history.csv")
    terms = ["rotation", "discriminator", "generator", "rotation_generated"]
    assert list(history.columns[3:7]) == terms
    assert history[terms].notna().all().all()
    assert history["probe_accuracy"].notna().tolist() == [False, True, False, True]
    assert history["epoch"].iloc[-1] == pytest.approx(4 * 2 * 4 / 30, abs=1e-4)
    text = " ".join(read((finished / "report.html").read_text(encoding="utf-8")).text)
    for part in ("24 real images and 24 generated ones", "Between two images", "What the discriminator knows"):
        assert part in text


def test_the_generator_paints_the_samples_again(finished: Path) -> None:
    generator = load_generator(finished / "generator.safetensors")
    with torch.no_grad():
        images = generator(latents(torch.arange(80), generator.dim, 1, 0, "shown"))
    sheet = np.asarray(Image.open(finished / "samples.png"))
    assert sheet.shape == (8 * 34 - 2, 10 * 34 - 2, 3)
    expected = (images[13] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.abs(sheet[34:66, 3 * 34 : 3 * 34 + 32].astype(int) - expected).max() <= 1


def test_both_arms_are_paired_and_stand_side_by_side(finished: Path) -> None:
    ours, theirs = metrics_of(finished), metrics_of(finished / "baseline")
    assert theirs["method"] == "sngan"
    entry = ours["difference"]["metrics"]["kid"]
    assert entry["mean"] == pytest.approx(ours["metrics"]["kid"] - theirs["metrics"]["kid"])
    page = (finished / "summary.html").read_text(encoding="utf-8")
    text = " ".join(read(page).text)
    assert "Samples" in text
    assert "What the discriminator knows" in text
    assert ours["fingerprints"] == theirs["fingerprints"]


def test_resume_ends_as_the_run_that_was_not_stopped(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    (out / "metrics.json").unlink()
    shutil.rmtree(out / "checkpoint" / "step-4")
    (out / "generator.safetensors").unlink()
    assert command("--task", "gan", "--resume", "--out", out) == 0
    assert_same_run(finished, out)
    for name in ("generator.safetensors", "samples.png"):
        assert (finished / name).read_bytes() == (out / name).read_bytes()


def test_classes_may_be_asked_for_and_answers_may_be_random(pool: Path, tmp_path: Path) -> None:
    more = ("method.conditional=true", "method.loss=non_saturating", "method.augment=[color, cutout]", "method.r1=0.1")
    assert paint(pool, tmp_path / "run", *more, steps=2, flags=("--objective", "placebo:rotation")) == 0
    content = metrics_of(tmp_path / "run")
    assert content["method"] == "sngan+placebo:rotation (conditional)"
    assert content["metrics"]["asked_accuracy"] is not None
    assert load_generator(tmp_path / "run" / "generator.safetensors").n_classes == 3


def test_a_flat_folder_of_larger_images_has_no_figures_of_classes(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(22):
        Image.new("RGB", (70, 50), (number * 10, 90, 30)).save(tmp_path / "flat" / f"{number}.png")
    more = ("objectives.rotation.form=quarters",)
    flags = ("--image-size", 64, "--objective", "rotation")
    assert paint(tmp_path / "flat", tmp_path / "run", *more, steps=2, flags=flags) == 0
    content = metrics_of(tmp_path / "run")
    undefined = {name for name, value in content["metrics"].items() if value is None}
    assert undefined == {"probe_accuracy", "confidence", "effective_classes", "asked_accuracy"}
    assert content["answers"] is None
    assert content["images"] == {"train": 22}
    assert np.asarray(Image.open(tmp_path / "run" / "samples.png")).shape == (8 * 66 - 2, 10 * 66 - 2, 3)


def test_no_steps_measure_untrained_players(pool: Path, tmp_path: Path) -> None:
    assert paint(pool, tmp_path / "run", steps=0) == 0
    assert metrics_of(tmp_path / "run")["metrics"]["kid"] is not None


def test_too_few_images_for_kid_are_named(pool: Path, tmp_path: Path, capsys: Any) -> None:
    assert paint(pool, tmp_path / "run", "report.images=19", steps=0) == 0
    assert "warning: 19 images of each kind are too few for KID, which wants 20: it is null" in capsys.readouterr().out
    assert metrics_of(tmp_path / "run")["metrics"]["kid"] is None


def test_runs_measured_by_other_weights_are_not_compared(pool: Path, tmp_path: Path, capsys: Any) -> None:
    network, file = timm.create_model("smallconv", num_classes=0), tmp_path / "weights.safetensors"
    of_weights = f"report.extractor_weights={file}"
    for name, scale in (("a", 1.0), ("b", 1.5)):  # a file of the same name, and other weights in it
        save_file({key: value * scale for key, value in network.state_dict().items()}, file)
        assert paint(pool, tmp_path / name, of_weights, steps=0) == 0
    assert command("compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "ab") == 2
    assert "settings of the report" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "flags", "words"),
    [
        ((), ("--image-size", 48), "give --image-size 32 or 64"),
        ((), ("--backbone", "resnet18"), "leave --backbone"),
        ((), ("--freeze",), "leave --backbone"),
        ((), ("--objective", "npid"), "objective 'npid' needs a stable image index, which task 'gan'"),
        ((), ("--objective", "kcl"), "labels"),
        ((), ("--objective", "mae"), "the tokens of a ViT"),
        (("views.name=contrast",), ("--objective", "simclr"), "no gradient passes through views.name=contrast"),
        (("views.name=natural",), ("--objective", "simclr"), "no gradient passes through views.name=natural"),
        (("views.name=xray",), ("--objective", "simclr"), "no gradient passes through views.name=xray"),
        (("method.augment=[cutout, cutout]",), (), "name each once"),
        (("method.augment=[blur]",), (), "method.augment"),
        (("method.n_dis=0",), (), "method.n_dis"),
        (("method.ngff=4",), (), "did you mean method.ngf"),
        (("report.extractor=inception",), (), "report.extractor=inception wants"),
        (("report.extractor=smallconf",), (), "unknown backbone 'smallconf'"),
        (("training.optimizer=sgd", "training.betas=[0.5, 0.9]"), (), "no effect with training.optimizer=sgd"),
        (("training.backbone_lr_scale=1",), (), "training.backbone_lr_scale has no effect in task 'gan'"),
        ((), ("--labels", "10%"), "--labels means nothing to task 'gan'"),
        ((), ("--method", "sngan", "--compare"), "nothing to compare"),
    ],
)
def test_refusals_are_one_sentence(
    pool: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: tuple[str, ...],
    flags: tuple[object, ...],
    words: str,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    assert paint(pool, tmp_path / "run", *more, flags=flags) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_recipe_that_a_run_leaves_behind_is_not_refused() -> None:
    recipe = build_as(GanRecipe, [*published_layers("gan", None, frozen=False), {"training": {"optimizer": "sgd"}}])
    check_recipe(build_as(GanRecipe, [yaml.safe_load(recipe.dump())]))


@pytest.mark.parametrize("name", RANDOM_VIEWS)
def test_views_are_refused_where_no_gradient_passes_through_them(pool: Path, name: str) -> None:
    images = torch.rand(4, 3, 32, 32, requires_grad=True)
    try:
        views = RANDOM_VIEWS[name](32)(Batch(images * 1.0, torch.arange(4), None, "generated"), Clock(0, 9), "a")
        passes = bool(torch.autograd.grad(views.square().sum(), images)[0].flatten(1).any(1).all())
    except RuntimeError:  # what is written in place cannot be differentiated
        passes = False
    recipe = build_as(GanRecipe, [{"objectives": ["simclr"], "views": name, "data": {"image_size": 32}}])
    with nullcontext() if passes else pytest.raises(UserError, match=f"views.name={name}"):
        check_recipe(recipe)


def test_the_time_that_is_foretold_has_painting_in_it(
    pool: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Adversarial.sample

    def slowly(*asked: Any) -> Any:
        time.sleep(0.3)
        return sample(*asked)

    monkeypatch.setattr(Adversarial, "sample", slowly)
    assert paint(pool, tmp_path / "run", steps=2) == 0
    told = re.search(r"1 look of ([\d.]+) s", capsys.readouterr().out)
    assert told is not None
    assert float(told[1]) >= 0.3  # 24 images are painted to foretell 24


def test_weights_of_a_gan_are_no_backbone(finished: Path, pool: Path, tmp_path: Path, capsys: Any) -> None:
    assert command("--task", "probe", "--source", pool, "--weights", finished, "--out", tmp_path / "run") == 2
    assert "is a run of task 'gan', which leaves no backbone" in capsys.readouterr().err


def test_classes_are_wanted_where_they_are_asked_for(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (number * 40, 90, 30)).save(tmp_path / "flat" / f"{number}.png")
    for setting, words in (
        ("method.conditional=true", "wants a class for every image"),
        ("report.extractor=classifier", "is trained on the images' classes"),
    ):
        assert paint(tmp_path / "flat", tmp_path / "run", setting) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
