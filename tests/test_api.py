import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import uda
from tests.tiny import SIZE
from uda.errors import UserError

SMALL = {
    "encoder__backbone": "smallconv",
    "encoder__weights": "none",
    "data__image_size": SIZE,
    "data__stored_size": SIZE,
    "training__batch_size": 6,
}


def without_paths(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="path").reset_index(drop=True)


def readable(domain: Path) -> list[Path]:
    return [path for path in sorted(domain.glob("*/*.png")) if path.stem.isdigit()]


def pixels_of(files: list[Path]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def head_only(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> uda.Result:
    """Return a frozen run of a timm model, made from Python."""
    options = SMALL | {"encoder__backbone": "test_resnet", "data__image_size": 32, "data__stored_size": 32}
    return uda.adapt(
        domains / "photo",
        domains / "sketch",
        out=tmp_path_factory.mktemp("api") / "run",
        device="cpu",
        encoder__freeze=True,
        training__steps=2,
        seeds=[3],
        **options,
    )


def test_adapt_returns_what_the_folder_says(head_only: uda.Result) -> None:
    content = json.loads((head_only.folder / "metrics.json").read_text())
    assert head_only.metrics == content["metrics"]
    assert head_only.classes == ("apple", "bird", "cat")
    assert head_only.recipe.seeds == content["seeds"] == [3]
    assert content["method"] == "dance (head only)"


def test_frozen_weights_do_not_move(head_only: uda.Result) -> None:
    tensors = load_file(head_only.folder / "checkpoint" / "step-2" / "task.safetensors")
    assert not any(name.startswith("encoder.") for name in tensors)
    import timm

    timm.create_model("test_resnet", num_classes=0).load_state_dict(
        load_file(head_only.folder / "backbone.safetensors"), strict=True
    )


def test_frozen_predictions_agree_with_the_run(head_only: uda.Result, domains: Path) -> None:
    run = pd.read_csv(head_only.folder / "predictions.csv")
    found = head_only.predict(domains / "sketch")
    assert found["path"].tolist() == run["path"].tolist()
    assert found["label"].tolist() == run["label"].tolist()
    # a CSV keeps float32 to its last bit, and reads it back as float64
    assert found["confidence"].to_numpy(np.float64) == pytest.approx(run["confidence"].to_numpy(), abs=1e-6)


def test_load_predicts_a_folder_flat_or_not_and_a_tensor(finished: Path, domains: Path, tmp_path: Path) -> None:
    result = uda.load(finished, device="cpu")
    run = pd.read_csv(finished / "predictions.csv")
    files = readable(domains / "sketch")
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(files):
        (flat / f"{number:02d}.png").write_bytes(file.read_bytes())
    whole, loose, tensor = (result.predict(images) for images in (domains / "sketch", flat, pixels_of(files)))
    assert whole["path"].tolist() == run["path"].tolist() == [str(file) for file in files]
    for table in (whole, loose, tensor):
        assert table["label"].tolist() == run["label"].tolist()
        assert without_paths(table).equals(without_paths(whole))
    assert loose["path"][3] == str(flat / "03.png")
    assert tensor["path"].tolist()[:2] == ["image-0", "image-1"]


def test_predict_takes_domains_and_splits_as_one_set(finished: Path, domains: Path) -> None:
    assert len(uda.load(finished, device="cpu").predict(domains)) == 24 + 18


def test_an_image_is_judged_on_its_own(finished: Path, domains: Path) -> None:
    # The threshold is the run's: what else is in the folder must not matter.
    result = uda.load(finished, device="cpu")
    images = pixels_of(readable(domains / "sketch"))
    whole = result.predict(images)
    alone = result.predict(images[5:6])
    assert alone["label"][0] == whole["label"][5]
    assert alone["unknown_score"][0] == pytest.approx(whole["unknown_score"][5], abs=1e-5)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)],
)
def test_predict_refuses_a_tensor_that_is_no_set_of_images(finished: Path, images: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"uint8 tensor \(N, 3, H, W\)"):
        uda.load(finished, device="cpu").predict(images)


def test_predict_refuses_what_holds_no_images(finished: Path, tmp_path: Path) -> None:
    result = uda.load(finished, device="cpu")
    with pytest.raises(UserError, match="no images"):
        result.predict(torch.zeros(0, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError, match="holds no images"):
        result.predict(tmp_path)


def test_strict_refuses_unreadable_files(finished: Path, domains: Path) -> None:
    with pytest.raises(UserError, match=r"2 of the 20 images .* cannot be read"):
        uda.load(finished, device="cpu").predict(domains / "sketch", strict=True)


def test_save_and_load_again(finished: Path, domains: Path, tmp_path: Path) -> None:
    result = uda.load(finished, device="cpu")
    assert result.save(tmp_path / "copy") == tmp_path / "copy"
    again = uda.load(tmp_path / "copy", device="cpu")
    assert again.metrics == result.metrics
    assert again.predict(domains / "sketch").equals(result.predict(domains / "sketch"))
    with pytest.raises(UserError, match="exists and is not empty"):
        result.save(tmp_path / "copy")


def test_load_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no finished run"):
        uda.load(tmp_path)


def test_a_run_without_its_checkpoint_cannot_predict(finished: Path, domains: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoint"))
    with pytest.raises(UserError, match="has no checkpoint to predict with"):
        uda.load(tmp_path / "run", device="cpu").predict(domains / "sketch")


def test_adapt_never_overwrites_a_run(finished: Path, domains: Path) -> None:
    with pytest.raises(UserError, match="holds a run already"):
        uda.adapt(domains / "photo", domains / "sketch", out=finished, **SMALL)


def test_adapt_refuses_what_the_command_refuses(domains: Path, tmp_path: Path) -> None:
    for overrides, words in (
        ({"method": "danse"}, "unknown method 'danse'"),
        ({"training__stepz": 3}, r"unknown recipe key 'training\.stepz': did you mean training\.steps"),
        ({"objectives": ["rotation"], "encoder__freeze": True}, "'rotation' needs pixels"),
    ):
        with pytest.raises(UserError, match=words):
            uda.adapt(domains / "photo", domains / "sketch", out=tmp_path / "run", **(SMALL | overrides))
    assert not (tmp_path / "run").exists()


def test_unknown_attributes_of_the_package() -> None:
    assert {"adapt", "load", "Result"} <= set(uda.__all__)
    with pytest.raises(AttributeError, match="no attribute 'adopt'"):
        uda.adopt  # noqa: B018
