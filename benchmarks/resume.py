"""Whether a run that is killed again and again ends with the numbers of one that was never stopped.

python -m benchmarks.resume --source DIR --target DIR    (writes results/resume.json)

A run of some minutes in which all weights move is made once without interruption. The same run is then killed with
SIGKILL at moments spread over its steps as `history.csv` shows them, some of them while a checkpoint is being written,
and resumed after each. Metrics, weights, optimizer state, history and predictions of both must be equal, bit for bit.
Exit status 0 where they are, 1 where anything differs or a kill did not hit training.
"""

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.common import data_folder, write_result
from uda.errors import UserError
from uda.training.checkpoint import saved_steps

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT_KILLS = 3  # at least so many kills must have left a half-written checkpoint
PATIENCE = 3600  # seconds that one process may take to reach its kill


class StudyFailed(Exception):  # noqa: N818  (a finding, not an error of this code)
    """The study found a difference, or did not hit what it meant to hit; the message says which."""


@dataclass(frozen=True)
class Run:
    """One run of the command: its output folder, its recipe's flags, its length and how often it saves."""

    out: Path
    flags: tuple[str, ...]
    steps: int
    every: int
    threads: int

    @property
    def history(self) -> Path:
        """The file that shows how far it is."""
        return self.out / "history.csv"

    def start(self, log: Path) -> "subprocess.Popen[bytes]":
        """Start it, or resume it where it has begun already; what it prints goes to `log`."""
        begun = (self.out / "recipe.yaml").exists()
        flags = ("--resume",) if begun else self.flags
        command = [sys.executable, "run.py", "--task", "unida", "--out", str(self.out), "--device", "cpu", *flags]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        with log.open("ab") as file:
            return subprocess.Popen(command, env=os.environ | limits, cwd=ROOT, stdout=file, stderr=file)

    def finish(self, log: Path) -> float:
        """Start or resume it, let it end by itself, and return the seconds it took."""
        started = time.perf_counter()
        if status := self.start(log).wait():
            raise StudyFailed(f"the run ended with exit status {status}:\n{tail(log)}")
        return round(time.perf_counter() - started, 1)

    def last_step(self) -> int:
        """Return the step of the last whole row of its history; 0 where there is none."""
        try:
            with self.history.open(newline="") as file:
                rows = list(csv.reader(file))
        except FileNotFoundError:
            return 0
        whole = [row for row in rows[1:] if len(row) == len(rows[0]) and row[0].isdigit()]
        return int(whole[-1][0]) if whole else 0

    def newest_checkpoint(self) -> int:
        """Return the step of the newest whole checkpoint; 0 where there is none."""
        return max(saved_steps(self.out / "checkpoint"), default=0)

    def half_written(self, process: int) -> int | None:
        """Return how many files the checkpoint holds that this process is writing; None where it is writing none."""
        for folder in (self.out / "checkpoint").glob(f".writing-*-{process}"):
            try:
                return len(list(folder.iterdir()))
            except FileNotFoundError:  # published meanwhile
                return None
        return None


@dataclass(frozen=True)
class Plan:
    """When a kill shall come: once history shows `step`, or with at_files at the next checkpoint with so many files."""

    step: int
    at_files: int | None = None


@dataclass(frozen=True)
class Kill:
    """What a kill hit.

    planned_step: when it was to come; history_step: what history.csv showed afterwards; resumed_from: the checkpoint
    that the killed process had started from (0: the beginning); writing: whether it left a half-written checkpoint, and
    files: how many files were in that; checkpoint: the newest whole one; seconds: from the process's start to its end.
    """

    planned_step: int
    history_step: int
    resumed_from: int
    writing: bool
    files: int | None
    checkpoint: int
    seconds: float


