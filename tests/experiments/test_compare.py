"""`compare RUN RUN …`: runs written by hand, so that every difference is known."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.report.reading import read
from tests.tiny import command, tiny_recipe
from uda.experiments.unida.domains import load_domains

HIGHER = {"h_score": [0.6, 0.8, 0.7], "nmi": [None] * 3}
LOWER = {"h_score": [0.5, 0.6, 0.6], "nmi": [None] * 3}


def made(folder: Path, per_seed: dict[str, list[Any]], method: str = "dance", **other: Any) -> Path:
    """Write what compare reads of a finished run."""
    content = {
        "task": "unida",
        "method": method,
        "seeds": list(range(len(next(iter(per_seed.values()))))),
        "steps": 3,
        "metrics": {name: None if None in v else sum(v) / len(v) for name, v in per_seed.items()},
        "std": dict.fromkeys(per_seed),
        "ci95": dict.fromkeys(per_seed),
        "ci95_kind": "Student's t over seeds",
        "per_seed": per_seed,
        "source": "photo",
        "target": "sketch",
        "setting": "open",
        "classes": ["apple", "bird"],
        "images": {"source": 6, "target": 9},
    } | other
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    recipe = tiny_recipe({"method": method if content["task"] == "unida" else "dance", "seeds": content["seeds"]})
    (folder / "recipe.yaml").write_text(recipe.dump())
    return folder


def test_differences_of_the_first_run_to_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """.1, .2, .1 by seed: mean .1333, std .0577, half width 4.303 · .0577 / √3 = .1434."""
    first, second = made(tmp_path / "a", HIGHER), made(tmp_path / "b", LOWER, "source_only")
    third = made(tmp_path / "c", HIGHER)
    assert command("compare", first, second, third, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "+13.3 pp" in printed
    assert "method.name: source_only → dance" in printed
    assert f"recipe of dance ({third}) → dance ({first}): the same" in printed
    files = {"comparison.json", "table.md", "table.tex", "table.csv", "report.html"}
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == files
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [run["folder"] for run in content["runs"]] == [str(first), str(second), str(third)]
    entry = content["differences"][0]["metrics"]["h_score"]
    assert entry["mean"] == pytest.approx(0.13333, abs=1e-5)
    assert entry["ci95"] == pytest.approx([0.13333 - 0.1434, 0.13333 + 0.1434], abs=1e-4)
    assert content["differences"][1]["metrics"]["h_score"]["mean"] == 0
    table = pd.read_csv(tmp_path / "out" / "table.csv")
    assert table["mean"].tolist() == pytest.approx([0.13333, 0], abs=1e-5)  # NMI, which no seed has, is left out
    assert "+13.3 pp" in (tmp_path / "out" / "table.md").read_text()
    assert r"\toprule" in (tmp_path / "out" / "table.tex").read_text()
    text = " ".join(read((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text)
    assert text.count("Paired comparison") >= 2
    assert "method.name: source_only → dance" in text


def test_seeds_are_paired_by_number_not_by_place(tmp_path: Path) -> None:
    first = made(tmp_path / "a", HIGHER)
    second = made(tmp_path / "b", {"h_score": [0.6, 0.5, 0.6]}, seeds=[2, 0, 1])
    assert command("compare", first, second, "--out", tmp_path / "out") == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    # paired by place they would be 0, .3, .1
    assert content["differences"][0]["metrics"]["h_score"]["std"] == pytest.approx(0.0577, abs=1e-4)


def test_every_pair_is_compared_where_runs_have_several(tmp_path: Path) -> None:
    def rows(*scores: float) -> list[dict[str, Any]]:
        own = {"source": "x", "target": "y", "setting": "open", "classes": ["apple"], "images": {"source": 1}}
        names = [("day", "dusk"), ("dusk", "day")]
        return [
            own
            | {
                "pair": f"{a} → {b}",
                "domains": [a, b],
                "metrics": {"universal_score": s},
                "per_seed": {"universal_score": [s]},
            }
            for (a, b), s in zip(names, scores, strict=True)
        ]

    first = made(tmp_path / "a", {"universal_score": [0.6]}, pairs=rows(0.5, 0.7))
    second = made(tmp_path / "b", {"universal_score": [0.4]}, pairs=rows(0.3, 0.5))
    assert command("compare", first, second, "--out", tmp_path / "out") == 0
    table = pd.read_csv(tmp_path / "out" / "table.csv", keep_default_na=False)
    assert table[["source", "target"]].to_numpy().tolist() == [["", ""], ["day", "dusk"], ["dusk", "day"]]
    assert table["mean"].tolist() == pytest.approx([0.2, 0.2, 0.2])
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| day → dusk | 50.0 % | 30.0 % | +20.0 pp |" in text


def test_one_seed_is_said_to_give_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [made(tmp_path / name, {"h_score": [0.5]}) for name in "ab"]
    assert command("compare", *runs, "--out", tmp_path / "out") == 0
    assert "one seed gives differences no interval: run more by --seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"seeds": [0, 1, 5]}, "has the seeds [0, 1, 2] and"),
        ({"task": "probe"}, "is of task 'unida' and"),
        ({"target": "clay"}, "are not on the same data (their targets differ); compare runs on one"),
        ({"classes": ["apple", "cat"]}, "(their classes differ)"),
        ({"images": {"source": 6, "target": 8}}, "(their images differ)"),
        ({"setting": "closed"}, "(their settings differ)"),
        ({"pairs": []}, "are not on the same data (their pairs of domains differ)"),
    ],
)
def test_what_cannot_be_paired_is_refused(tmp_path: Path, said: Any, other: dict[str, Any], sentence: str) -> None:
    first, second = made(tmp_path / "a", HIGHER), made(tmp_path / "b", HIGHER, **other)
    assert sentence in said("compare", first, second, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fingerprints_tell_images_apart_where_names_and_counts_do_not(tmp_path: Path, said: Any) -> None:
    prints = {"source": "1", "target": "2"}
    first = made(tmp_path / "a", HIGHER, fingerprints=prints)
    other = made(tmp_path / "b", LOWER, fingerprints=prints | {"target": "3"})
    message = said("compare", first, other, "--out", tmp_path / "out")
    assert "are not on the same data (their target images or labels differ); compare runs on one" in message
    elsewhere = made(tmp_path / "c", LOWER, fingerprints=prints, target="sketch-copy")
    assert command("compare", first, elsewhere, "--out", tmp_path / "moved") == 0


def test_runs_made_before_there_were_fingerprints_are_compared_by_what_they_say(tmp_path: Path, said: Any) -> None:
    before = made(tmp_path / "a", HIGHER)
    since = made(tmp_path / "b", LOWER, fingerprints={"source": "1", "target": "2"}, setting=None)
    assert command("compare", before, since, "--out", tmp_path / "out") == 0
    other = made(tmp_path / "c", LOWER, fingerprints={"source": "1", "target": "2"}, target="clay")
    assert "(their targets differ)" in said("compare", before, other, "--out", tmp_path / "none")


def test_pairs_are_compared_by_their_fingerprints(tmp_path: Path, said: Any) -> None:
    def run(name: str, target: str) -> Path:
        row = {"source": "x", "target": "y", "fingerprints": {"source": "1", "target": target}, "per_seed": {}}
        return made(tmp_path / name, HIGHER, pairs=[row])

    first, other = run("a", "2"), run("b", "3")
    assert "(their pairs of domains differ)" in said("compare", first, other, "--out", tmp_path / "out")


def test_the_fingerprint_is_of_images_and_labels_wherever_they_lie(domains: Path, tmp_path: Path) -> None:
    def prints(root: Path) -> dict[str, str]:
        ends = {"source": str(root / "photo"), "target": str(root / "sketch")}
        return load_domains(tiny_recipe({"data": ends}).data, progress=False).fingerprints

    first, copy = prints(domains), tmp_path / "copy"
    shutil.copytree(domains, copy)
    assert set(first) == {"source", "target"}
    assert prints(copy) == first
    (copy / "sketch" / "apple").rename(copy / "sketch" / "aardvark")  # the order stays, the labels that measure do not
    assert prints(copy)["source"] == first["source"]
    assert prints(copy)["target"] != first["target"]
    Image.new("RGB", (16, 16), (7, 8, 9)).save(copy / "photo" / "cat" / "0.png")
    assert prints(copy)["source"] != first["source"]


def test_what_is_no_finished_run_is_refused(tmp_path: Path, said: Any) -> None:
    run = made(tmp_path / "a", HIGHER)
    assert "two or more finished runs" in said("compare", run)
    assert "two or more finished runs" in said("compare")
    assert "is named twice" in said("compare", run, tmp_path / "b" / ".." / "a")
    assert "is no finished run (no metrics.json)" in said("compare", run, tmp_path / "b")
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "metrics.json").write_text('{"task": "unida", "seeds": [0, 1, 2], "sweep": []}')
    assert "holds a grid of runs; name one of the folders in it" in said("compare", run, tmp_path / "grid")
    assert "holds a run already" in said("compare", run, made(tmp_path / "b", HIGHER), "--out", run)
    assert "unknown flag '--ot'" in said("compare", run, run, "--ot", "x")


def test_the_default_folder_is_called_after_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "a", HIGHER)
    made(tmp_path / "b", LOWER)
    assert command("compare", "a", "b") == 0
    assert (tmp_path / "runs" / "compare-a-b" / "comparison.json").is_file()
