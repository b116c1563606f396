"""What the user sees when something is wrong: every row of the table, by exit status and by words."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from tests.conftest import SmallDisk
from tests.tiny import SMALL, assert_same_run, command, draw_classes, newest, tiny_domains, tiny_recipe
from uda.experiments.unida.assemble import prepare_inputs
from uda.training.checkpoint import saved_steps

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command, expects status 2, and returns its one sentence."""

    def run(*arguments: object) -> str:
        assert command(*arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.fixture
def ends(domains: Path) -> tuple[object, ...]:
    return ("--source", domains / "photo", "--target", domains / "sketch")


def one_file_of(checkpoint: Path) -> Path:
    return checkpoint / "task.safetensors"


# names that do not exist


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "unid"), ["unknown task 'unid': did you mean unida", "--help"]),
        (("--method", "danse"), ["unknown method 'danse': did you mean dance", "known: dance, ", "--help"]),
        (("--objective", "rotatoin"), ["unknown objective 'rotatoin': did you mean rotation", "--help"]),
        (("--source", "offce", "--target", "dslr"), ["'offce'", "did you mean office"]),
        (("--source", "office/amazn", "--target", "dslr"), ["'amazn'", "did you mean amazon"]),
        (("--source", "office", "--target", "dlsr"), ["'dlsr'", "did you mean dslr"]),
        (("--source", "/no/such/folder", "--target", "/none"), ["/no/such/folder", "there is no such folder"]),
        (("--set", "training.lrr=1"), ["unknown recipe key 'training.lrr': did you mean training.lr"]),
        (("--set", "rejection=ots"), ["unknown rejection rule 'ots': did you mean otsu"]),
        (("--setting", "opn"), ["data.setting", "'opn'", "open-partial"]),
        (("--stesp", "5"), ["unknown flag '--stesp': did you mean --steps", "--help"]),
        (("--step=5",), ["unknown flag '--step': did you mean --steps"]),
        (("--device", "tpu"), ["--device", "invalid choice: 'tpu'", "--help"]),
        (("--steps", "many"), ["--steps", "invalid int value: 'many'"]),
        (("--seeds", "0", "0"), ["'seeds' cannot be [0, 0]: each seed once"]),
        (("--batch-size", "1"), ["'training.batch_size' cannot be 1"]),
        (("--config", "no.yaml"), ["recipe file 'no.yaml' does not exist"]),
        (("--set", "data=office"), ["recipe key 'data' is a section"]),
    ],
)
def test_a_name_that_does_not_exist(said: Any, tmp_path: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    message = said(*arguments, "--out", tmp_path / "out")
    for word in words:
        assert word in message
    assert not (tmp_path / "out").exists()


def test_an_unknown_backbone(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--backbone", "resnet5", "--out", tmp_path / "out")
    assert "unknown backbone 'resnet5': did you mean" in message
    assert "resnet50" in message
    assert "timm.list_models()" in message
    assert not (tmp_path / "out").exists()  # so that the corrected command may have this folder


# parts that do not fit


def test_an_objective_that_does_not_fit(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--freeze", "--objective", "rotation", "--out", tmp_path / "out")
    assert "objective 'rotation' needs pixels, which frozen mode (--freeze) does not give" in message
    assert "would do" in message


def test_an_adapter_without_frozen_features(said: Any, ends: Any) -> None:
    assert "encoder.adapter=true needs frozen features; add --freeze" in said(*ends, *SMALL, "encoder.adapter=true")


def test_a_view_larger_than_what_is_stored(said: Any, ends: Any) -> None:
    assert "data.stored_size=10 is below the image size 16; raise it" in said(*ends, *SMALL, "data.stored_size=10")


def test_an_image_size_that_the_backbone_cannot_take(said: Any, ends: Any, tmp_path: Path) -> None:
    arguments = (*ends, *SMALL, "data.stored_size=null", "--image-size", 30, "--backbone", "test_vit")
    message = said(*arguments, "--out", tmp_path / "out")
    assert "backbone 'test_vit' cannot take 30-pixel images" in message
    assert "--image-size" in message


# data


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("UDA_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def test_a_data_set_that_is_not_on_disk(said: Any, nowhere: Path) -> None:
    message = said("--source", "office", "--target", "dslr")
    assert str(nowhere) in message  # where it was looked for
    assert "amazon" in message  # the layout
    assert "http" in message  # where to get it
    assert "python run.py --task unida" in message  # what needs no data


def test_a_data_root_that_is_named_is_where_it_is_looked_for(said: Any, nowhere: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "mine") in said("--source", "office", "--target", "dslr", "--data-root", tmp_path / "mine")


def test_a_folder_with_one_class(said: Any, domains: Path, tmp_path: Path) -> None:
    draw_classes(tmp_path / "photo", {"apple": 2})
    message = said("--source", tmp_path / "photo", "--target", domains / "sketch", *SMALL)
    assert "has one class (apple): a classifier needs at least two" in message


def test_a_folder_without_images(said: Any, domains: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    message = said("--source", domains / "photo", "--target", tmp_path / "empty", *SMALL)
    assert f"folder {tmp_path / 'empty'} holds no images" in message
    assert "png" in message


def test_a_class_that_is_missing_on_one_side(said: Any, ends: Any, tmp_path: Path) -> None:
    # alphabetically apple, bird, cat, dog: of the three that are to be shared the target has no cat
    message = said(*ends, *SMALL, "--split", "3/0/1", "--out", tmp_path / "out")
    assert "class cat of the split has no image in sketch" in message
    message = said(*ends, *SMALL, "--setting", "closed", "--out", tmp_path / "out")
    assert "--setting closed does not fit the classes of source and target" in message


def test_domains_that_share_no_class(said: Any, domains: Path, tmp_path: Path) -> None:
    draw_classes(tmp_path / "other", {"eel": 2, "fox": 2})
    message = said("--source", domains / "photo", "--target", tmp_path / "other", *SMALL)
    assert "source and target share no class (source: apple, bird, cat; target: eel, fox)" in message


def test_strict_refuses_unreadable_files(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--strict", "--out", tmp_path / "out")
    assert "2 of the 20 images of 'sketch' cannot be read" in message
    assert "apple/broken.png" in message
    assert "leave out --strict" in message


def test_a_folder_without_one_readable_image(said: Any, domains: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    message = said("--source", domains / "photo", "--target", tmp_path, *SMALL)
    assert "none of the 2 images" in message


# weights


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("frozen", [(), ("--freeze",)])
def test_weights_that_cannot_be_had(said: Any, ends: Any, tmp_path: Path, frozen: tuple[str, ...]) -> None:
    arguments = ("--backbone", "resnet18", "--image-size", 32, "--set", "data.stored_size=32", *frozen)
    message = said(*ends, *arguments, "--out", tmp_path / "out")
    assert "no weights for backbone 'resnet18'" in message
    for way in ("--weights FILE", "--weights none", "uda-ssl[offline]"):
        assert way in message
    assert not (tmp_path / "out").exists()


def test_a_weights_file_that_is_not_there(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--weights", tmp_path / "w.safetensors", "--out", tmp_path / "out")
    assert f"weights file '{tmp_path / 'w.safetensors'}' does not exist" in message


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


def test_predict_says_what_it_wants(said: Any, finished: Path, tmp_path: Path) -> None:
    assert "--source RUN" in said("--task", "predict", "--target", tmp_path)
    assert "no finished run" in said("--task", "predict", "--source", tmp_path, "--target", tmp_path)
    message = said("--task", "predict", "--source", finished, "--target", tmp_path / "none")
    assert f"folder {tmp_path / 'none'} does not exist" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(said: Any, ends: Any) -> None:
    assert "--device cuda: PyTorch sees no GPU here" in said(*ends, *SMALL, "--device", "cuda")


# comparisons


def test_a_comparison_of_a_run_with_itself(said: Any, ends: Any, tmp_path: Path) -> None:
    message = said(*ends, *SMALL, "--method", "source_only", "--compare", "--out", tmp_path / "out")
    assert "--compare has nothing to compare" in message


def test_a_comparison_cannot_change_the_seeds(said: Any, ends: Any) -> None:
    assert "both arms share them; give them by --seeds" in said(*ends, *SMALL, "--compare", "seeds=[4]")


def test_a_comparison_with_an_unknown_key(said: Any, ends: Any) -> None:
    assert "unknown recipe key 'method.etta'" in said(*ends, *SMALL, "--compare", "method.etta=1")


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
from uda.training import checkpoint
from uda.training.history import History

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
        (("--objective", "rotation"), "objectives.rotation.weight: None → 1.0"),
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
    file = one_file_of(halfway / "checkpoint" / "step-8")
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


# what a first user ran into


def test_a_class_that_is_called_unknown(said: Any, tmp_path: Path) -> None:
    source = draw_classes(tmp_path / "source", {"cat": 4, "unknown": 4})
    target = draw_classes(tmp_path / "target", {"cat": 4, "dog": 4})
    message = said("--source", source, "--target", target, *SMALL, "--out", tmp_path / "out")
    assert "a class named 'unknown'" in message
    assert "rename that class" in message


@pytest.mark.skipif(sys.platform != "linux", reason="this system's file names are always Unicode")
def test_a_file_name_that_is_not_unicode(domains: Path, tmp_path: Path) -> None:
    target = tmp_path / "flat"
    target.mkdir()
    for picture in (domains / "sketch").rglob("*.png"):
        shutil.copy(picture, target / f"{picture.parent.name}-{picture.name}")
    first = min(target.iterdir())
    os.rename(first, os.fsencode(target) + b"/bad\xff.png")  # noqa: PTH104  (a Path cannot be given as bytes)
    out = tmp_path / "out"
    assert command("--source", domains / "photo", "--target", target, *SMALL, "--steps", 2, "--out", out) == 0
    assert b"bad\xff.png" in (out / "predictions.csv").read_bytes()
    assert (out / "report.html").stat().st_size > 0


def test_a_comparison_on_data_that_is_not_there_is_refused_at_once(said: Any, ends: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said(*ends, *SMALL, "--steps", 2, "--out", out, "--compare", "data.split=50/1/1")
    assert not out.exists()


@pytest.mark.parametrize(
    "value",
    ["method.temperature=-1", "method.temperature=0", "method.eta=nan", "method.start=7", "training.lr=inf"],
)
def test_values_of_no_sense(said: Any, value: str) -> None:
    assert f"recipe key '{value.partition('=')[0]}' cannot be" in said("--set", value)


def test_predict_refuses_what_it_would_ignore(said: Any, finished: Path, domains: Path) -> None:
    message = said("--task", "predict", "--source", finished, "--target", domains / "sketch", "--seeds", 7)
    assert "no --seeds" in message
    assert "--source RUN/seed-N" in message


def test_resume_keeps_the_seeds_of_several(said: Any, tmp_path: Path, ends: Any) -> None:
    out = tmp_path / "out"
    assert command(*ends, *SMALL, "--steps", 2, "--seeds", 0, 1, "--out", out) == 0
    assert "seeds: [0, 1] → [0]" in said("--resume", "--out", out, "--seeds", 0)
