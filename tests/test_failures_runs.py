"""What the user sees when something is wrong, by exit status and by words: output folders, training, resuming."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import SmallDisk
from tests.tiny import SMALL, assert_same_run, command, newest, tiny_domains, tiny_recipe
from uda.experiments.unida.assemble import prepare_inputs
from uda.training.checkpoint import saved_steps

CHECKOUT = Path(__file__).parents[1]


# the output folder


def test_an_out_folder_that_holds_a_run(said: Any, ends: Any, finished: Path) -> None:
    message = said(*ends, *SMALL, "--out", finished)
    assert f"'{finished}' holds a run already; go on with it by --resume, or give another --out" in message


def test_nothing_to_resume(said: Any, ends: Any, tmp_path: Path) -> None:
    assert f"nothing to resume in '{tmp_path}'" in said(*ends, *SMALL, "--resume", "--out", tmp_path)
    assert "--resume wants --out" in said(*ends, *SMALL, "--resume")


def test_an_out_folder_that_is_a_file(said: Any, ends: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is a file; give another --out" in said(*ends, *SMALL, "--out", tmp_path / "file" / "run")


def test_several_processes_of_a_launcher(said: Any, ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    text = said(*ends, "--out", tmp_path / "run")
    assert "a launcher has started 4; start it with `python run.py" in text
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert command(*ends, "--out", tmp_path / "run", "--steps", 1, *SMALL) == 0


def test_predict_says_what_it_wants(said: Any, finished: Path, tmp_path: Path) -> None:
    assert "--source RUN" in said("--task", "predict", "--target", tmp_path)
    assert "no finished run" in said("--task", "predict", "--source", tmp_path, "--target", tmp_path)
    message = said("--task", "predict", "--source", finished, "--target", tmp_path / "none")
    assert f"there is no folder or file {tmp_path / 'none'}" in message


def test_predict_refuses_what_it_would_ignore(said: Any, finished: Path, domains: Path) -> None:
    message = said("--task", "predict", "--source", finished, "--target", domains / "sketch", "--seeds", 7)
    assert "no --seeds" in message
    assert "--source RUN/seed-N" in message


# training


def test_a_loss_that_is_not_finite(said: Any, ends: Any, tmp_path: Path) -> None:
    changes = ("training.lr=1e30", "training.backbone_lr_scale=1", "training.checkpoint_every=1")
    message = said(*ends, *SMALL, *changes, "--steps", 9, "--out", tmp_path / "out")
    assert "the loss term 'classification' became nan at step 2" in message
    assert f"the last good checkpoint is '{tmp_path / 'out' / 'checkpoint' / 'step-1'}'" in message
    assert "training.lr" in message


def test_a_full_gpu(said: Any, ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from uda.tasks.unida import UniDA

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(UniDA, "forward", full)
    message = said(*ends, *SMALL, "--out", tmp_path / "out")
    assert "does not hold a step of 6 images" in message
    assert "`--batch-size 3`" in message


def test_a_defect_is_no_fault_of_the_user(
    ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from uda.tasks.unida import UniDA

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(UniDA, "start", broken)
    assert command(*ends, *SMALL, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: a defect" in said
    assert "this is a defect of uda" in said


# stopping and going on

STOPPED = """
import os, signal, sys
from uda.cli import main
from uda.training import checkpoint, loop
from uda.training.history import History

loop._PATIENCE = 0  # as where steps are slow: each is written at once
how, arguments = sys.argv[1], sys.argv[2:]
flush, append = checkpoint._flush, History.append

def killed_while_it_writes_step_8(path):
    if "writing-8" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    flush(path)

def ctrl_c_in_step_6(history, rows):
    append(history, rows)
    if rows[-1]["step"] == 6:
        os.kill(os.getpid(), signal.SIGINT)

if how == "kill":
    checkpoint._flush = killed_while_it_writes_step_8
else:
    History.append = ctrl_c_in_step_6
