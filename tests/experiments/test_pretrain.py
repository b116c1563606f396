"""Pre-training from the command: every objective, its outputs, its comparisons, and what it refuses."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.experiments.pretraining import OF_A_RUN, pretrain
from tests.report.reading import read
from tests.tiny import assert_same_run, command, draw_classes, metrics_of, newest
from uda.layers import read_layer
from uda.recipe import build
from uda.ssl import OBJECTIVES
from uda.tasks.pretrain import Pretrain

# Heads of the papers' sizes would be most of the time.
HEADS = {
    "moco": ["queue=16"],
    "dino": ["prototypes=16", "hidden=32", "bottleneck=16", "local_crops=1"],
    "swav": ["prototypes=8"],
    "simsiam": ["width=64", "bottleneck=32"],
    "barlow_twins": ["width=64"],
    "vicreg": ["width=64"],
    "byol": ["width=64"],
    "self_label": ["clusters=4", "heads=2"],
    "jigsaw": ["permutations=8"],
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 15 images of three classes."""
    return draw_classes(tmp_path_factory.mktemp("photos"), {"apple": 5, "bird": 5, "cat": 5})


def options(name: str) -> list[str]:
    """Return small heads for an objective, as far as it has those options."""
    known = build([{"task": "pretrain", "objectives": [name]}]).objectives[name]
    pairs = (text.split("=") for text in HEADS.get(name.removeprefix("placebo:"), ()))
    return [f"objectives.{name}.{key}={value}" for key, value in pairs if key in known]


def history(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "history.csv")


# every objective


@pytest.mark.parametrize("name", [*OBJECTIVES, "placebo:simclr", "placebo:deepcluster"])
def test_every_objective_runs_and_leaves_what_it_promises(photos: Path, tmp_path: Path, name: str) -> None:
    backbone = "smallvit" if name == "mae" else "smallconv"
    assert pretrain(photos, tmp_path / "run", *options(name), objective=name, backbone=backbone) == 0
    assert {entry.name for entry in (tmp_path / "run").iterdir()} == OF_A_RUN
    assert list(read_layer(tmp_path / "run" / "recipe.yaml")["objectives"]) == [name]
    assert history(tmp_path / "run")[name].notna().tolist() == [True, True]
    content = metrics_of(tmp_path / "run")
    assert (content["task"], content["method"], content["steps"]) == ("pretrain", name, 2)
    assert set(content["metrics"]) == {"knn_accuracy", "uniformity", "effective_rank", "feature_std"}
    low, high = content["ci95"]["knn_accuracy"]
    assert low <= content["metrics"]["knn_accuracy"] <= high
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    text = " ".join(read(page).text)
    for part in ("Answer", f"{name}: what the encoder is shown", "Features (t-SNE)", "Training curves", "Recipe"):
        assert part in text
    assert f"{photos.name}: {name}" in text
    assert "weights at the start: random" in text
    state = load_file(tmp_path / "run" / "backbone.safetensors")
    task = load_file(newest(tmp_path / "run") / "task.safetensors")
    key = "objectives.0.teacher.module.0.backbone." if name == "dino" else "encoder.backbone."
    assert all(torch.equal(value, task[key + entry]) for entry, value in state.items())


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_the_recipe_of_every_objective_is_read_back(tmp_path: Path, name: str) -> None:
    recipe = build([{"task": "pretrain", "objectives": [name]}])
    (tmp_path / "recipe.yaml").write_text(recipe.dump())
    assert build([read_layer(tmp_path / "recipe.yaml")]) == recipe


# the exported backbone


LOADS = """
import importlib, sys, timm
from safetensors import safe_open
from safetensors.torch import load_file
for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    metadata = safe_open(folder + "/backbone.safetensors", "pt").metadata()
    assert metadata["timm"] == name
    assert "import" in metadata or "uda" not in sys.modules
    if "import" in metadata:
        importlib.import_module(metadata["import"])
    model = timm.create_model(name, num_classes=0)
    model.load_state_dict(load_file(folder + "/backbone.safetensors"), strict=True)
    print(sum(float(value.double().sum()) for value in model.state_dict().values()))
"""