def plan_kills(kills: int, steps: int, every: int, at_checkpoints: int) -> list[Plan]:
    """Return kill k at step k·steps/(kills + 1), evenly spread ones of them at the checkpoint that follows it.

    The checkpoint of the last step is not chosen: training is over when it is written.
    """
    planned = [max(1, -(-k * steps // (kills + 1))) for k in range(1, kills + 1)]
    usable = [k for k, step in enumerate(planned) if -(-step // every) * every < steps]
    if len(usable) < at_checkpoints:
        raise UserError(f"{steps} steps with a checkpoint every {every} leave too few to hit; give more --steps")
    chosen = {usable[(2 * i + 1) * len(usable) // (2 * at_checkpoints)]: i % 3 for i in range(at_checkpoints)}
    return [Plan(step, chosen.get(k)) for k, step in enumerate(planned)]


def run_and_kill(run: Run, plan: Plan, log: Path) -> Kill:
    """Start or resume the run and kill it as planned; StudyFailed where the kill did not hit training."""
    resumed_from, before = run.newest_checkpoint(), modified(run.history)
    started = time.perf_counter()
    process = run.start(log)

    def trained() -> int:
        """Return the last step that this process, not one before it, has written into the history."""
        step = run.last_step() if modified(run.history) != before else 0
        return step if step > resumed_from else 0

    def writing() -> bool:
        files = run.half_written(process.pid)
        too_late = trained() > run.steps - run.every  # the next checkpoint is the last one
        return too_late or (files is not None and plan.at_files is not None and files >= plan.at_files)

    wait_for(lambda: trained() >= plan.step, process, log)
    if plan.at_files is not None:
        wait_for(writing, process, log)
    process.send_signal(signal.SIGKILL)
    status = process.wait()
    seconds = round(time.perf_counter() - started, 1)
    shown, files = run.last_step(), run.half_written(process.pid)
    if status != -signal.SIGKILL:
        raise StudyFailed(f"the process to be killed at step {plan.step} had ended with status {status}:\n{tail(log)}")
    if not resumed_from < shown < run.steps or (run.out / "metrics.json").exists():
        raise StudyFailed(f"the kill meant for step {plan.step} missed training: history showed step {shown}")
    return Kill(plan.step, shown, resumed_from, files is not None, files, run.newest_checkpoint(), seconds)


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Look every millisecond until the condition holds; StudyFailed where the process ends or an hour goes by first."""
    deadline = time.perf_counter() + PATIENCE
    while not condition():
        if process.poll() is not None:
            raise StudyFailed(f"the run ended by itself, with status {process.returncode}:\n{tail(log)}")
        if time.perf_counter() > deadline:
            process.kill()
            raise StudyFailed(f"the run did not get on within {PATIENCE} s:\n{tail(log)}")
        time.sleep(0.001)


def compare(a: Run, b: Run) -> dict[str, bool]:
    """Return, for everything that two runs leave behind, whether it is the same: files by byte, weights by bit."""
    last = Path("checkpoint") / f"step-{a.steps}"
    found = {
        name: same_bytes(a.out / name, b.out / name) for name in ("metrics.json", "predictions.csv", "history.csv")
    }
    for name in ("backbone.safetensors", last / "task.safetensors", last / "optimizer-all.safetensors"):
        found[Path(name).name] = same_tensors(a.out / name, b.out / name)
    return found


def same_bytes(a: Path, b: Path) -> bool:
    """Return whether two files hold the same bytes."""
    return a.read_bytes() == b.read_bytes()


def same_tensors(a: Path, b: Path) -> bool:
    """Return whether two safetensors files hold the same names, types, shapes and bits."""
    ours, theirs = load_file(a), load_file(b)
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype
        and ours[name].shape == theirs[name].shape
        and ours[name].numpy().tobytes() == theirs[name].numpy().tobytes()  # NaN equals NaN, 0 differs from −0
        for name in ours
    )


def modified(path: Path) -> int | None:
    """Return when a file was last written, in nanoseconds; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def study(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the reference, then the run that is killed; return what `results/resume.json` holds."""
    source, target = (
        str(Path(given).resolve()) if given and Path(given).exists() else given or str(data_folder(default))
        for given, default in ((options.source, "office_caltech10/dslr"), (options.target, "office_caltech10/webcam"))
    )
    recipe = [
        *("--method", options.method, "--split", options.split, "--backbone", options.backbone),
        *("--image-size", str(options.image_size), "--steps", str(options.steps)),
        *("--batch-size", str(options.batch_size), "--set", *options.set),
        *(f"training.checkpoint_every={options.checkpoint_every}", "training.evaluate_every=0"),
        *(("--weights", options.weights) if options.weights else ()),
    ]
    flags = ("--source", source, "--target", target, *recipe)
    shared = (flags, options.steps, options.checkpoint_every, options.threads)
    plans = plan_kills(options.kills, options.steps, options.checkpoint_every, options.at_checkpoints)
    reference, killed = Run(folder / "reference", *shared), Run(folder / "killed", *shared)
    log = folder / "log.txt"
    reference_seconds = reference.finish(log)
    print(f"reference: {options.steps} steps in {reference_seconds} s", flush=True)
    started, kills = time.perf_counter(), []
    for number, plan in enumerate(plans, 1):
        kills.append(run_and_kill(killed, plan, log))
        print(f"kill {number}: {kills[-1]}", flush=True)
    killed.finish(log)
    equal = compare(reference, killed)
    hits = sum(kill.writing for kill in kills)
    leftovers = len(list((killed.out / "checkpoint").glob(".writing-*")))
    return {
        "study": "resume after SIGKILL",
        "pair": [Path(source).name, Path(target).name],
        "recipe": recipe,
        "threads": options.threads,
        "reference_seconds": reference_seconds,
        "killed_seconds": round(time.perf_counter() - started, 1),
        "kills": [asdict(kill) for kill in kills],
        "kills_while_writing": hits,
        "half_written_folders_left": leftovers,
        "equal": equal,
        "passed": all(equal.values()) and hits >= min(CHECKPOINT_KILLS, options.at_checkpoints),
    }


def main() -> int:
    """Make the study; return 0 where everything was equal and enough kills hit a checkpoint being written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--source", help="labelled images, as for run.py (default: dslr of Office-Caltech10, see benchmarks/README.md)")
    add("--target", help="the images to adapt to (default: webcam of Office-Caltech10)")
    add("--method", default="dance")
    add("--split", default="4/3/3")
    add("--backbone", default="tf_efficientnet_lite0")
    add("--weights", help="a file or none (default: as run.py finds them; the offline extra carries the default's)")
    add("--image-size", type=int, default=96)
    add("--batch-size", type=int, default=12)
    add("--steps", type=int, default=240)
    add("--checkpoint-every", type=int, default=5)
    add("--set", nargs="+", default=[], metavar="KEY=VALUE", help="further recipe values")
    add("--kills", type=int, default=20)
    add("--at-checkpoints", type=int, default=5, help="how many of the kills wait for a checkpoint to be written")
    add("--threads", type=int, default=os.cpu_count() or 1, help="the same for every process (default: all cores)")
    add("--result", default="resume", help="name of the file in benchmarks/results")
    add("--keep", action="store_true", help="keep the output folders of both runs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="uda-resume-"))
    try:
        content = study(options, folder)
    except (StudyFailed, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, StudyFailed) else 2
    finally:
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    path = write_result(options.result, content)
    print(f"equal: {content['equal']}\nkills while writing a checkpoint: {content['kills_while_writing']}\n{path}")
    return 0 if content["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
