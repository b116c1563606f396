"""What the user sees when something is wrong, by exit status and by words: images and weights."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.tiny import SMALL, command, draw_classes

# data


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("UDA_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_a_data_set_that_is_not_on_disk(said: Any, nowhere: Path) -> None:
    message = said("--source", "office", "--target", "dslr")
    assert str(nowhere) in message  # where it was looked for
    assert "amazon" in message  # the layout
    assert "http" in message  # where to get it
    assert "python run.py --task unida" in message  # what needs no data


def test_a_data_root_that_is_named_is_where_it_is_looked_for(said: Any, nowhere: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "mine") in said("--source", "office", "--target", "dslr", "--data-root", tmp_path / "mine")


def test_a_folder_with_one_class(said: Any, domains: Path, tmp_path: Path) -> None:
    draw_classes(tmp_path / "photo", {"apple": 2})
    message = said("--source", tmp_path / "photo", "--target", domains / "sketch", *SMALL)
    assert "has one class (apple): a classifier needs at least two" in message


def test_a_folder_without_images(said: Any, domains: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    message = said("--source", domains / "photo", "--target", tmp_path / "empty", *SMALL)
    assert f"folder {tmp_path / 'empty'} holds no images" in message
    assert "png" in message


def test_a_class_that_is_missing_on_one_side(said: Any, ends: Any, tmp_path: Path) -> None:
    # alphabetically apple, bird, cat, dog: of the three that are to be shared the target has no cat
    message = said(*ends, *SMALL, "--split", "3/0/1", "--out", tmp_path / "out")
    assert "class cat of the split has no image in sketch" in message
    message = said(*ends, *SMALL, "--setting", "closed", "--out", tmp_path / "out")
    assert "--setting closed does not fit the classes of source and target" in message


def test_domains_that_share_no_class(said: Any, domains: Path, tmp_path: Path) -> None:
    draw_classes(tmp_path / "other", {"eel": 2, "fox": 2})
    message = said("--source", domains / "photo", "--target", tmp_path / "other", *SMALL)
    assert "source and target share no class (source: apple, bird, cat; target: eel, fox)" in message


def test_strict_refuses_unreadable_files(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--strict", "--out", tmp_path / "out")
    assert "2 of the 20 images of 'sketch' cannot be read" in message
    assert "apple/broken.png" in message
    assert "leave out --strict" in message


def test_a_folder_without_one_readable_image(said: Any, domains: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    message = said("--source", domains / "photo", "--target", tmp_path, *SMALL)
    assert "none of the 2 images" in message


def test_a_class_that_is_called_unknown(said: Any, tmp_path: Path) -> None:
    source = draw_classes(tmp_path / "source", {"cat": 4, "unknown": 4})
    target = draw_classes(tmp_path / "target", {"cat": 4, "dog": 4})
    message = said("--source", source, "--target", target, *SMALL, "--out", tmp_path / "out")
    assert "a class named 'unknown'" in message
    assert "rename that class" in message


@pytest.mark.skipif(sys.platform != "linux", reason="this system's file names are always Unicode")
def test_a_file_name_that_is_not_unicode(domains: Path, tmp_path: Path) -> None:
    target = tmp_path / "flat"
    target.mkdir()
    for picture in (domains / "sketch").rglob("*.png"):
        shutil.copy(picture, target / f"{picture.parent.name}-{picture.name}")
    first = min(target.iterdir())
    os.rename(first, os.fsencode(target) + b"/bad\xff.png")  # noqa: PTH104  (a Path cannot be given as bytes)
    out = tmp_path / "out"
    assert command("--source", domains / "photo", "--target", target, *SMALL, "--steps", 2, "--out", out) == 0
    assert b"bad\xff.png" in (out / "predictions.csv").read_bytes()
    assert (out / "report.html").stat().st_size > 0


def test_a_comparison_on_data_that_is_not_there_is_refused_at_once(said: Any, ends: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said(*ends, *SMALL, "--steps", 2, "--out", out, "--compare", "data.split=50/1/1")
    assert not out.exists()


# weights


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("frozen", [(), ("--freeze",)])
def test_weights_that_cannot_be_had(said: Any, ends: Any, tmp_path: Path, frozen: tuple[str, ...]) -> None:
    arguments = ("--backbone", "resnet18", "--image-size", 32, "--set", "data.stored_size=32", *frozen)
    message = said(*ends, *arguments, "--out", tmp_path / "out")
    assert "no weights for backbone 'resnet18'" in message
    for way in ("--weights FILE", "--weights none", "uda-ssl[offline]"):
        assert way in message
    assert not (tmp_path / "out").exists()


def test_a_weights_file_that_is_not_there(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--weights", tmp_path / "w.safetensors", "--out", tmp_path / "out")
    assert f"weights file '{tmp_path / 'w.safetensors'}' does not exist" in message