def test_the_backbone_loads_strictly_into_timm_in_a_fresh_process(photos: Path, tmp_path: Path) -> None:
    runs = {"resnet10t": "dino", "vit_tiny_patch16_224": "mae", "smallconv": "rotation"}
    for backbone, objective in runs.items():
        more = options(objective)
        assert pretrain(photos, tmp_path / backbone, *more, objective=objective, backbone=backbone, steps=1) == 0
    named = [part for backbone in runs for part in (str(tmp_path / backbone), backbone)]
    done = subprocess.run([sys.executable, "-c", LOADS, *named], capture_output=True, text=True, check=True)
    for backbone, total in zip(runs, done.stdout.split(), strict=True):
        file = tmp_path / backbone / "backbone.safetensors"
        assert float(total) == sum(float(value.double().sum()) for value in load_file(file).values())
        with safe_open(file, "pt") as opened:
            own = opened.metadata().get("import")
        assert own == ("uda.nn.smallconv" if backbone == "smallconv" else None)


# labels


def test_labels_join_the_objective(photos: Path, tmp_path: Path) -> None:
    assert pretrain(photos, tmp_path / "run", "--labels", "20%") == 0
    content = metrics_of(tmp_path / "run")
    assert content["method"] == "supervised (20% of the labels)+rotation"
    assert content["metrics"]["accuracy"] is None  # there is no test split
    assert set(history(tmp_path / "run")) >= {"rotation", "classification"}


def test_a_folder_of_further_images_joins_the_labelled_one(photos: Path, tmp_path: Path, capsys: Any) -> None:
    more = draw_classes(tmp_path / "more", {"unsorted": 6}, noise=40)
    assert pretrain(photos, tmp_path / "run", "--unlabelled", more) == 0
    content = metrics_of(tmp_path / "run")
    assert content["method"] == "supervised+rotation"
    assert content["images"] == {"train": 21, "test": 0}
    assert content["classes"] == ["apple", "bird", "cat"]
    assert set(history(tmp_path / "run")) >= {"rotation", "classification"}
    assert 15 * content["metrics"]["knn_accuracy"] == pytest.approx(round(15 * content["metrics"]["knn_accuracy"]))
    assert f"unlabelled: {more}: 6 images, no labels" in capsys.readouterr().out
    assert command("--task", "probe", "--source", photos, "--unlabelled", more) == 2
    assert "--unlabelled means nothing to task 'probe'" in capsys.readouterr().err


def test_a_test_split_is_what_figures_are_of(tmp_path: Path) -> None:
    draw_classes(tmp_path / "data" / "train", {"apple": 5, "bird": 5})
    draw_classes(tmp_path / "data" / "test", {"apple": 3, "bird": 4}, noise=30)
    assert pretrain(tmp_path / "data", tmp_path / "run", "--method", "supervised", objective=None) == 0
    content = metrics_of(tmp_path / "run")
    assert content["images"] == {"train": 10, "test": 7}
    for name in ("accuracy", "knn_accuracy"):
        low, high = content["ci95"][name]
        assert low <= content["metrics"][name] <= high
        assert 7 * content["metrics"][name] == pytest.approx(round(7 * content["metrics"][name]))
    assert history(tmp_path / "run")["accuracy"].iloc[-1] == content["metrics"]["accuracy"]


def test_all_domains_of_a_folder_are_one_pool(domains: Path, tmp_path: Path, capsys: Any) -> None:
    assert pretrain(domains, tmp_path / "run") == 0
    content = metrics_of(tmp_path / "run")
    assert content["source"] == f"{domains.name}/photo + {domains.name}/sketch"
    assert content["images"] == {"train": 42, "test": 0}
    assert len(content["unreadable"]) == 2
    lost = "sketch: 2 of 44 images cannot be read and are left out, 42 remain; the report lists the files"
    assert capsys.readouterr().out.count(lost) == 1
    assert lost in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "broken.png" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_labels_is_enough(photos: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted(photos.glob("*/*.png"))):
        shutil.copy(file, flat / f"{number:02d}.png")
    assert pretrain(flat, tmp_path / "run") == 0
    content = metrics_of(tmp_path / "run")
    assert content["metrics"]["knn_accuracy"] is None
    assert content["metrics"]["effective_rank"] > 1
    assert content["classes"] == []


# comparisons and resume


