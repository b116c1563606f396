import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import assert_same_run, newest, tiny_recipe, tiny_task
from uda.errors import UserError
from uda.experiments.experiment import Settings, loop_options
from uda.recipe import Recipe
from uda.tasks.unida import UniDA
from uda.training import loop
from uda.training.checkpoint import Identity, saved_steps
from uda.training.loop import Interrupted, LoopOptions, train

CPU = torch.device("cpu")
IDENTITY = Identity("recipe", "data")


def options(recipe: Recipe, seed: int = 0, **changes: Any) -> LoopOptions:
    return replace(loop_options(recipe, seed, Settings(CPU, progress=False)), **changes)


def run(recipe: Recipe, out: Path, task: UniDA | None = None, resume: bool = False, **changes: Any) -> dict[str, Any]:
    task = task or tiny_task(recipe)
    return train(task, options(recipe, **changes), out, IDENTITY, CPU, resume)


def history(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "history.csv")


def at_step(task: UniDA, step: int, event: Any) -> UniDA:
    """Let something happen in the forward pass of a step (0-based)."""
    forward = task.forward

    def watched(batches: Any, turn: str, clock: Any) -> dict[str, Tensor]:
        losses = forward(batches, turn, clock)
        return event(losses) if clock.step == step else losses

    task.forward = watched  # type: ignore[method-assign]
    return task


def power_cut(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    raise ConnectionAbortedError("the process is gone")


def test_history_holds_every_step_and_every_term(tmp_path: Path) -> None:
    recipe = tiny_recipe({"objectives": ["rotation"], "training": {"evaluate_every": 5}})
    metrics = run(recipe, tmp_path)
    table = history(tmp_path)
    terms = ["classification", "neighborhood_clustering", "entropy_separation", "rotation"]
    assert list(table.columns) == ["step", "epoch", "lr", *terms, *UniDA.metric_names]
    assert table["step"].tolist() == list(range(1, 13))
    assert table[terms].notna().all().all()
    # 6 images of each domain a step, 15 + 15 there are: step 12 has seen 144 of 30
    assert table["epoch"].iloc[[0, 11]].tolist() == [0.4, 4.8]
    # evaluated at 5, at 10, and at the end
    assert table.loc[table["h_score"].notna(), "step"].tolist() == [5, 10, 12]
    last = table.iloc[-1]
    assert {name: value for name, value in metrics.items() if value is not None} == {
        name: last[name] for name in UniDA.metric_names if not pd.isna(last[name])
    }


def test_the_rate_follows_the_schedule(tmp_path: Path) -> None:
    # 0.05·(1 + 10·t/4)^(−0.75), t = 0 … 3: 1, 3.5^(−0.75) = 0.390795, 6^(−0.75) = 0.260847, 8.5^(−0.75) = 0.200880
    recipe = tiny_recipe({"training": {"steps": 4, "lr": 0.05}, "method": "source_only"})
    run(recipe, tmp_path)
    expected = [0.05, 0.05 * 0.390795, 0.05 * 0.260847, 0.05 * 0.200880]
    assert history(tmp_path)["lr"].tolist() == pytest.approx(expected, abs=1e-7)


def test_warm_up_is_linear(tmp_path: Path) -> None:
    training = {"steps": 4, "lr": 1.0, "schedule": "constant", "warmup_steps": 3}
    run(tiny_recipe({"training": training, "method": "source_only"}), tmp_path)
    assert history(tmp_path)["lr"].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1])


def test_the_backbone_moves_at_a_fraction_of_the_heads_rate(tmp_path: Path) -> None:
    # One SGD step from one start: the change of a parameter is proportional to its rate.
    moved = {}
    for scale in (1.0, 0.1, 0.0):
        training = {"steps": 1, "backbone_lr_scale": scale, "weight_decay": 0}
        recipe = tiny_recipe({"training": training, "method": "source_only"})
        task = tiny_task(recipe)
        before = {name: value.detach().clone() for name, value in task.named_parameters()}
        run(recipe, tmp_path / str(scale), task)
        moved[scale] = {name: value.detach() - before[name] for name, value in task.named_parameters()}
    backbone = next(name for name in moved[1.0] if name.startswith("encoder.backbone."))
    head = "method.classifier.weight"
    assert moved[1.0][backbone].abs().max() > 0
    assert torch.allclose(moved[0.1][backbone], 0.1 * moved[1.0][backbone], rtol=1e-3, atol=1e-8)
    assert moved[0.0][backbone].abs().max() == 0
    assert torch.equal(moved[0.1][head], moved[1.0][head])


