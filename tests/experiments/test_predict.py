import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import uda
from tests.tiny import SIZE, command, draw_classes, tiny_recipe, tiny_task
from uda.datasets.given import given_images
from uda.errors import UserError
from uda.experiments import predict
from uda.experiments.predict import classify

# what may be given


def drawn(folder: Path, count: int) -> list[Path]:
    """Write images of different sizes; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        height, width = rng.integers(8, 40, 2)
        files.append(folder / f"{number:04d}.png")
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(files[-1])
    return files


def test_a_folder_of_any_arrangement_a_file_and_a_list(tmp_path: Path) -> None:
    draw_classes(tmp_path / "new", {"a": 2, "b/deep": 1})
    shutil.copy(tmp_path / "new" / "a" / "0.png", tmp_path / "new" / "loose.PNG")
    (tmp_path / "new" / "b" / "c.heic").touch()
    (tmp_path / "new" / ".hidden.png").touch()
    found = given_images(tmp_path / "new")
    names = [Path(path).relative_to(tmp_path / "new").as_posix() for path in found.table.paths]
    assert names == ["loose.PNG", "a/0.png", "a/1.png", "b/deep/0.png"]
    assert found.notes == (f"{tmp_path / 'new'}: 1 file is left out as no image by name (.heic 1)",)
    one = tmp_path / "photo"  # a file that is named outright needs no suffix
    shutil.copy(tmp_path / "new" / "loose.PNG", one)
    assert given_images(str(one)).table.paths == (str(one),)
    both = given_images([one, tmp_path / "new" / "a"]).table
    assert [Path(path).name for path in both.paths] == ["photo", "0.png", "1.png"]
    assert both.labels.tolist() == [-1] * 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("gone", "there is no folder or file gone: name a folder"),
        ([], "the list given names no images"),
        (7, "a folder, image files or a uint8 tensor .* are wanted, not int"),
        ([7], "not list"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "holds no images"),
        (torch.zeros(2, 3, 8, 8), r"uint8 tensor \(N, 3, H, W\), not torch.float32 \(2, 3, 8, 8\)"),
    ],
)
def test_what_may_not_be_given(given: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        given_images(given)


# a batch at a time


def test_many_images_are_answered_as_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe()
    task = tiny_task(recipe)
    task.evaluate()
    files = drawn(tmp_path, 30)
    files[4].write_bytes(files[4].read_bytes()[:60])
    table = given_images(tmp_path).table
    whole, unreadable = classify(task, None, recipe, table, task.data.class_names, False, False)
    assert [image.path for image in unreadable] == [str(files[4])]
    assert whole["path"].tolist() == [str(file) for file in files if file != files[4]]
    seen = []
    monkeypatch.setattr(predict, "_CHUNK", 8)
    original = task.answer
    monkeypatch.setattr(task, "answer", lambda images, line: (seen.append(len(images)), original(images, line))[1])
    parts, _ = classify(task, None, recipe, table, task.data.class_names, False, False)
    assert seen == [8, 8, 8, 5]  # 29 readable images, never more than 8 in memory
    assert parts["label"].tolist() == whole["label"].tolist()
    assert parts["unknown_score"].to_numpy() == pytest.approx(whole["unknown_score"].to_numpy(), abs=1e-5)
    line = float(task.threshold)
    assert (parts["label"] == "unknown").tolist() == (parts["unknown_score"] > line).tolist()


def test_nothing_is_written_to_the_cache(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDA_CACHE", str(tmp_path / "cache"))
    files = drawn(tmp_path / "new", 3)
    result = uda.load(finished, device="cpu")
    table = result.predict(tmp_path / "new")
    assert table["path"].tolist() == [str(file) for file in files]
    assert not (tmp_path / "cache").exists()


def test_one_file_a_list_and_pixels_agree_with_the_folder(finished: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image).save(file)
    result = uda.load(finished, device="cpu")
    whole = result.predict(tmp_path)
    assert result.predict([str(file) for file in files]).equals(whole)
    for number, file in enumerate(files):
        alone = result.predict(file)
        assert alone["path"].tolist() == [str(file)]
        assert alone["unknown_score"][0] == pytest.approx(whole["unknown_score"][number], abs=1e-5)
    loose = result.predict(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
    assert loose.drop(columns="path").equals(whole.drop(columns="path"))


def test_odd_images(finished: Path, tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.convert("CMYK").save(tmp_path / "cmyk.JPG")
    picture.convert("P").save(tmp_path / "palette.gif")
    picture.convert("RGBA").save(tmp_path / "alpha.webp")
    picture.convert("1").save(tmp_path / "bits.bmp")
    picture.save(tmp_path / "turned.jpeg", exif=exif)
    Image.fromarray(np.full((9, 1), 40_000, dtype=np.uint16)).save(tmp_path / "deep.tif")
    (tmp_path / "žluť 猫.png").write_bytes((tmp_path / "palette.gif").read_bytes())
    (tmp_path / "link.jpg").symlink_to(tmp_path / "cmyk.JPG")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    table = uda.load(finished, device="cpu").predict(tmp_path)
    assert len(table) == 8
    assert np.isfinite(table["unknown_score"]).all()
    reasons = dict(table.attrs["unreadable"])
    assert sorted(Path(path).name for path in reasons) == ["broken.png", "dangling.png"]
    assert reasons[str(tmp_path / "dangling.png")] == "there is no such file"
    scores = dict(zip((Path(path).name for path in table["path"]), table["unknown_score"], strict=True))
    assert scores["link.jpg"] == pytest.approx(scores["cmyk.JPG"], abs=1e-5)


def test_many_warnings_are_counted(finished: Path, tmp_path: Path, capsys: Any) -> None:
    drawn(tmp_path, 2)
    for number in range(15):
        (tmp_path / f"broken-{number}.png").write_bytes(b"no image")
    uda.load(finished, device="cpu").predict(tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("warning: left out") == 10
    assert "warning: 15 unreadable files left out in all" in printed


def test_nothing_readable_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none of the 1 image of .* can be read"):
        uda.load(finished, device="cpu").predict(tmp_path)


# the command


def test_the_command_takes_one_image_and_lists_what_it_left_out(finished: Path, tmp_path: Path, capsys: Any) -> None:
    files = drawn(tmp_path / "new", 2)
    (tmp_path / "new" / "broken.png").write_bytes(b"no image")
    run = ("--task", "predict", "--source", finished, "--device", "cpu")
    assert command(*run, "--target", files[0], "--out", tmp_path / "one") == 0
    assert "1 image →" in capsys.readouterr().out
    assert not (tmp_path / "one" / "unreadable.csv").exists()
    assert command(*run, "--target", tmp_path / "new", "--out", tmp_path / "all") == 0
    assert "warning: 1 unreadable file left out →" in capsys.readouterr().out
    listed = pd.read_csv(tmp_path / "all" / "unreadable.csv")
    assert listed.columns.tolist() == ["path", "reason"]
    assert listed["path"].tolist() == [str(tmp_path / "new" / "broken.png")]


def test_the_command_refuses_images_that_are_not_there(finished: Path, said: Any, tmp_path: Path) -> None:
    message = said("--task", "predict", "--source", finished, "--target", tmp_path / "gone")
    assert f"there is no folder or file {tmp_path / 'gone'}" in message
