from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import uda
from tests.tiny import draw_classes
from uda.errors import UserError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> "uda.Pretrained":
    root = tmp_path_factory.mktemp("pretrained")
    draw_classes(root / "images", {"ant": 6, "bee": 6})
    return uda.pretrain(
        root / "images",
        ["rotation", "simclr"],
        out=root / "run",
        device="cpu",
        encoder__backbone="smallconv",
        data__image_size=16,
        data__stored_size=16,
        training__steps=3,
        training__batch_size=6,
        training__evaluate_every=0,
    )


def test_the_figures_are_those_of_the_folder(made: "uda.Pretrained") -> None:
    assert made.metrics == made.content["metrics"]
    assert made.content["method"] == "rotation+simclr"
    assert made.metrics["knn_accuracy"] is not None


def test_the_backbone_gives_the_features(made: "uda.Pretrained") -> None:
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = made.features(pixels)
    assert features.shape == (5, 128)
    # smallconv's normalization: mean 0.5, std 0.25
    by_hand = made.backbone().eval()((pixels / 255 - 0.5) / 0.25)
    assert np.allclose(features, by_hand.detach().numpy(), atol=1e-5)


def test_a_folder_is_taken_in_the_order_of_its_files(made: "uda.Pretrained") -> None:
    folder = made.folder.parent / "images"
    assert made.features(folder).shape == (12, 128)


def test_a_finished_run_is_not_overwritten(made: "uda.Pretrained", tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds a run already"):
        uda.pretrain(made.folder.parent / "images", "rotation", out=made.folder)
    with pytest.raises(UserError, match="unknown objective 'rotatoin'"):
        uda.pretrain(made.folder.parent / "images", "rotatoin", out=tmp_path / "run")


def test_an_option_of_an_objective_that_is_not_named_is_refused(tmp_path: Path) -> None:
    small: dict[str, Any] = {"encoder__backbone": "smallconv", "data__image_size": 16, "training__steps": 1}
    with pytest.raises(UserError, match=r"objectives\.moco\.queue is an option of 'moco', which is not among"):
        uda.pretrain(None, "simclr", out=tmp_path / "run", objectives__moco__queue=7, **small)


def test_save_and_load_again(made: "uda.Pretrained", tmp_path: Path) -> None:
    assert made.save(tmp_path / "copy") == tmp_path / "copy"
    again = uda.load(tmp_path / "copy", device="cpu")
    assert isinstance(again, uda.Pretrained)
    assert (again.metrics, again.recipe) == (made.metrics, made.recipe)
    images = made.folder.parent / "images"
    assert np.array_equal(again.features(images), made.features(images))
    with pytest.raises(UserError, match="exists and is not empty; name another folder"):
        made.save(tmp_path / "copy")


def test_a_pretraining_is_not_taken_for_a_classifier(made: "uda.Pretrained", said: Any) -> None:
    message = said("--task", "predict", "--source", made.folder, "--target", made.folder.parent / "images")
    assert "is a run of task 'pretrain', which classifies nothing; name one of unida" in message


def test_a_sweep_is_many_runs(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"task": "pretrain", "sweep": []}')
    with pytest.raises(UserError, match="holds a run for each combination of a sweep; name the folder of one of them"):
        uda.load(tmp_path)
