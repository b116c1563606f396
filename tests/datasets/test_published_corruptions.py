from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uda.datasets.published_corruptions import published_corruptions
from uda.errors import UserError


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Two corruptions of 3 images at 5 severities; all values of an image say where it stands: 10 · severity + row."""
    values = np.array([10 * severity + row for severity in range(1, 6) for row in range(3)], dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (15, 4, 6, 3))
    np.save(tmp_path / "fog.npy", images)
    np.save(tmp_path / "gaussian_noise.npy", images + 100)
    np.save(tmp_path / "labels.npy", np.tile(np.array([7, 0, 2], dtype=np.uint8), 5))
    return tmp_path


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """One corruption, classes n2 (two images) and n10 (one); PNG, so that values come back."""
    for severity in range(1, 6):
        for place, file in enumerate(("n10/a.png", "n2/b.png", "n2/a.png")):
            path = tmp_path / "frost" / str(severity) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (5, 4), (severity, place, 0)).save(path)
    return tmp_path


def test_arrays_are_cut_by_severity(arrays: Path) -> None:
    parts = list(published_corruptions(arrays))
    order = [(name, severity) for name in ("gaussian_noise", "fog") for severity in range(1, 6)]  # the paper's
    assert [(part.name, part.severity) for part in parts] == order
    assert all(len(part) == 3 and part.labels.tolist() == [7, 0, 2] for part in parts)
    (first, labels), (second, _) = parts[7].batches(2)  # fog, severity 3
    assert first.shape == (2, 3, 4, 6)
    assert first.dtype == torch.uint8
    assert first[:, 0, 0, 0].tolist() == [30, 31]
    assert second[:, 2, 3, 5].tolist() == [32]
    assert labels.tolist() == [7, 0]
    assert labels.dtype == torch.int64


def test_folders_are_read_in_natural_order(folders: Path) -> None:
    parts = list(published_corruptions(folders))
    assert [(part.name, part.severity) for part in parts] == [("frost", severity) for severity in range(1, 6)]
    ((images, labels),) = parts[3].batches(10)
    assert images.shape == (3, 3, 4, 5)
    assert images[:, 0].unique().tolist() == [4]
    assert images[:, 1, 0, 0].tolist() == [2, 1, 0]  # n2/a, n2/b, n10/a
    assert labels.tolist() == [0, 0, 1]


def test_some_corruptions_only(arrays: Path) -> None:
    assert {part.name for part in published_corruptions(arrays, ["fog"])} == {"fog"}
    with pytest.raises(UserError, match="unknown corruption 'fogg': did you mean fog"):
        published_corruptions(arrays, ["fogg"])
    with pytest.raises(UserError, match=r"has no snow: it holds gaussian_noise, fog"):
        published_corruptions(arrays, ["fog", "snow"])


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no published corruptions: it should have labels.npy beside"):
        published_corruptions(tmp_path)
    with pytest.raises(UserError, match=r"holds no published corruptions"):
        published_corruptions(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("fog.npy", np.zeros((15, 4, 6), np.uint8), r"fog.npy is uint8 \(15, 4, 6\): it should be uint8 \(5·N"),
        ("fog.npy", np.zeros((15, 4, 6, 3)), "fog.npy is float64"),
        ("fog.npy", np.zeros((10, 4, 6, 3), np.uint8), r"labels.npy is uint8 \(15,\): fog.npy needs 10 whole numbers"),
        ("labels.npy", np.zeros(15), "labels.npy is float64"),
        ("fog.npy", np.array([{}], dtype=object), "fog.npy cannot be read as an array"),
    ],
)
def test_an_odd_array_is_named(arrays: Path, file: str, content: np.ndarray, message: str) -> None:
    np.save(arrays / file, content)
    with pytest.raises(UserError, match=message):
        list(published_corruptions(arrays, ["fog"]))


def test_a_broken_array_is_named(arrays: Path) -> None:
    (arrays / "fog.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"fog.npy cannot be read as an array"):
        list(published_corruptions(arrays))


def test_severities_of_different_length_are_refused(arrays: Path) -> None:
    np.save(arrays / "fog.npy", np.zeros((14, 4, 6, 3), np.uint8))
    np.save(arrays / "labels.npy", np.zeros(14, np.uint8))
    with pytest.raises(UserError, match=r"has 14 images: it should have as many of each of 5 severities"):
        list(published_corruptions(arrays, ["fog"]))


def test_a_missing_severity_class_or_image_is_named(folders: Path) -> None:
    (folders / "frost" / "4" / "n10" / "a.png").unlink()
    with pytest.raises(UserError, match=r"4/n10 has no images"):
        list(published_corruptions(folders))
    (folders / "frost" / "4" / "n10").rmdir()
    with pytest.raises(UserError, match=r"not all severities have the class 'n10'"):
        list(published_corruptions(folders))
    (folders / "frost" / "2").rename(folders / "frost" / "two")
    with pytest.raises(UserError, match=r"2 has no class folders: it should hold frost/2/<class>"):
        list(published_corruptions(folders))


def test_an_unreadable_or_odd_image_is_named(folders: Path) -> None:
    path = folders / "frost" / "1" / "n2" / "b.png"
    part = next(iter(published_corruptions(folders)))
    Image.new("RGB", (6, 4)).save(path)
    with pytest.raises(UserError, match=r"b.png: images of 4 x 5 and 4 x 6 pixels in one set"):
        list(part.batches(3))
    path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b.png: .*; unpack the archive again"):
        list(part.batches(3))