sys.exit(main(arguments))
"""


@pytest.mark.parametrize(
    ("how", "status", "saved", "rows"), [("kill", -signal.SIGKILL, [4], 8), ("ctrl-c", 130, [4, 7], 7)]
)
def test_a_stopped_run_resumes_to_the_same_numbers(
    domains: Path, finished: Path, tmp_path: Path, how: str, status: int, saved: list[int], rows: int
) -> None:
    out = tmp_path / "run"
    ends = ("--source", domains / "photo", "--target", domains / "sketch", "--steps", 12, "--out", out)
    arguments = [str(part) for part in (*ends, *SMALL, "training.checkpoint_every=4")]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, how, *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert saved_steps(out / "checkpoint") == saved
    assert len((out / "history.csv").read_text().splitlines()) == 1 + rows
    assert not (out / "metrics.json").exists()
    if how == "ctrl-c":
        # It came while the row of step 6 was written, and was noticed after the next step.
        assert "stopped at step 7 of 12; go on with --resume" in done.stderr
    assert command("--resume", "--out", out) == 0
    assert_same_run(finished, out)
    assert (out / "report.html").exists()
    assert [entry.name for entry in (out / "checkpoint").iterdir() if not entry.name.startswith("step-")] == []


@pytest.fixture
def halfway(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run that has no results yet, its checkpoint at step 8."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    shutil.rmtree(out / "checkpoint" / "step-12")
    (out / "metrics.json").unlink()
    return out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--steps", 20), "training.steps: 12 → 20"),
        (("--set", "training.lr=1"), "training.lr: 0.05 → 1.0"),
        (("--method", "source_only"), "method.name: dance → source_only"),
        (("--objective", "rotation"), "objectives.rotation.form: None → all"),
    ],
)
def test_resume_under_another_recipe(said: Any, halfway: Path, changes: tuple[object, ...], words: str) -> None:
    message = said("--resume", "--out", halfway, *changes)
    assert f"'{halfway}' was begun with another recipe ({words}" in message
    assert "another --out" in message


def test_resume_under_another_seed(said: Any, halfway: Path) -> None:
    message = said("--resume", "--out", halfway, "--seeds", 1)
    assert "was begun with another recipe (seeds: [0] → [1])" in message


def test_resume_on_other_data(said: Any, halfway: Path, domains: Path, tmp_path: Path) -> None:
    shutil.copytree(domains, tmp_path / "moved")
    moved = ("--source", tmp_path / "moved" / "photo", "--target", tmp_path / "moved" / "sketch")
    assert "data.source:" in said("--resume", "--out", halfway, *moved)
    recipe = halfway / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(domains), str(tmp_path / "moved")))
    shutil.move(tmp_path / "moved" / "photo" / "apple" / "7.png", tmp_path / "moved" / "photo" / "bird" / "00.png")
    # The same pictures in the same order, but one has another label.
    assert "comes from another recipe" in said("--resume", "--out", halfway)


def test_the_data_of_a_run_are_its_pictures_their_order_and_their_labels() -> None:
    from dataclasses import replace

    domains = tiny_domains(tiny_recipe())
    table = domains.source.table
    relabelled = replace(domains.source, table=replace(table, labels=table.labels[::-1].copy()))
    assert replace(domains, source=relabelled).fingerprint != domains.fingerprint
    assert tiny_domains(tiny_recipe()).fingerprint == domains.fingerprint


def test_resume_from_a_truncated_checkpoint(said: Any, halfway: Path) -> None:
    file = halfway / "checkpoint" / "step-8" / "task.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    message = said("--resume", "--out", halfway)
    assert "step-8' is damaged: task.safetensors is truncated or changed" in message


def test_a_full_disk_and_more_space(said: Any, ends: Any, finished: Path, small_disk: SmallDisk) -> None:
    size = sum(file.stat().st_size for file in newest(finished).iterdir())
    out = small_disk.folder / "run"
    small_disk.resize(2 * size + size // 2)  # room for the checkpoint of step 4 and its successor, not for a third
    message = said(*ends, *SMALL, "training.checkpoint_every=4", "--steps", 12, "--out", out)
    assert "is full" in message
    assert "--resume" in message
    assert saved_steps(out / "checkpoint") == [4, 8]
    small_disk.fill()
    message = said("--resume", "--out", out)
    assert f"the disk of '{out}" in message or "the disk is full" in message
    assert saved_steps(out / "checkpoint") == [4, 8]
    small_disk.resize(20 * size)
    assert command("--resume", "--out", out) == 0
    assert_same_run(finished, out)


def test_random_frozen_features_are_the_same_when_a_run_resumes() -> None:
    recipe = tiny_recipe({"encoder": {"freeze": "true"}})
    domains = tiny_domains(recipe)
    passes = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # whatever has drawn before
        passes.append(prepare_inputs(recipe, domains, torch.device("cpu"), progress=False).target)
    rows = torch.arange(15).numpy()
    assert torch.equal(passes[0].batch(rows), passes[1].batch(rows))
    assert passes[0].batch(rows).shape[:2] == (15, 2)  # images, passes


def test_resume_keeps_the_seeds_of_several(said: Any, tmp_path: Path, ends: Any) -> None:
    out = tmp_path / "out"
    assert command(*ends, *SMALL, "--steps", 2, "--seeds", 0, 1, "--out", out) == 0
    assert "seeds: [0, 1] → [0]" in said("--resume", "--out", out, "--seeds", 0)
