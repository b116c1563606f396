"""The one training loop: draws batches, moves players, writes history, evaluates, saves, resumes."""

import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Stream
from uda.errors import UserError
from uda.random import derived_seed
from uda.tasks.task import Task
from uda.training.allocation import freed_memory_kept
from uda.training.checkpoint import Identity, load_checkpoint, save_checkpoint, saved_steps
from uda.training.device import create_accelerator, device_errors_named, images_drawn, place
from uda.training.history import History
from uda.training.optimizers import create_optimizer, set_lr
from uda.training.prefetch import Prefetch
from uda.training.schedules import SCHEDULES
from uda.training.selected import Selected

_PATIENCE, _STEPS = 0.1, 20
"""After how many seconds (on a CPU) or steps (on a GPU) losses are read back, checked and written."""


@dataclass(frozen=True)
class LoopOptions:
    """How to train; `uda.recipe.TrainingRecipe` documents each value. every-values of 0 mean: only at the end."""

    steps: int
    seed: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    warmup_steps: int
    evaluate_every: int
    checkpoint_every: int
    precision: str
    channels_last: bool
    progress: bool
    clip_norm: float = 0.0
    batch_setting: str = "--batch-size"
    nesterov: bool = True
    compile: bool = False
    select: str = ""  # the column of the history whose best evaluation is kept (`uda.training.selected`); "": none


class Interrupted(Exception):  # noqa: N818  (Ctrl-C is no error)
    """The user pressed Ctrl-C; a checkpoint of the last finished step has been saved."""


def train(
    task: Task, options: LoopOptions, out: Path, identity: Identity, device: torch.device, resume: bool = False
) -> dict[str, float | None]:
    """Train `task` to the last step, writing history and checkpoints below `out`; return the last step's metrics.

    With `resume` it goes on from the newest checkpoint and ends with the numbers of the run that was never stopped.
    Raises UserError for a loss that is not finite, a full disk or GPU and a backbone that cannot be compiled, and
    Interrupted after Ctrl-C.
    """
    out.mkdir(parents=True, exist_ok=True)
    accelerator = create_accelerator(options.precision, device)
    streams = task.streams()
    with freed_memory_kept(device), device_errors_named(streams, options.batch_setting):
        return _train(task, streams, options, out, identity, device, resume, accelerator)


def _train(
    task: Task,
    streams: Mapping[str, Stream],
    options: LoopOptions,
    out: Path,
    identity: Identity,
    device: torch.device,
    resume: bool,
    accelerator: Accelerator,
) -> dict[str, float | None]:
    place(task, device, options.channels_last, options.compile)
    optimizers = create_optimizers(task, options)
    checkpoints = out / "checkpoint"
    history = History(out / "history.csv", task.metric_names)
    done = (load_checkpoint(checkpoints, task, optimizers, identity) if resume else None) or 0
    metrics: dict[str, float | None] | None = None
    if done == 0:
        task.start()
    history.cut(done)
    selected = Selected(out, options.select, history, identity) if options.select else None
    if selected is not None:
        selected.cut(done)
    seen = sum(images_drawn(stream) for stream in streams.values())
    available = sum(len(stream.images) for stream in streams.values())
    pending: list[tuple[dict[str, Any], dict[str, Tensor]]] = []

    with _stop_politely() as stopped, Prefetch(streams, device) as prefetch:
        bar = tqdm(total=options.steps, initial=done, desc="training", unit="step", disable=not options.progress)
        started, first = time.perf_counter(), done
        written = started
        task.train()
        for step in range(done, options.steps):
            clock = Clock(step, options.steps, options.seed, seen, available)
            lr = options.lr * learning_rate_factor(options, task.scheduled(clock))
            restarted = task.prepare(clock)
            if restarted is not None:
                prefetch.forget()
                _restart(optimizers, restarted)
            _seed(derived_seed(options.seed, step, "step"), device)
            batches = prefetch.fetch(step, last=step == options.steps - 1)
            try:
                losses = move(task, optimizers, batches, clock, lr, accelerator, options.clip_norm)
            except (RuntimeError, ValueError):
                # What broke this step may be a loss of the one before.
                history.append(_finite_rows(pending, history, options.lr, checkpoints))
                raise
            row = {"step": step + 1, "epoch": round((step + 1) * seen / available, 4), "lr": lr}
            pending.append((row, losses))
            finished = step + 1 == options.steps
            evaluating = finished or _due(step + 1, options.evaluate_every)
            stopping = bool(stopped)  # asked once, for a Ctrl-C from here on belongs to the next step
            saving = finished or _due(step + 1, options.checkpoint_every) or stopping
            # To read a value back makes a GPU wait for its step; to write one takes longer than a small step on a CPU.
            enough = time.perf_counter() - written >= _PATIENCE if device.type == "cpu" else len(pending) >= _STEPS
            if enough or evaluating or saving:
                rows = _finite_rows(pending, history, options.lr, checkpoints)
                pending.clear()
                if evaluating or saving:
                    _check_weights(task, step + 1, options.lr, checkpoints)
                try:
                    if evaluating:
                        metrics = _evaluated(task, step + 1, options.lr, checkpoints)
                        rows[-1] |= metrics
                        task.train()
                finally:
                    history.append(rows)
                written = time.perf_counter()
                if evaluating and selected is not None:
                    selected.keep(step + 1, task)
                bar.set_postfix_str(_postfix(rows[-1], seen * (step + 1 - first) / (time.perf_counter() - started)))
            bar.update()
            if saving:
                save_checkpoint(checkpoints, step + 1, task, optimizers, identity)
            if stopping or (finished and stopped):
                bar.close()
                raise Interrupted(f"stopped at step {step + 1} of {options.steps}; go on with --resume")
        bar.close()
    if metrics is None:  # nothing was left to train: no steps asked for, or killed between last checkpoint and report
        metrics = _evaluated(task, done, options.lr, checkpoints)
        if not saved_steps(checkpoints):
            save_checkpoint(checkpoints, 0, task, optimizers, identity)
            if selected is not None:
                selected.keep(0, task)
    return metrics


