"""Grids of recipes."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.experiments.pretraining import OF_A_RUN, pretrain
from tests.report.reading import read
from tests.tiny import command, draw_classes, interrupted, metrics_of
from uda.errors import UserError
from uda.experiments.sweep import parse_sweep

GRID = ("--sweep", "objectives.simclr.temperature=0.1,0.5", "views.gray=0,0.2")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("photos"), {"apple": 5, "bird": 5})


@pytest.fixture(scope="module")
def swept(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished grid of four, not to be written into."""
    out = tmp_path_factory.mktemp("swept") / "run"
    assert pretrain(photos, out, *GRID, objective="simclr", steps=1) == 0
    return out


def test_values_are_split_at_commas_outside_brackets() -> None:
    assert parse_sweep(["a.b=1, 2,1", "c=x"]) == [["a.b=1", "a.b=2"], ["c=x"]]
    lists = parse_sweep(["method.probes=[knn,linear],[svm]"])
    assert lists == [["method.probes=[knn,linear]", "method.probes=[svm]"]]


@pytest.mark.parametrize("text", ["foo", "foo=", "=1,2", "foo=,"])
def test_an_axis_without_values_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=f"--sweep wants key.path=a,b,c and cannot read '{text}'; for example training"):
        parse_sweep([text])


def test_an_axis_named_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"--sweep names a\.b twice; write all of its values in one place: a\.b=a,b,c"):
        parse_sweep(["a.b=1", "a.b=2"])


def test_every_combination_has_a_folder_and_a_row(swept: Path) -> None:
    folders = [
        f"objectives.simclr.temperature={temperature}+views.gray={gray}"
        for temperature in (0.1, 0.5)
        for gray in ("0", 0.2)
    ]
    files = {"recipe.yaml", "sweep.json", "metrics.json", "sweep.csv", "report.html"}
    assert {entry.name for entry in swept.iterdir()} == {*folders, *files}
    assert all({entry.name for entry in (swept / name).iterdir()} == OF_A_RUN for name in folders)
    content = metrics_of(swept)
    assert [row["folder"] for row in content["sweep"]] == folders
    for row in content["sweep"]:
        own = metrics_of(swept / row["folder"])
        assert (row["metrics"], row["ci95"]) == (own["metrics"], own["ci95"])
    assert content["sweep"][0]["metrics"] != content["sweep"][2]["metrics"]
    table = pd.read_csv(swept / "sweep.csv")
    assert table["objectives.simclr.temperature"].tolist() == [0.1, 0.1, 0.5, 0.5]
    assert table["views.gray"].tolist() == [0.0, 0.2, 0.0, 0.2]
    assert table["kNN accuracy"].str.contains("%").all()


def test_the_page_links_to_each(swept: Path) -> None:
    reader = read((swept / "report.html").read_text(encoding="utf-8"))
    links = [value for tag, attributes in reader.tags if tag == "a" for value in [attributes.get("href")]]
    assert sum(str(link).endswith("/report.html") for link in links) == 4
    assert "Sweep over 4 combinations" in " ".join(reader.text)


def test_a_sweep_goes_on_where_it_stopped(photos: Path, tmp_path: Path, swept: Path, monkeypatch: Any) -> None:
    begun, half = interrupted(monkeypatch, 2), (*GRID[:2], "views.gray=0")
    assert pretrain(photos, tmp_path / "run", *half, objective="simclr", steps=1) == 130
    assert len(metrics_of(tmp_path / "run")["sweep"]) == 1
    assert pretrain(photos, tmp_path / "run", *half, "--resume", objective="simclr", steps=1) == 0
    assert begun[2:] == begun[1:2]  # the first is kept as it is
    assert metrics_of(tmp_path / "run")["sweep"] == metrics_of(swept)["sweep"][::2]


def test_a_combination_that_fails_keeps_no_other_from_being_run(photos: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "run"
    diverging = ("--sweep", "training.lr=0.001,1e30,0.002")
    for again in ((), ("--resume",)):
        assert pretrain(photos, out, *diverging, *again, objective="npair", steps=3) == 2
        printed = capsys.readouterr()
        reason = metrics_of(out)["sweep"][1]["failed"]
        assert "is not finite" in reason or "became nan" in reason
        (said,) = printed.err.splitlines()
        assert said == f"error: 1 of the 3 combinations failed, the first in '{out / 'training.lr=1e30'}': {reason}"
        assert f"failed: {reason}" in printed.out
        assert "report: " in printed.out
        rows = metrics_of(out)["sweep"]
        assert [row["values"]["training.lr"] for row in rows] == ["0.001", "1e30", "0.002"]
        assert [bool(row["metrics"]) for row in rows] == [True, False, True]
    table = pd.read_csv(out / "sweep.csv", keep_default_na=False)
    assert table["failed"].tolist() == ["", reason, ""]
    assert table["kNN accuracy"].str.contains("%").tolist() == [True, False, True]
    reader = read((out / "report.html").read_text(encoding="utf-8"))
    links = [str(attributes.get("href")) for tag, attributes in reader.tags if tag == "a"]
    assert sum(link.endswith("/report.html") for link in links) == 2
    assert reason.split("'")[0] in " ".join(reader.text)


def test_resume_alone_goes_on_with_the_sweep_that_was_begun(swept: Path) -> None:
    before = (swept / "metrics.json").read_text()
    (swept / "report.html").unlink()
    assert command("--task", "pretrain", "--resume", "--out", swept) == 0
    assert (swept / "metrics.json").read_text() == before
    assert (swept / "report.html").is_file()


def test_a_combination_of_another_recipe_is_not_taken_for_this_one(photos: Path, swept: Path, capsys: Any) -> None:
    before = metrics_of(swept)
    assert pretrain(photos, swept, *GRID, "--resume", objective="simclr", steps=2) == 2
    assert "was begun with another recipe (training.steps: 1 → 2); resume with the values" in capsys.readouterr().err
    assert metrics_of(swept) == before


@pytest.mark.parametrize(
    ("axis", "sentence"),
    [
        ("foo", "--sweep wants key.path=a,b,c and cannot read 'foo'"),
        ("objectives.simclr.temprature=1,2", "unknown recipe key 'objectives.simclr.temprature': did you mean"),
        ("objectives.simclr.temperature=1,-1", "recipe key 'objectives.simclr.temperature' cannot be '-1'"),
        ("data.source=nowhere,here", "unknown source 'nowhere'"),
        ("encoder.freeze=false,true", "pre-training moves the backbone"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    photos: Path, tmp_path: Path, capsys: Any, axis: str, sentence: str
) -> None:
    assert pretrain(photos, tmp_path / "run", "--sweep", axis, objective="simclr", steps=1) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