def test_without_intervals_it_evaluates_and_saves_at_the_end_alone(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 3, "evaluate_every": 0, "checkpoint_every": 0}})
    run(recipe, tmp_path)
    table = history(tmp_path)
    assert table.loc[table["h_score"].notna(), "step"].tolist() == [3]
    assert saved_steps(tmp_path / "checkpoint") == [3]


def test_a_run_without_steps_measures_and_saves_what_it_starts_from(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 0}})
    metrics = run(recipe, tmp_path)
    assert metrics["known_accuracy"] is not None
    assert saved_steps(tmp_path / "checkpoint") == [0]
    assert run(recipe, tmp_path, resume=True) == metrics


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resume_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    monkeypatch.setattr(loop, "_PATIENCE", 0)  # as where steps are slow: each is written at once
    recipe = tiny_recipe({"objectives": ["rotation"], "training": {"optimizer": optimizer, "evaluate_every": 4}})
    whole = run(recipe, tmp_path / "whole")
    # Stopped at step 8 (so after 7), between the checkpoints of 5 and 10; the last row is half written.
    with pytest.raises(ConnectionAbortedError):
        run(recipe, tmp_path / "cut", at_step(tiny_task(recipe), 7, power_cut))
    assert saved_steps(tmp_path / "cut" / "checkpoint") == [5]
    assert history(tmp_path / "cut")["step"].tolist() == list(range(1, 8))
    with (tmp_path / "cut" / "history.csv").open("a") as file:
        file.write("8,3.2,0.0")
    task = tiny_task(recipe)
    with torch.no_grad():
        task.encoder.backbone_parameters()[0].add_(1)  # nothing of the fresh task may matter
    assert run(recipe, tmp_path / "cut", task, resume=True) == whole
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_resuming_a_finished_run_gives_its_metrics_again(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 3}})
    whole = run(recipe, tmp_path)
    rows = history(tmp_path)
    assert run(recipe, tmp_path, resume=True) == whole
    pd.testing.assert_frame_equal(history(tmp_path), rows)


def test_resume_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 6}})
    with pytest.raises(ConnectionAbortedError):
        run(recipe, tmp_path / "cut", at_step(tiny_task(recipe), 2, power_cut))
    run(recipe, tmp_path / "cut", resume=True)
    run(recipe, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_evaluating_and_saving_change_nothing(tmp_path: Path) -> None:
    for name, every in (("often", 1), ("never", 0)):
        changes = {"evaluate_every": every, "checkpoint_every": every}
        run(tiny_recipe({"training": {"steps": 4}}), tmp_path / name, **changes)
    first, second = (history(tmp_path / name)[["step", "lr", "classification"]] for name in ("often", "never"))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_two_runs_of_one_seed_agree_and_of_two_seeds_do_not(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 3}})
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(recipe, tmp_path / name, tiny_task(recipe, seed), seed=seed)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert not history(tmp_path / "a")["classification"].equals(history(tmp_path / "c")["classification"])