def test_compare_is_against_the_weights_as_they_come(photos: Path, tmp_path: Path) -> None:
    assert pretrain(photos, tmp_path / "run", "--compare") == 0
    difference = metrics_of(tmp_path / "run")["difference"]
    baseline = metrics_of(tmp_path / "run" / "baseline")
    assert (difference["against"], baseline["steps"]) == ("untrained", 0)
    assert not (tmp_path / "run" / "baseline" / "history.csv").exists()
    ours, theirs = metrics_of(tmp_path / "run")["metrics"], baseline["metrics"]
    assert difference["metrics"]["uniformity"]["mean"] == pytest.approx(ours["uniformity"] - theirs["uniformity"])
    accuracy = difference["metrics"]["knn_accuracy"]
    assert accuracy["ci95_kind"] == "bootstrap over test images"
    assert accuracy["ci95"][0] <= accuracy["mean"] <= accuracy["ci95"][1]
    assert difference["metrics"]["uniformity"]["ci95_kind"] is None  # one seed, and nothing to draw again
    assert (tmp_path / "run" / "summary.html").exists()


def test_compare_is_against_the_supervised_part_where_there_is_one(photos: Path, tmp_path: Path) -> None:
    assert pretrain(photos, tmp_path / "run", "--labels", "6", "--compare") == 0
    assert metrics_of(tmp_path / "run")["difference"]["against"] == "supervised (6 of the labels)"
    recipe = build([read_layer(tmp_path / "run" / "baseline" / "recipe.yaml")])
    assert (recipe.objectives, recipe.training.steps) == ({}, 2)
    # Same start and same batches: the first loss of the classifier is the same in both arms.
    ours, theirs = (history(tmp_path / "run" / arm)["classification"] for arm in (".", "baseline"))
    assert ours[0] == theirs[0]


def test_compare_placebo(photos: Path, tmp_path: Path) -> None:
    assert pretrain(photos, tmp_path / "run", "--compare", "placebo", objective="simclr", steps=1) == 0
    difference = metrics_of(tmp_path / "run")["difference"]
    assert (difference["against"], difference["seeds"]) == ("placebo:simclr", [0])
    ours, theirs = (history(tmp_path / "run" / arm) for arm in (".", "baseline"))
    assert ours["simclr"][0] != theirs["placebo:simclr"][0]  # exchanged answers, same heads


@pytest.mark.slow
def test_compare_placebo_with_seeds(photos: Path, tmp_path: Path) -> None:
    seeds = ("--seeds", 0, 1, "--compare", "placebo")
    assert pretrain(photos, tmp_path / "run", *seeds, objective="simclr rotation") == 0
    content = metrics_of(tmp_path / "run")
    assert content["difference"]["against"] == "placebo:simclr+placebo:rotation"
    assert content["difference"]["seeds"] == [0, 1]
    for arm in (tmp_path / "run", tmp_path / "run" / "baseline"):
        for seed in (0, 1):
            assert {entry.name for entry in (arm / f"seed-{seed}").iterdir()} == OF_A_RUN


def test_a_run_that_was_stopped_goes_on_to_the_same_end(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"objective": "deepcluster", "steps": 6}
    small = ("objectives.deepcluster.clusters=3", "objectives.deepcluster.every=0.8")  # 2 steps of 6 are 0.8 of 15
    assert pretrain(photos, tmp_path / "whole", *small, **arguments) == 0
    forward = Pretrain.forward

    def stopped(self: Pretrain, batches: Any, turn: str, clock: Any) -> Any:
        if clock.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, batches, turn, clock)

    with monkeypatch.context() as patch:
        patch.setattr(Pretrain, "forward", stopped)
        assert pretrain(photos, tmp_path / "cut", *small, **arguments) == 130
    assert not (tmp_path / "cut" / "metrics.json").exists()
    assert command("--task", "pretrain", "--out", tmp_path / "cut", "--resume", "--device", "cpu") == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")
    ours, theirs = (load_file(tmp_path / name / "backbone.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


# the collapse watch


def test_a_run_that_collapses_says_so(tmp_path: Path, capsys: Any) -> None:
    for name in ("apple", "bird"):
        (tmp_path / "gray" / name).mkdir(parents=True)
        for number in range(6):  # nothing to tell apart
            Image.new("RGB", (32, 32), (128, 128, 128)).save(tmp_path / "gray" / name / f"{number}.png")
    assert pretrain(tmp_path / "gray", tmp_path / "run", objective="simsiam") == 0
    (warning, *_) = metrics_of(tmp_path / "run")["warnings"]
    assert warning.startswith("features collapse: they hardly differ between images")
    assert f"warning: {warning}" in capsys.readouterr().out
    text = " ".join(read((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text)
    assert "Warning: features collapse" in text
    assert "No sign of collapse" not in text
