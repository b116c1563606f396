"""What weights were learned from, where the run that left them says so."""

from pathlib import Path

import pytest

from uda.experiments.learned import learned_source, same_source, seen_before


def run_of(folder: Path, source: str | None, task: str = "pretrain") -> Path:
    folder.mkdir()
    (folder / "backbone.safetensors").write_bytes(b"")
    (folder / "recipe.yaml").write_text(f"task: {task}\ndata:\n  source: {source or 'null'}\n")
    return folder


def test_the_run_says_its_source(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", "photos")
    assert learned_source(str(folder)) == "photos"
    assert learned_source(str(folder / "backbone.safetensors")) == "photos"
    assert learned_source(str(run_of(tmp_path / "builtin", None))) is None


@pytest.mark.parametrize("weights", [None, "none", "no/such/file"])
def test_nothing_is_known_of_other_weights(weights: str | None) -> None:
    assert learned_source(weights) is None
    assert not same_source(weights, "photos")


def test_a_folder_is_the_same_in_any_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = run_of(tmp_path / "run", "photos")
    assert same_source(str(folder), str(tmp_path / "photos"))
    assert same_source(str(folder), "./photos/")
    assert not same_source(str(folder), str(tmp_path))


def test_weights_of_pre_training_have_seen_what_is_held_out_afterwards(tmp_path: Path) -> None:
    all_of_it = run_of(tmp_path / "pretrained", "photos")
    (warning,) = seen_before(str(all_of_it), "photos", " of its own")
    assert warning.startswith("the weights were learned from these very images, those that are tested on among them;")
    assert warning.endswith("give the data a test/ folder of its own")
    assert seen_before(str(all_of_it), "others") == ()
    assert seen_before(str(run_of(tmp_path / "trained", "photos", "robustness")), "photos") == ()
    assert seen_before(None, "photos") == ()
