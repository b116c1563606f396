"""A target that is one flat folder: what is said of it is what is known without labels."""

import contextlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny import adapt, draw_classes, metrics_of
from uda.printed import print_figures
from uda.report.page import MISSING

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


def test_what_is_known_is_printed_instead_of_figures(ran: Ran) -> None:
    out, printed = ran
    answers = metrics_of(out)["answers"]
    labels = pd.read_csv(out / "predictions.csv")["label"]
    assert answers == {name: int((labels == name).sum()) for name in ("apple", "bird", "cat", "unknown")}
    assert sum(answers.values()) == 18
    last = printed.split("seeds [0]\n")[-1].splitlines()
    counts = sorted(answers.items(), key=lambda item: -item[1])
    assert last[:4] == [f"{name:>24} {count}" for name, count in counts]
    share = metrics_of(out)["unknown_share"]
    assert last[4:7] == [
        f"{answers['unknown']} of 18 target images rejected as unknown",
        f"Estimated without labels: {100 * share['estimate']:.0f} % of the target are outside the known classes (95 % "
        f"interval, over groups of similar images: {100 * share['low']:.0f} … {100 * share['high']:.0f} %).",
        "the target has no labels, so how many answers are right is not known",
    ]
    assert not any(MISSING in line for line in last)


def test_answers_of_several_seeds_are_means_and_no_difference_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    content = {
        "method": "dance",
        "seeds": [0, 1],
        "images": {"target": 5},
        "metrics": {"h_score": None},
        "answers": {"apple": 2.0, "unknown": 2.5},
        "unknown_share": {"estimate": 0.5, "low": 0.25, "high": 1.0},
        "difference": {"against": "source_only", "metrics": {}},
    }
    print_figures(content, Path("out"))
    printed = capsys.readouterr().out.splitlines()
    assert printed[2:5] == [
        f"{'unknown':>24} 2.5",
        f"{'apple':>24} 2",
        "2.5 of 5 target images rejected as unknown, mean over 2 seeds",
    ]
    assert "Estimated without labels: 50 %" in printed[5]
    assert "25 … 100 %" in printed[5]
    assert "none can be measured: the target has no labels" in printed
