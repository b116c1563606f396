import errno
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.conftest import SmallDisk
from uda.training.outputs import write_json, write_tensors, write_text


def test_files_replace_what_was_there_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    for content in ("one\n", "two: ü\n"):
        write_text(tmp_path / "a.txt", content)
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == content
    write_tensors(tmp_path / "b.safetensors", {"x": torch.arange(6.0).view(2, 3).T}, {"key": "value"})
    assert load_file(tmp_path / "b.safetensors")["x"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.safetensors"]


def test_tensors_may_be_read_by_whom_other_files_may(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "")
    write_tensors(tmp_path / "b.safetensors", {"x": torch.ones(1)})
    assert (tmp_path / "b.safetensors").stat().st_mode == (tmp_path / "a.txt").stat().st_mode


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "m.json", {"h_score": None})
    assert (tmp_path / "m.json").read_text() == '{\n "h_score": null\n}\n'
    with pytest.raises(ValueError):
        write_json(tmp_path / "m.json", {"h_score": value})
    assert "null" in (tmp_path / "m.json").read_text()  # what was there stays


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    shared = torch.ones(3)
    write_tensors(tmp_path / "s.safetensors", {"a": shared, "b": shared})
    assert load_file(tmp_path / "s.safetensors").keys() == {"a", "b"}


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    # Five keys have 120 orders, and the library draws one for each file: ten files hardly draw the same.
    metadata = {name: name * 2 for name in ("timm", "mean", "std", "import", "äöü")}
    paths = [tmp_path / f"{number}.safetensors" for number in range(10)]
    for path in paths:
        write_tensors(path, {"x": torch.arange(3.0), "a.b": torch.ones(2, 2)}, metadata)
    assert len({path.read_bytes() for path in paths}) == 1
    with safe_open(paths[0], "pt") as file:
        assert file.metadata() == metadata
        assert file.get_tensor("x").tolist() == [0, 1, 2]
        assert file.get_tensor("a.b").tolist() == [[1, 1], [1, 1]]


def test_a_full_disk_keeps_the_file_and_says_what_the_system_said(small_disk: SmallDisk) -> None:
    path = small_disk.folder / "t.safetensors"
    write_tensors(path, {"x": torch.zeros(10)})
    with pytest.raises(OSError) as caught:
        write_tensors(path, {"x": torch.zeros(200_000)})
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError):
        write_text(path.with_suffix(".txt"), "x" * 800_000)
    assert load_file(path)["x"].shape == (10,)
    assert [entry.name for entry in small_disk.folder.iterdir()] == ["t.safetensors"]
