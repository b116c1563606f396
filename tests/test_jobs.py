"""Rows of a study that were committed are taken up by the next start, and no others."""

import json
from pathlib import Path

import pytest

from benchmarks import jobs

RECIPE = {"data": {"size": 32}, "steps": 5}


def committed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "RESULTS", folder)
    rows = [{"arm": "plain", "seed": seed, "accuracy": 0.5 + seed} for seed in (0, 1)]
    (folder / "study.json").write_text(json.dumps({"recipe": RECIPE, "runs": rows}))


def test_the_row_of_the_same_recipe_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(tmp_path, monkeypatch)
    assert jobs.published_row("study", RECIPE, {"arm": "plain", "seed": 1}) == {
        "arm": "plain",
        "seed": 1,
        "accuracy": 1.5,
    }
    assert jobs.published_row("study", RECIPE, {"arm": "plain", "seed": 2}) is None
    assert jobs.published_row("another", RECIPE, {"arm": "plain", "seed": 1}) is None


@pytest.mark.parametrize(
    ("recipe", "taken"),
    [
        ({"data": {"size": 32, "tiles": None}, "steps": 5, "compile": False}, True),  # options that were not there then
        ({"data": {"size": 64}, "steps": 5}, False),
        ({"data": {"size": 32}}, False),
        ({"data": 32, "steps": 5}, False),
    ],
)
def test_a_row_of_another_recipe_is_not(
    recipe: dict[str, object], taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed(tmp_path, monkeypatch)
    found = jobs.published_row("study", recipe, {"arm": "plain", "seed": 0})
    assert (found is not None) == taken


def test_a_kept_row_comes_first_and_a_new_one_is_kept(tmp_path: Path) -> None:
    def refuse() -> jobs.Row:
        raise AssertionError("it ran again")

    path = tmp_path / "runs" / "row.json"
    assert jobs.kept(path, None, lambda: {"accuracy": 0.25}) == {"accuracy": 0.25}
    assert jobs.kept(path, {"accuracy": 0.75}, refuse) == {"accuracy": 0.25}
    assert jobs.kept(tmp_path / "other.json", {"accuracy": 0.75}, refuse) == {"accuracy": 0.75}


def test_what_a_study_was_not_asked_for_stays_in_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(tmp_path, monkeypatch)
    ours = [{"arm": "plain", "seed": 1, "accuracy": 0.0}, {"arm": "other", "seed": 0, "accuracy": 1.0}]
    known = jobs.with_published(ours, "study", RECIPE, ("arm", "seed"))
    assert known == [*ours, {"arm": "plain", "seed": 0, "accuracy": 0.5}]
    assert jobs.with_published(ours, "study", {"steps": 5}, ("arm", "seed")) == ours
    assert jobs.with_published(ours, "another", RECIPE, ("arm", "seed")) == ours


def test_a_process_that_starts_late_finds_every_committed_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(tmp_path, monkeypatch)
    first = jobs.with_published([{"arm": "new", "seed": 0}], "study", RECIPE, ("arm", "seed"))
    (tmp_path / "study.json").write_text(json.dumps({"recipe": RECIPE, "runs": first}))
    jobs._content.cache_clear()  # as in a process of its own
    assert jobs.published_row("study", RECIPE, {"arm": "plain", "seed": 1}) is not None
