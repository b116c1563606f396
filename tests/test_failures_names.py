"""What the user sees when something is wrong, by exit status and by words: names, values and parts of a run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import SMALL

# names that do not exist


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "unid"), ["unknown task 'unid': did you mean unida", "--help"]),
        (("--method", "danse"), ["unknown method 'danse': did you mean dance", "known: consensus, dance, ", "--help"]),
        (("--objective", "rotatoin"), ["unknown objective 'rotatoin': did you mean rotation", "--help"]),
        (("--source", "offce", "--target", "dslr"), ["'offce'", "did you mean office"]),
        (("--source", "office/amazn", "--target", "dslr"), ["'amazn'", "did you mean amazon"]),
        (("--source", "office", "--target", "dlsr"), ["'dlsr'", "did you mean dslr"]),
        (("--source", "/no/such/folder", "--target", "/none"), ["/no/such/folder", "there is no such folder"]),
        (("--set", "training.lrr=1"), ["unknown recipe key 'training.lrr': did you mean training.lr"]),
        (("--set", "rejection=ots"), ["unknown rejection rule 'ots': did you mean otsu"]),
        (
            ("--set", "selection=sdn"),
            ["unknown selection rule 'sdn': did you mean snd", "known: dev, entropy, iwv, last,"],
        ),
        (
            ("--set", "data.source_holdout=0.6"),
            ["'data.source_holdout' cannot be '0.6': Input should be less than or equal to 0.5"],
        ),
        (("--setting", "opn"), ["data.setting", "'opn'", "open-partial"]),
        (("--stesp", "5"), ["unknown flag '--stesp': did you mean --steps", "--help"]),
        (("--step=5",), ["unknown flag '--step': did you mean --steps"]),
        (("--device", "tpu"), ["--device", "invalid choice: 'tpu'", "--help"]),
        (("--steps", "many"), ["--steps", "invalid int value: 'many'"]),
        (("--seeds", "0", "0"), ["'seeds' cannot be [0, 0]: each seed once"]),
        (("--batch-size", "1"), ["'training.batch_size' cannot be 1"]),
        (("--config", "no.yaml"), ["recipe file 'no.yaml' does not exist"]),
        (("--set", "data=office"), ["recipe key 'data' is a section"]),
    ],
)
def test_a_name_that_does_not_exist(said: Any, tmp_path: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    message = said(*arguments, "--out", tmp_path / "out")
    for word in words:
        assert word in message
    assert not (tmp_path / "out").exists()


def test_an_unknown_backbone(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--backbone", "resnet5", "--out", tmp_path / "out")
    assert "unknown backbone 'resnet5': did you mean" in message
    assert "resnet50" in message
    assert "timm.list_models()" in message
    assert not (tmp_path / "out").exists()  # so that the corrected command may have this folder


@pytest.mark.parametrize(
    "value",
    ["method.temperature=-1", "method.temperature=0", "method.eta=nan", "method.start=7", "training.lr=inf"],
)
def test_values_of_no_sense(said: Any, value: str) -> None:
    assert f"recipe key '{value.partition('=')[0]}' cannot be" in said("--set", value)


# parts that do not fit


def test_an_objective_that_does_not_fit(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--freeze", "--objective", "rotation", "--out", tmp_path / "out")
    assert "objective 'rotation' needs pixels, which frozen mode (--freeze) does not give" in message
    assert "would do" in message


def test_an_adapter_without_frozen_features(said: Any, ends: Any) -> None:
    assert "encoder.adapter=true needs frozen features; add --freeze" in said(*ends, *SMALL, "encoder.adapter=true")


@pytest.mark.parametrize("rule", ["iwv", "dev"])
def test_a_selection_by_held_out_images_without_any(said: Any, ends: Any, rule: str, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, f"selection={rule}", "--out", tmp_path / "out")
    assert f"selection={rule} needs source images that are not trained on; hold some out with" in message
    assert "data.source_holdout=0.1`, or choose a rule that needs none: last, entropy, snd, mixval" in message
    assert not (tmp_path / "out").exists()


def test_a_view_larger_than_what_is_stored(said: Any, ends: Any) -> None:
    assert "data.stored_size=10 is below the image size 16; raise it" in said(*ends, *SMALL, "data.stored_size=10")


def test_an_image_size_that_the_backbone_cannot_take(said: Any, ends: Any, tmp_path: Path) -> None:
    arguments = (*ends, *SMALL, "data.stored_size=null", "--image-size", 30, "--backbone", "test_vit")
    message = said(*arguments, "--out", tmp_path / "out")
    assert "backbone 'test_vit' cannot take 30-pixel images" in message
    assert "--image-size" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(said: Any, ends: Any) -> None:
    assert "--device cuda: PyTorch sees no GPU here" in said(*ends, *SMALL, "--device", "cuda")


# comparisons


def test_a_comparison_of_a_run_with_itself(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--method", "source_only", "--compare", "--out", tmp_path / "out")
    assert "--compare has nothing to compare" in message


def test_a_comparison_cannot_change_the_seeds(said: Any, ends: Any) -> None:
    assert "both arms share them; give them by --seeds" in said(*ends, *SMALL, "--compare", "seeds=[4]")


def test_a_comparison_with_an_unknown_key(said: Any, ends: Any) -> None:
    message = said(*ends, *SMALL, "--compare", "method.etta=1")
    assert "the baseline of --compare cannot be had: unknown recipe key 'method.etta'" in message
