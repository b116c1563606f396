"""A target that is one flat folder: what is said of it is what is known without labels."""

import contextlib
import shutil
from pathlib import Path

import pytest

from tests.tiny import adapt, draw_classes, metrics_of

Ran = tuple[Path, str]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 18 images, six each of three colors, without class folders."""
    root = tmp_path_factory.mktemp("flat")
    drawn = draw_classes(root / "drawn", {"apple": 6, "bird": 6, "dog": 6}, noise=60)
    (root / "camera").mkdir()
    for number, file in enumerate(sorted(drawn.rglob("*.png"))):
        shutil.copy(file, root / "camera" / f"{number:02d}.png")
    return root / "camera"


@pytest.fixture(scope="module")
def ran(domains: Path, flat: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Return the folder of a run on it, and what was printed."""
    out = tmp_path_factory.mktemp("unlabelled") / "run"
    with (out.parent / "printed.txt").open("w") as printed, contextlib.redirect_stdout(printed):
        assert adapt(domains, out, target=str(flat)) == 0
    return out, (out.parent / "printed.txt").read_text()


def test_no_setting_is_claimed(ran: Ran) -> None:
    out, printed = ran
    assert "label sets: 3 source classes, the target has no class folders, so its classes are not known" in printed
    assert "closed" not in printed
    assert metrics_of(out)["setting"] is None


def test_a_split_that_cannot_restrict_it_says_so(
    domains: Path, flat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--split", "1/1/1", "--steps", 1)
    assert adapt(domains, tmp_path / "run", "preflight=false", *given, target=str(flat)) == 0
    printed = capsys.readouterr().out
    assert "label sets: 2 source classes, --split 1/1/1; the target has no class folders" in printed
    assert (
        "warning: the target has no class folders, so the split cannot restrict it: all its images are used" in printed
    )