def learning_rate_factor(options: LoopOptions, clock: Clock) -> float:
    """Return the schedule's factor of this step, with a linear warm-up over the first steps if asked for."""
    warmup = min(1.0, (clock.step + 1) / options.warmup_steps) if options.warmup_steps else 1.0
    return warmup * SCHEDULES[options.schedule](clock)


def create_optimizers(task: Task, options: LoopOptions) -> dict[str, Optimizer]:
    """Return an optimizer for each of the task's players."""
    return {
        name: create_optimizer(
            options.optimizer, groups, options.lr, options.momentum, options.weight_decay, options.nesterov
        )
        for name, groups in task.players().items()
    }


def move(
    task: Task,
    optimizers: Mapping[str, Optimizer],
    batches: Mapping[str, Batch],
    clock: Clock,
    lr: float,
    accelerator: Accelerator,
    clip_norm: float,
) -> dict[str, Tensor]:
    """Let every player take its turn; return all loss terms, detached and still on the device."""
    terms: dict[str, Tensor] = {}
    for turn in task.turns:
        set_lr(optimizers[turn], lr)
        with accelerator.autocast():
            losses = task(batches, turn, clock)
        optimizers[turn].zero_grad(set_to_none=True)
        accelerator.backward(torch.stack([loss.float() for loss in losses.values()]).sum())
        if clip_norm:
            moved = [p for group in optimizers[turn].param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(moved, clip_norm)
        optimizers[turn].step()
        terms |= {name: loss.detach() for name, loss in losses.items()}
    task.after_step()
    return terms


def _seed(seed: int, device: torch.device) -> None:
    """Seed torch; `torch.manual_seed` would note a stack trace for a GPU that is not there, at each step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _restart(optimizers: Mapping[str, Optimizer], parameters: Sequence[torch.nn.Parameter]) -> None:
    """Let the optimizers forget what they hold of some parameters, whose meaning has changed."""
    for optimizer in optimizers.values():
        for parameter in parameters:
            optimizer.state.pop(parameter, None)


def _finite_rows(
    pending: list[tuple[dict[str, Any], dict[str, Tensor]]], history: History, lr: float, checkpoints: Path
) -> list[dict[str, Any]]:
    """Read the pending losses back; UserError naming the first that is not finite, once those before are written."""
    rows: list[dict[str, Any]] = []
    for row, losses in pending:
        values = {name: float(value) for name, value in losses.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                history.append(rows)
                raise _diverged(f"the loss term '{name}' became {value}", row["step"], lr, checkpoints)
        rows.append(row | values)
    return rows


def _check_weights(task: Task, step: int, lr: float, checkpoints: Path) -> None:
    """Refuse to measure or save parameters that are not finite: the last step's losses could not show it yet."""
    for name, parameter in task.named_parameters():
        if not torch.isfinite(parameter).all():
            raise _diverged(f"after finite losses the parameter '{name}' is not finite", step, lr, checkpoints)


def _evaluated(task: Task, step: int, lr: float, checkpoints: Path) -> dict[str, float | None]:
    try:
        return task.evaluate()
    except FloatingPointError as error:
        raise _diverged(str(error), step, lr, checkpoints) from error


def _diverged(what: str, step: int, lr: float, checkpoints: Path) -> UserError:
    saved = saved_steps(checkpoints)
    last = f"the last good checkpoint is '{checkpoints / f'step-{saved[-1]}'}'" if saved else "no checkpoint was saved"
    return UserError(
        f"{what} at step {step}; {last}: start anew with a learning rate below {lr:.3g} (--set training.lr=…) or "
        "without mixed precision (--set training.precision=no), and another --out"
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _postfix(row: dict[str, Any], rate: float) -> str:
    terms = [
        f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float) and name not in ("epoch", "lr")
    ]
    return f"{rate:.0f} images/s, " + ", ".join(terms[:4])


@contextmanager
def _stop_politely() -> Iterator[list[int]]:
    """Turn the first Ctrl-C into a note in the returned list; a second one interrupts at once."""
    stopped: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        stopped.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        previous = signal.signal(signal.SIGINT, note)
    except ValueError:  # not the main thread: Ctrl-C does not come here
        yield stopped
        return
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, previous)
