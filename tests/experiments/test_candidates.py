import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import uda
from tests.tiny import tiny_domains, tiny_recipe
from uda.errors import UserError
from uda.experiments.unida.candidates import candidates_part, copy_candidates, find_candidates
from uda.tasks.unida import Answer


def answered(rejected: int) -> Answer:
    """Return an answer about the 15 images of `tiny_domains`: the last ones are rejected, and look all the same."""
    features = np.eye(4, dtype=np.float32)[np.arange(15) % 3]
    features[15 - rejected :] = [0, 0, 0, 2]
    return Answer(features, np.full((15, 3), 1 / 3), np.arange(15.0), 14.5 - rejected)


def test_rejected_images_are_grouped() -> None:
    recipe = tiny_recipe()
    domains = tiny_domains(recipe)
    found = find_candidates(domains, answered(6))
    # the last six are a bird and five dogs
    assert found.table.columns.tolist() == ["path", "candidate", "rank", "distance"]
    assert found.table["path"].tolist() == ["sketch/bird/4", *(f"sketch/dog/{i}" for i in range(5))]
    assert found.table["candidate"].tolist() == [1] * 6
    assert found.table["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found.table["distance"].tolist() == pytest.approx([0] * 6)
    section = candidates_part(found, recipe, domains, Path("run"))
    assert section.tables[0]["made of (oracle)"].tolist() == ["dog 5, bird 1"]
    assert section.tables[0]["purity (oracle)"].tolist() == ["83.3 %"]
    assert "name_candidates" not in section.html  # these images are no files


def test_nothing_rejected() -> None:
    domains = tiny_domains(tiny_recipe())
    found = find_candidates(domains, answered(0))
    assert found.table.to_csv(index=False) == "path,candidate,rank,distance\n"
    assert candidates_part(found, tiny_recipe(), domains, Path("run")).figures == ()


def test_a_run_writes_and_shows_them(finished: Path) -> None:
    table = pd.read_csv(finished / "candidates.csv")
    predictions = pd.read_csv(finished / "predictions.csv")
    rejected = predictions.loc[predictions["label"] == "unknown", "path"]
    assert sorted(table["path"]) == sorted(rejected)
    html = (finished / "report.html").read_text()
    assert "<h2>Candidate new classes</h2>" in html
    if len(rejected):
        assert re.search(r"uda\.load\(.*\)\.name_candidates", html)


# names


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a folder with candidates.csv: three images in two groups, two of them with one file name."""
    rows = []
    for number, (name, candidate) in enumerate((("a/1.png", 1), ("b/1.png", 1), ("b/2.png", 2))):
        file = tmp_path / "new" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]))
        rows.append((str(file), candidate, number % 2 + 1, 0.5))
    (tmp_path / "run").mkdir()
    table = pd.DataFrame(rows, columns=["path", "candidate", "rank", "distance"])
    table.to_csv(tmp_path / "run" / "candidates.csv", index=False)
    return tmp_path / "run"


def test_named_candidates_become_class_folders(run: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "zebra").mkdir(parents=True)
    (source / "zebra" / "1.png").write_bytes(b"old")
    copied = copy_candidates(run, {1: "zebra", 2: "gnu"}, source)
    assert copied == [source / "zebra" / "1-2.png", source / "zebra" / "1-3.png", source / "gnu" / "2.png"]
    assert [path.read_bytes() for path in copied] == [b"\0", b"\1", b"\2"]
    assert (source / "zebra" / "1.png").read_bytes() == b"old"  # nothing is overwritten


def test_several_candidates_may_share_a_name_and_others_stay(run: Path, tmp_path: Path) -> None:
    assert len(copy_candidates(run, {1: "zebra", 2: "zebra"}, tmp_path / "one")) == 3
    assert len(copy_candidates(run, {2: "zebra"}, tmp_path / "two")) == 1
    assert copy_candidates(run, {}, tmp_path / "three") == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({3: "gnu"}, "there is no candidate 3 in .*, which has 1 to 2"),
        ({1: "../gnu"}, "candidate 1 cannot be called '../gnu': give the plain name of a class folder"),
        ({1: ""}, "cannot be called ''"),
        ({1: ".."}, "cannot be called '..'"),
        ({1: "unknown"}, "cannot be called 'unknown', which is what rejected images are called"),
    ],
)
def test_names_that_cannot_be(run: Path, tmp_path: Path, names: dict[int, str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        copy_candidates(run, names, tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_images_that_are_gone_are_named_before_anything_is_copied(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "new" / "b")
    with pytest.raises(UserError, match=r"2 images of the candidates cannot be found, first '.*b/1\.png'"):
        copy_candidates(run, {1: "zebra", 2: "gnu"}, tmp_path / "source")
    assert not (tmp_path / "source").exists()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no candidates\.csv"):
        copy_candidates(tmp_path, {1: "zebra"}, tmp_path / "source")


@pytest.mark.skipif(sys.platform != "linux", reason="this system's file names are always Unicode")
def test_a_file_name_that_is_not_unicode(run: Path, tmp_path: Path) -> None:
    from uda.training.outputs import write_text

    file = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png")
    Path(file).write_bytes(b"x")
    table = pd.DataFrame([(file, 1, 1, 0.0)], columns=["path", "candidate", "rank", "distance"])
    write_text(run / "candidates.csv", table.to_csv(index=False))
    assert [path.read_bytes() for path in copy_candidates(run, {1: "zebra"}, tmp_path / "source")] == [b"x"]


def test_from_python_with_several_seeds(run: Path, tmp_path: Path) -> None:
    seeds = tmp_path / "several"
    shutil.copytree(run, seeds / "seed-3")
    result = uda.Result(seeds, tiny_recipe({"seeds": [3, 4]}), {}, torch.device("cpu"))
    assert len(result.name_candidates({2: "gnu"}, str(tmp_path / "source"))) == 1


def test_no_candidates_to_name(run: Path, tmp_path: Path) -> None:
    (run / "candidates.csv").write_text("path,candidate,rank,distance\n")
    with pytest.raises(UserError, match="which has none"):
        copy_candidates(run, {1: "gnu"}, tmp_path)


def test_what_is_written_reads_back(finished: Path, tmp_path: Path) -> None:
    table: Any = pd.read_csv(finished / "candidates.csv")
    if table.empty:
        pytest.skip("this run rejected nothing")
    number = int(table["candidate"].iloc[0])
    copied = uda.load(finished, device="cpu").name_candidates({number: "new"}, tmp_path)
    assert len(copied) == int((table["candidate"] == number).sum())
