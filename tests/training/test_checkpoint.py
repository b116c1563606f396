import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim import SGD

from tests.conftest import SmallDisk
from uda.errors import UserError
from uda.training import checkpoint
from uda.training.checkpoint import Identity, load_checkpoint, load_tensors, read_state, save_checkpoint, saved_steps

IDENTITY = Identity("recipe hash", "data fingerprint", 3)


class Model(nn.Module):
    def __init__(self, width: int = 2):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(float(width)))
        self.register_buffer("memory", torch.zeros(5, dtype=torch.int64))


def optimizer_of(model: nn.Module) -> SGD:
    return SGD(model.parameters(), lr=0.1, momentum=0.9)


def save(folder: Path, step: int, model: nn.Module | None = None) -> Path:
    model = model or Model()
    optimizer = optimizer_of(model)
    model.get_parameter("weight").grad = torch.full_like(model.get_parameter("weight"), float(step))
    optimizer.step()
    return save_checkpoint(folder, step, model, {"all": optimizer}, IDENTITY)


def load(folder: Path, identity: Identity | None = IDENTITY) -> tuple[int | None, Model, SGD]:
    model = Model()
    optimizer = optimizer_of(model)
    return load_checkpoint(folder, model, {"all": optimizer}, identity), model, optimizer


def refused(folder: Path, identity: Identity = IDENTITY) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, identity)
    return str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    model = Model()
    model.get_buffer("memory").add_(7)
    path = save(tmp_path, 10, model)
    assert sorted(file.name for file in path.iterdir()) == [
        "optimizer-all.safetensors",
        "state.json",
        "task.safetensors",
    ]
    step, other, optimizer = load(tmp_path)
    assert step == 10
    assert torch.equal(other.weight, model.weight)
    assert other.get_buffer("memory").tolist() == [7] * 5
    assert optimizer.state[other.weight]["momentum_buffer"].tolist() == [10, 10]  # the one gradient there was


def test_the_state_says_what_it_belongs_to_and_nothing_else(tmp_path: Path) -> None:
    state = json.loads((save(tmp_path, 4) / "state.json").read_text())
    files = state.pop("files")
    assert state == {"format": 1, "step": 4, "recipe": "recipe hash", "data": "data fingerprint", "seed": 3}
    assert sorted(files) == ["optimizer-all.safetensors", "task.safetensors"]
    assert all(len(digest) == 64 for digest in files.values())


def test_nothing_to_load(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere")[0] is None
    assert saved_steps(tmp_path / "nowhere") == []


def test_the_newest_two_stay(tmp_path: Path) -> None:
    for step in (5, 100, 20, 110):  # as numbers, not as words: 5 < 20 < 100
        save(tmp_path, step)
    assert saved_steps(tmp_path) == [100, 110]
    assert load(tmp_path)[0] == 110


def test_a_process_killed_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 5)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt  # nothing after it runs, as in a process that is gone

    monkeypatch.setattr(checkpoint, "_flush", killed)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 10)
    monkeypatch.undo()
    left = [entry.name for entry in tmp_path.iterdir() if entry.name != "step-5"]
    assert left == [f".writing-10-{os.getpid()}"]  # all its files are there, but it was not published
    assert load(tmp_path)[0] == 5
    save(tmp_path, 15)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["step-15", "step-5"]  # what was left is cleared


def test_leftovers_of_another_process_are_no_checkpoint(tmp_path: Path) -> None:
    left = tmp_path / ".writing-20-999999"
    shutil.copytree(save(tmp_path / "elsewhere", 20), left)
    assert load(tmp_path)[0] is None
    save(tmp_path, 5)
    assert not left.exists()


@pytest.mark.parametrize("name", ["task.safetensors", "optimizer-all.safetensors"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    file = save(tmp_path, 5) / name
    file.write_bytes(file.read_bytes()[:-3])
    message = refused(tmp_path)
    assert f"step-5' is damaged: {name} is truncated or changed" in message
    assert "resume from the one before, or start anew" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (save(tmp_path, 5) / "optimizer-all.safetensors").unlink()
    assert "optimizer-all.safetensors is truncated or changed" in refused(tmp_path)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"step": 5}'])
def test_a_broken_state_file_is_refused(tmp_path: Path, content: str | None) -> None:
    state = save(tmp_path, 5) / "state.json"
    state.unlink() if content is None else state.write_text(content)
    assert "step-5' is no whole checkpoint (state.json" in refused(tmp_path)


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (Identity("other", "data fingerprint", 3), "comes from another recipe"),
        (Identity("recipe hash", "other", 3), "comes from other data"),
        (Identity("recipe hash", "data fingerprint", 4), "comes from another seed"),
    ],
)
def test_what_belongs_to_something_else_is_refused(tmp_path: Path, identity: Identity, words: str) -> None:
    save(tmp_path, 5)
    message = refused(tmp_path, identity)
    assert words in message
    assert "another --out" in message
    assert load(tmp_path, None)[0] == 5  # whoever only reads weights asks for no identity


class Attack:
    """Unpickling this makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, writer: str) -> None:
    trap = tmp_path / "sprung"
    folder = save(tmp_path / "run", 5)
    file = folder / "task.safetensors"
    if writer == "pickle":
        file.write_bytes(pickle.dumps(Attack(trap)))
    else:
        torch.save({"weight": Attack(trap)}, file)
    assert "task.safetensors is truncated or changed" in refused(tmp_path / "run")
    # A stranger can write fitting digests too.
    state = json.loads((folder / "state.json").read_text())
    state["files"]["task.safetensors"] = checkpoint._sha256(file)
    (folder / "state.json").write_text(json.dumps(state))
    message = refused(tmp_path / "run")
    assert "task.safetensors' is truncated or no safetensors file" in message
    assert "nothing else is ever loaded" in message
    assert not trap.exists()
    pickle.loads(pickle.dumps(Attack(trap)))
    assert trap.exists()  # the trap does work


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 5, Model(width=3))
    assert "does not fit the model of its recipe (size mismatch for weight" in refused(tmp_path)


def test_load_tensors_reads_safetensors_only(tmp_path: Path) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    assert load_tensors(tmp_path / "x.safetensors")["x"].tolist() == [1, 1]
    with pytest.raises(UserError, match=r"missing\.safetensors' is truncated or no safetensors file"):
        load_tensors(tmp_path / "missing.safetensors")


def test_a_full_disk_keeps_the_checkpoint_before(small_disk: SmallDisk) -> None:
    save(small_disk.folder, 5)
    big = nn.Module()
    big.weight = nn.Parameter(torch.zeros(150_000))  # 600 kB of weights onto a disk of 400 KiB
    with pytest.raises(UserError) as caught:
        save_checkpoint(small_disk.folder, 10, big, {}, IDENTITY)
    message = str(caught.value)
    assert f"the disk of '{small_disk.folder}' is full" in message
    assert "the checkpoint of step 10 was not written and the last whole one stays" in message
    assert "--resume" in message
    assert [entry.name for entry in small_disk.folder.iterdir()] == ["step-5"]
    assert load(small_disk.folder)[0] == 5
    assert read_state(small_disk.folder / "step-5")["step"] == 5