def test_ctrl_c_saves_the_step_that_was_begun(tmp_path: Path) -> None:
    def press(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        return losses

    recipe, before = tiny_recipe(), signal.getsignal(signal.SIGINT)  # a background job of a shell ignores it
    with pytest.raises(Interrupted, match="stopped at step 3 of 12; go on with --resume"):
        run(recipe, tmp_path / "stopped", at_step(tiny_task(recipe), 2, press))
    assert saved_steps(tmp_path / "stopped" / "checkpoint") == [3]
    assert signal.getsignal(signal.SIGINT) is before
    run(recipe, tmp_path / "stopped", resume=True)
    run(recipe, tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")


def test_ctrl_c_in_the_last_step_stops_too(tmp_path: Path) -> None:
    def press(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        os.kill(os.getpid(), signal.SIGINT)
        return losses

    recipe = tiny_recipe({"training": {"steps": 3}})
    with pytest.raises(Interrupted, match="stopped at step 3 of 3"):
        run(recipe, tmp_path, at_step(tiny_task(recipe), 2, press))
    assert saved_steps(tmp_path / "checkpoint") == [3]


def test_a_loss_that_diverges_names_term_step_and_checkpoint(tmp_path: Path) -> None:
    # At this rate the first update makes the weights so large that the second forward pass overflows.
    training = {"steps": 6, "lr": 1e30, "checkpoint_every": 1, "backbone_lr_scale": 1}
    recipe = tiny_recipe({"training": training})
    with pytest.raises(UserError) as caught:
        run(recipe, tmp_path)
    message = str(caught.value)
    assert "the loss term 'classification' became nan at step 2" in message
    assert f"the last good checkpoint is '{tmp_path / 'checkpoint' / 'step-1'}'" in message
    assert "a learning rate below 1e+30 (--set training.lr=" in message
    assert saved_steps(tmp_path / "checkpoint") == [1]
    assert history(tmp_path)["step"].tolist() == [1]


@pytest.mark.parametrize(("value", "name"), [(float("inf"), "rotation"), (float("nan"), "entropy_separation")])
def test_the_term_that_is_not_finite_is_the_one_that_is_named(tmp_path: Path, value: float, name: str) -> None:
    def spoiled(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        return losses | {name: losses[name] * value}

    recipe = tiny_recipe({"objectives": ["rotation"]})
    with pytest.raises(
        UserError, match=f"the loss term '{name}' became (-?inf|nan) at step 3; no checkpoint was saved"
    ):
        run(recipe, tmp_path, at_step(tiny_task(recipe), 2, spoiled))


def test_what_breaks_on_a_loss_that_was_not_finite_does_not_hide_it(tmp_path: Path) -> None:
    spoiled: list[int] = []

    def once(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        if spoiled:
            raise ValueError("matrix contains invalid numeric entries")
        spoiled.append(1)
        return losses | {"rotation": losses["rotation"] * float("nan")}

    recipe = tiny_recipe({"objectives": ["rotation"]})
    task = at_step(at_step(tiny_task(recipe), 2, once), 3, once)
    with pytest.raises(UserError, match="the loss term 'rotation' became nan at step 3; no checkpoint"):
        run(recipe, tmp_path, task)
    assert history(tmp_path)["step"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="invalid numeric"):  # and finite ones are written before it goes on its way
        run(recipe, tmp_path / "finite", at_step(tiny_task(recipe), 3, once))
    assert history(tmp_path / "finite")["step"].tolist() == [1, 2, 3]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    # The loss is taken before the update, so that the step that ruins the weights still has a finite one.
    def ruined(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        task.method.classifier.weight.register_hook(lambda gradient: gradient * float("inf"))
        return losses

    recipe = tiny_recipe({"training": {"steps": 6}})
    task = tiny_task(recipe)
    with pytest.raises(UserError, match=r"parameter 'method.classifier.weight' is not finite at step 6") as caught:
        run(recipe, tmp_path, at_step(task, 5, ruined), checkpoint_every=4)
    assert "step-4" in str(caught.value)
    assert saved_steps(tmp_path / "checkpoint") == [4]


def test_an_evaluation_that_is_not_finite_ends_as_a_loss_does(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"evaluate_every": 5}})
    task = tiny_task(recipe)

    def spoil() -> None:
        for module in task.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                module.running_mean.fill_(torch.nan)  # which training does not look at

    task.after_step = spoil  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"what an evaluation computes .* at step 5; no checkpoint was saved"):
        run(recipe, tmp_path, task)
    assert history(tmp_path)["step"].tolist() == [1, 2, 3, 4, 5]


def test_a_full_gpu_says_the_batch_size_and_its_half(tmp_path: Path) -> None:
    def full(losses: dict[str, Tensor]) -> dict[str, Tensor]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    recipe = tiny_recipe()
    with pytest.raises(UserError) as caught:
        run(recipe, tmp_path, at_step(tiny_task(recipe), 0, full))
    assert "a step of 6 images of each domain" in str(caught.value)
    assert "`--batch-size 3`" in str(caught.value)


def test_precision_may_change_from_run_to_run_in_one_process(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 2}, "method": "source_only"})
    for precision in ("no", "bf16", "no"):
        run(recipe, tmp_path / precision, precision=precision)
    exact, rounded = (history(tmp_path / name)["classification"] for name in ("no", "bf16"))
    assert not exact.equals(rounded)  # it was in force
    assert rounded.tolist() == pytest.approx(exact.tolist(), rel=0.1)


def test_the_target_is_not_drawn_where_nothing_looks_at_it(tmp_path: Path) -> None:
    recipe = tiny_recipe({"training": {"steps": 2}, "method": "source_only"})
    run(recipe, tmp_path)
    assert history(tmp_path)["epoch"].tolist() == [0.4, 0.8]  # 6 of the source's 15 a step


def test_the_checkpoint_holds_the_memory_and_the_threshold(tmp_path: Path) -> None:
    run(tiny_recipe({"training": {"steps": 2}}), tmp_path)
    from safetensors.torch import load_file

    tensors = load_file(newest(tmp_path) / "task.safetensors")
    assert tensors["method.memory.rows"].shape[0] == 15
    assert torch.isfinite(tensors["threshold"])
