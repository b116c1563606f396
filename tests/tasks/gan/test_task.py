"""Two players in turns: who moves, who sees what, what is resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tasks.gan.small import BATCH, CLOCK, N, batches, small_task
from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.tasks.gan import Adversarial
from uda.tasks.gan.losses import gradient_penalty
from uda.training.checkpoint import Identity
from uda.training.loop import LoopOptions, create_optimizers, train
from uda.training.optimizers import set_lr

IDENTITY = Identity("recipe", "data")


def options(steps: int, **changes: Any) -> LoopOptions:
    values: dict[str, Any] = {
        **{"steps": steps, "seed": 0, "optimizer": "adamw", "lr": 1e-3, "momentum": 0.9, "weight_decay": 0.0},
        **{"schedule": "linear", "warmup_steps": 0, "evaluate_every": 0, "checkpoint_every": 2},
        **{"precision": "no", "channels_last": False, "progress": False},
    }
    return LoopOptions(**values | changes)


def state(task: Adversarial) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


def moved(task: Adversarial, before: dict[str, Tensor]) -> set[str]:
    """Return which part of the task has changed: "generator", "discriminator", "average", "objectives"."""
    now = task.state_dict()
    changed = [name for name in now if not torch.equal(now[name], before[name]) and "original" in f"original{name}"]
    return {name.split(".")[1] if name.startswith("method") else "objectives" for name in changed}


def test_turns_and_streams() -> None:
    task = small_task(n_dis=3)
    assert task.turns == ("discriminator",) * 3 + ("generator",)
    assert len(batches(task)["images"]) == 3 * BATCH
    assert batches(task)["images"].labels is None  # an unconditional one is told none
    assert batches(small_task(conditional=True))["images"].labels is not None


def test_each_turn_moves_its_own_player_alone() -> None:
    task = small_task(("rotation",))
    optimizers = create_optimizers(task, options(1))
    drawn = batches(task)
    for turn, expected in (("discriminator", {"discriminator", "objectives"}), ("generator", {"generator"})):
        parameters = {name: value.detach().clone() for name, value in task.named_parameters()}
        set_lr(optimizers[turn], 1e-2)
        losses = task(drawn, turn, CLOCK)
        optimizers[turn].zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizers[turn].step()
        changed = {name for name, value in task.named_parameters() if not torch.equal(value, parameters[name])}
        parts = {name.split(".")[1] if name.startswith("method") else "objectives" for name in changed}
        assert parts == expected
    assert all(not p.requires_grad for p in task.encoder.parameters())  # it had no gradient to compute
    task.after_step()
    assert all(p.requires_grad for p in task.encoder.parameters())


def test_both_players_have_the_betas_and_their_rates() -> None:
    task = small_task(("rotation",), betas=(0.1, 0.8))
    task.discriminator_lr_scale = 4.0
    optimizers = create_optimizers(task, options(1))
    assert set(optimizers) == {"generator", "discriminator"}
    assert optimizers["generator"].param_groups[0]["betas"] == (0.1, 0.8)
    assert optimizers["discriminator"].param_groups[0]["lr_scale"] == 4.0
    mine = {id(p) for group in optimizers["discriminator"].param_groups for p in group["params"]}
    assert {id(p) for p in task.objectives.parameters()} <= mine
    assert not {id(p) for p in task.method.average.parameters()} & mine


def test_the_discriminators_turns_see_different_images_and_latents() -> None:
    seen: list[Tensor] = []
    task = small_task()
    forward = task.encoder.map
    task.encoder.map = lambda views: (seen.append(views.detach()), forward(views))[1]  # a look, not a stand-in
    drawn = batches(task)
    for turn in task.turns:
        task(drawn, turn, CLOCK)
    first, second, painted = seen
    assert torch.equal(first[:BATCH], drawn["images"].images[:BATCH] / 255)
    assert torch.equal(second[:BATCH], drawn["images"].images[BATCH:] / 255)
    assert first.shape == (2 * BATCH, 3, 32, 32)
    assert painted.shape == (BATCH, 3, 32, 32)
    assert not torch.allclose(first[BATCH:], second[BATCH:])
    assert not torch.allclose(first[BATCH:], painted)


def test_rotation_takes_a_quarter_of_the_batch_and_shares_its_upright_images() -> None:
    task = small_task(("rotation",))
    assert task.seen == BATCH // 4
    passes: list[int] = []
    forward = task.encoder.map
    task.encoder.map = lambda views: (passes.append(len(views)), forward(views))[1]
    drawn = batches(task)
    task(drawn, "discriminator", CLOCK)
    assert passes == [BATCH, 2 * BATCH - BATCH // 4]  # four turns of a quarter; the other real ones and all generated
    passes.clear()
    task(drawn, "generator", CLOCK)
    assert passes == [BATCH, BATCH]


def test_sharing_the_pass_changes_no_loss() -> None:
    shared, apart = small_task(("rotation",)), small_task(("rotation",))
    drawn = batches(shared)
    with torch.no_grad():
        ours = shared.eval()(drawn, "discriminator", CLOCK)  # eval: power iteration does not go on between passes
        plain = small_task().eval()(drawn, "discriminator", CLOCK)
    assert ours["discriminator"].item() == pytest.approx(plain["discriminator"].item(), rel=1e-5)
    batch = Batch(drawn["images"].images[:2], drawn["images"].index[:2], None, "images")
    with torch.no_grad():
        alone = apart.objectives[0](apart.encoder.eval(), batch, CLOCK).value
    assert ours["rotation"].item() == pytest.approx(0.5 * alone.item(), rel=1e-5)


def test_weights_of_real_and_generated_images() -> None:
    drawn = batches(small_task())
    task = small_task(("rotation",), alpha=0.2)
    heavy = small_task(("rotation",), alpha=0.6)
    with torch.no_grad():
        light, more = (t.eval()(drawn, "generator", CLOCK) for t in (task, heavy))
    assert set(light) == {"generator", "rotation_generated"}
    assert more["rotation_generated"].item() == pytest.approx(3 * light["rotation_generated"].item(), rel=1e-5)
    none = small_task(("rotation",), alpha=0.0)
    assert set(none(drawn, "generator", CLOCK)) == {"generator"}
    assert set(none(drawn, "discriminator", CLOCK)) == {"rotation", "discriminator"}


def test_one_view_of_each_image_takes_the_whole_batch() -> None:
    assert small_task(("colorization",)).seen == BATCH
    assert small_task(("simclr",)).seen == BATCH // 2
    assert small_task(("rotation",), share=1.0).seen == BATCH


def test_options_of_the_discriminators_turn() -> None:
    drawn = batches(small_task())
    plain = small_task(("rotation",))(drawn, "discriminator", CLOCK)
    other = small_task(("rotation",), augment=["color", "translation", "cutout"], r1=2.0)
    losses = other(drawn, "discriminator", CLOCK)
    assert set(losses) == {"rotation", "discriminator", "gradient_penalty"}
    assert losses["gradient_penalty"] > 0
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in other.encoder.parameters())
    assert losses["rotation"].item() == pytest.approx(plain["rotation"].item(), rel=1e-4)  # it sees plain images
    assert losses["discriminator"].item() != plain["discriminator"].item()


def test_the_gradient_penalty_is_by_centered_pixels() -> None:
    # An oracle of its own: the penalty of the published range, whose gradient autograd finds at 2x − 1.
    task = small_task(r1=3.0).eval()  # eval: power iteration does not go on between the passes
    drawn = batches(task)
    centered = (drawn["images"].images[:BATCH] / 255 * 2 - 1).requires_grad_()
    expected = 3 * gradient_penalty(task.encoder.score(task.encoder((centered + 1) / 2)), centered)
    assert task(drawn, "discriminator", CLOCK)["gradient_penalty"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_full_gpu_is_told_half_the_batch_of_a_turn(tmp_path: Path) -> None:
    class Full(Adversarial):
        def forward(self, drawn: Any, turn: str, clock: Clock) -> Any:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    task = small_task(n_dis=5)
    task.__class__ = Full
    with pytest.raises(UserError, match=f"`--batch-size {BATCH // 2}`"):  # a step draws five times as many
        train(task, options(2), tmp_path, IDENTITY, torch.device("cpu"))


def test_the_average_follows_faster_at_first() -> None:
    task = small_task(ema=0.99)
    start = task.generator.last.bias.detach().clone()
    with torch.no_grad():
        task.method.generator.last.bias.add_(1.0)
    task.method.follow(0)  # (1 + 0)/(10 + 0) of the old
    assert torch.allclose(task.generator.last.bias, start + 0.9)
    task.method.follow(10**6)
    assert torch.allclose(task.generator.last.bias, start + 0.9 + 0.1 * 0.01)
    exact = small_task(ema=0.0)
    with torch.no_grad():
        exact.method.generator.last.bias.add_(1.0)
    exact.method.follow(5)
    assert torch.equal(exact.generator.last.bias, exact.method.generator.last.bias)


@pytest.mark.parametrize("labelled", [True, False])
def test_evaluation_returns_what_it_promises(labelled: bool) -> None:
    task = small_task(("rotation",), labelled, conditional=labelled)
    figures = task.evaluate()
    assert tuple(figures) == task.metric_names
    undefined = {name for name, value in figures.items() if value is None}
    classes = {"probe_accuracy", "confidence", "effective_classes", "asked_accuracy"}
    assert undefined == (set() if labelled else classes)
    if labelled:
        assert figures["probe_accuracy"] == 1.0  # dark from bright
        assert task.yardstick.classifier_accuracy == 1.0


def test_evaluation_changes_nothing_that_trains() -> None:
    task = small_task(("rotation",))
    task.train()
    before = state(task)
    task.evaluate()
    after = task.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    assert all(name.startswith("method.average.") and "norm" in name for name in changed)
    assert all(part.training for part in (task.method.generator, task.encoder))


def test_samples_are_those_of_their_indices() -> None:
    task = small_task()
    all_of_them, _ = task.sample(torch.arange(6), "shown")
    some, _ = task.sample(torch.tensor([4, 1]), "shown")
    assert torch.equal(some, all_of_them[[4, 1]])
    assert some.dtype == torch.uint8


@pytest.mark.parametrize(
    ("objectives", "more"),
    [(("rotation",), {}), (("placebo:rotation", "moco"), {"conditional": True, "r1": 0.1, "augment": ["cutout"]})],
)
def test_resume_in_the_middle_is_exact(tmp_path: Path, objectives: tuple[str, ...], more: dict[str, Any]) -> None:
    cpu = torch.device("cpu")
    whole = small_task(objectives, **more)
    metrics = train(whole, options(5, evaluate_every=2), tmp_path / "whole", IDENTITY, cpu)

    class Killed(Exception):  # noqa: N818
        pass

    class Mortal(Adversarial):
        def forward(self, drawn: Any, turn: str, clock: Clock) -> Any:
            if clock.step == 3 and turn == "generator":
                raise Killed
            return super().forward(drawn, turn, clock)

    stopped = small_task(objectives, **more)
    stopped.__class__ = Mortal
    with pytest.raises(Killed):
        train(stopped, options(5, evaluate_every=2), tmp_path / "half", IDENTITY, cpu)
    again = small_task(objectives, **more)
    resumed = train(again, options(5, evaluate_every=2), tmp_path / "half", IDENTITY, cpu, resume=True)
    assert resumed == metrics
    ours, theirs = whole.state_dict(), again.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    texts = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "half")]
    assert texts[0] == texts[1]


def test_a_batch_may_be_larger_than_the_images_there_are() -> None:
    task = small_task(n_dis=5)
    assert 5 * BATCH > N
    assert len(batches(task)["images"]) == 5 * BATCH
