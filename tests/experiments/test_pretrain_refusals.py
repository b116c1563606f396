"""What pre-training refuses, in one sentence and before anything is written."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.experiments.pretraining import pretrain
from tests.tiny import draw_classes
from uda.errors import UserError
from uda.experiments import EXPERIMENTS
from uda.experiments.parts import training_warnings
from uda.recipe import PretrainRecipe, build_as


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six images of three classes."""
    return draw_classes(tmp_path_factory.mktemp("photos"), {"apple": 2, "bird": 2, "cat": 2})


def recipe_of(*layers: dict[str, Any]) -> PretrainRecipe:
    return build_as(PretrainRecipe, [{"encoder": {"backbone": "smallconv", "weights": "none"}}, *layers])


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (
            {"objectives": ["rotation"], "encoder": {"freeze": "true"}},
            "pre-training moves the backbone; leave --freeze out, or evaluate it by --task probe",
        ),
        (
            {"objectives": ["rotation"], "encoder": {"adapter": "true"}},
            "encoder.adapter=true stands on frozen features and pre-training has none; leave it out",
        ),
        (
            {"objectives": ["rotation"], "data": {"labels": "10%"}},
            "--labels says how many labels training may use and nothing here uses any; add --method supervised",
        ),
        (
            {},
            r"there is nothing to learn from: name one or more by --objective \(simclr, rotation, …\), or add --method",
        ),
        (
            {"objectives": ["rotation"], "data": {"image_size": 64, "stored_size": 32}},
            "data.stored_size=32 is below the image size 64; raise it",
        ),
        (
            {"objectives": ["rotation"], "training": {"backbone_lr_scale": 1}},
            "training.backbone_lr_scale has no effect in task 'pretrain'; leave it out",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(layer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        EXPERIMENTS["pretrain"].check(recipe_of(layer))


@pytest.mark.parametrize(
    "layer",
    [
        {"training": {"steps": 0}},
        {"training": {"steps": 0}, "data": {"labels": "10%"}},  # the other arm of a comparison
        {"objectives": ["kcl"], "data": {"labels": "10%"}},
        {"method": "supervised", "data": {"labels": "10%"}},
    ],
)
def test_parts_that_fit_are_not(layer: dict[str, Any]) -> None:
    EXPERIMENTS["pretrain"].check(recipe_of(layer))


@pytest.mark.parametrize(
    ("more", "objective", "backbone", "sentence"),
    [
        ((), "mae", "smallconv", "objective 'mae' needs the tokens of a ViT, which pre-training 'smallconv' on "),
        ((), "visual_words", "smallvit", "objective 'visual_words' needs the unpooled feature map, which pre-training"),
        (("--labels", "2"), "rotation", "smallconv", "--labels asks for 2 labels for 3 classes; ask for at least 3"),
        (("--target", "here"), "rotation", "smallconv", "--target means nothing to task 'pretrain'"),
        ((), "mae", "smallconv", "does not give; choose a ViT as --backbone (vit_small_patch16_224, or smallvit for"),
        (
            ("objectives.npid.negatives=7",),
            "npid",
            "smallconv",
            "objectives.npid.negatives=7 has no effect without form=",
        ),
        ((), "rotatoin", "smallconv", "unknown objective 'rotatoin': did you mean rotation"),
    ],
)
def test_what_cannot_be_had_leaves_no_folder(
    photos: Path, tmp_path: Path, capsys: Any, more: tuple[str, ...], objective: str, backbone: str, sentence: str
) -> None:
    assert pretrain(photos, tmp_path / "run", *more, objective=objective, backbone=backbone) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "method", "sentence"),
    [
        ("kcl", "self_supervised", "objective 'kcl' needs labels, which pre-training 'smallconv' on "),
        ("rotation", "supervised", "has no labels to learn from; give --method self_supervised"),
    ],
)
def test_a_folder_without_labels_serves_no_labels(
    tmp_path: Path, capsys: Any, objective: str, method: str, sentence: str
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32), (40 * number, 9, 9)).save(flat / f"{number}.png")
    assert pretrain(flat, tmp_path / "run", "--method", method, objective=objective) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("objective", "size", "n_images", "sentences"),
    [
        ("simclr", 6, 6, []),
        ("simclr", 12, 6, ["a batch of 12 holds some of the 6 images more than once; give --batch-size 6 or less"]),
        ("placebo:vicreg", 32, 50, []),
        (
            "barlow_twins",
            2,
            50,
            [
                "objective 'barlow_twins' compares statistics of a batch, and 2 images say little of them; give "
                "--batch-size 32 or more"
            ],
        ),
    ],
)
def test_batches_that_do_not_suit_the_objective_are_named(
    objective: str, size: int, n_images: int, sentences: list[str]
) -> None:
    recipe = recipe_of({"objectives": [objective], "training": {"batch_size": size}})
    assert training_warnings(recipe, n_images) == sentences


@pytest.mark.parametrize(("steps", "warns"), [(0, False), (50, True), (100, True), (101, False)])
def test_a_warm_up_that_outlasts_the_training_is_named(steps: int, warns: bool) -> None:
    recipe = recipe_of({"objectives": ["rotation"], "training": {"steps": steps, "warmup_steps": 100}})
    sentence = (
        f"the learning rate warms up over 100 steps and training ends after {steps}, before it is reached; set "
        f"training.warmup_steps={steps // 10}"
    )
    assert training_warnings(recipe, 1000) == ([sentence] if warns else [])


def test_the_command_warns_of_a_batch_larger_than_the_folder(photos: Path, tmp_path: Path, capsys: Any) -> None:
    assert pretrain(photos, tmp_path / "run", "--batch-size", 12, objective="swav", steps=0) == 0
    said = capsys.readouterr().out
    assert "warning: a batch of 12 holds some of the 6 images more than once; give --batch-size 6 or less" in said
    assert "warning: objective 'swav' compares statistics of a batch, and 12 images say little of them" in said
