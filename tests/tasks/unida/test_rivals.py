"""What all published methods must do: train on features and pixels, go on bit by bit, answer for other images."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.tasks.unida.clusters import clustered_task
from tests.tasks.unida.small import copy_of_state, run, small_task
from tests.tiny import assert_same_run, tiny_recipe, tiny_task
from uda.batch import Batch
from uda.clock import Clock
from uda.experiments.experiment import Settings, loop_options
from uda.metrics import UNIDA_METRICS
from uda.tasks.unida import METHODS, Features, Look, Method, Setup, UniDA
from uda.training.checkpoint import Identity
from uda.training.loop import train

TERMS = {
    "dann": {"classification", "domain"},
    "uan": {"classification", "domain", "adversarial"},
    "ovanet": {"classification", "one_vs_all", "open_set_entropy"},
    "uniot": {"classification", "common_classes", "private_classes"},
}
SMALL: dict[str, dict[str, object]] = {
    "dann": {"width": 8},
    "uan": {"width": 8},
    "ovanet": {},
    "uniot": {"bottleneck": 8, "prototypes": 6},
}
every_rival = pytest.mark.parametrize("name", sorted(TERMS))


def pixels(name: str, objectives: tuple[str, ...] = ()) -> UniDA:
    return small_task(name, objectives, **SMALL[name])  # type: ignore[arg-type]


@every_rival
@pytest.mark.parametrize(
    "made", [pixels, lambda name: clustered_task(name, **SMALL[name]), lambda name: clustered_task(name, True)]
)
def test_terms_are_finite_and_the_metrics_there(name: str, made: Callable[[str], UniDA], tmp_path: Path) -> None:
    metrics = run(made(name), tmp_path)
    history = pd.read_csv(tmp_path / "history.csv")
    assert TERMS[name] <= set(history.columns)
    assert np.isfinite(history[sorted(TERMS[name])].to_numpy()).all()
    found = [metrics[name] for name in UNIDA_METRICS]
    assert all(value is not None and 0 <= value <= 1 for value in found)


@every_rival
def test_an_objective_adds_its_term(name: str, tmp_path: Path) -> None:
    run(pixels(name, ("rotation",)), tmp_path, steps=2)
    assert TERMS[name] | {"rotation"} <= set(pd.read_csv(tmp_path / "history.csv").columns)


@every_rival
def test_a_run_that_was_cut_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    method = {"name": name, **SMALL[name]}
    recipe = tiny_recipe({"method": method, "objectives": ["rotation"], "training": {"evaluate_every": 2}})
    options = loop_options(recipe, 0, Settings(torch.device("cpu"), progress=False))
    options = dataclasses.replace(options, steps=6, checkpoint_every=3)
    identity, device = Identity("recipe", "data"), torch.device("cpu")
    whole = train(tiny_task(recipe), options, tmp_path / "whole", identity, device)
    task = tiny_task(recipe)
    forward = task.forward

    def cut(batches: Mapping[str, Batch], turn: str, clock: Clock) -> dict[str, Tensor]:
        if clock.step == 4:
            raise ConnectionAbortedError("the process is gone")
        return forward(batches, turn, clock)

    task.forward = cut  # type: ignore[method-assign]
    with pytest.raises(ConnectionAbortedError):
        train(task, options, tmp_path / "cut", identity, device)
    assert train(tiny_task(recipe), options, tmp_path / "cut", identity, device, resume=True) == whole
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def step(method: Method, optimizer: torch.optim.Optimizer, number: int) -> dict[str, float]:
    """One step on features that the number alone decides."""
    generator = torch.Generator().manual_seed(number)
    source, target = torch.randn(2, 6, 8, generator=generator)
    features = Features(source, torch.arange(6) % 3, target, torch.randperm(20, generator=generator)[:6])
    clock = Clock(number, 10)
    method.prepare(clock, lambda: Look(torch.randn(20, 8, generator=generator), torch.zeros(20, 3)))
    torch.manual_seed(number)
    method.before_step()
    losses = method(features, clock)
    optimizer.zero_grad()
    torch.stack(list(losses.values())).sum().backward()
    optimizer.step()
    method.after_step(features)
    return {key: loss.item() for key, loss in losses.items()}


@every_rival
def test_a_method_goes_on_from_its_state_dict_bit_by_bit(name: str) -> None:
    def made() -> tuple[Method, torch.optim.Optimizer]:
        torch.manual_seed(0)
        method = METHODS[name](Setup(8, 3, 20), **SMALL[name])
        return method, torch.optim.SGD(method.parameters(), lr=0.1)

    method, optimizer = made()
    for number in range(3):
        step(method, optimizer, number)
    saved = copy_of_state(method)
    seen = Look(torch.randn(20, 8), method.classifier(torch.randn(20, 8)).detach())
    method.remember(seen)  # an evaluation in between changes nothing
    whole = [step(method, optimizer, number) for number in range(3, 6)]
    other, optimizer = made()
    torch.manual_seed(99)
    other.load_state_dict(saved)
    assert [step(other, optimizer, number) for number in range(3, 6)] == whole
    trained = dict(other.named_parameters())
    assert all(torch.equal(value, trained[key]) for key, value in method.named_parameters())


@every_rival
def test_an_image_has_one_answer_with_the_target_and_alone(name: str, tmp_path: Path) -> None:
    task = clustered_task(name, **SMALL[name])
    run(task, tmp_path)
    answer = task.last_answer
    assert answer is not None
    alone = task.answer(task.data.target, threshold=0.0)
    assert np.allclose(answer.scores, alone.scores)
    assert np.allclose(answer.probabilities, alone.probabilities)
    assert np.allclose(answer.probabilities.sum(1), 1, atol=1e-5)


@every_rival
def test_answers_are_possible_before_anything_has_trained(name: str) -> None:
    answer = clustered_task(name, **SMALL[name]).answer(clustered_task(name).data.target)
    assert np.isfinite(answer.scores).all()


@every_rival
def test_the_labels_say_that_these_methods_look_at_the_target_and_move_features(name: str) -> None:
    assert METHODS[name].uses_target
    assert METHODS[name].moves_features


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_rival
def test_a_step_and_the_answers_on_a_gpu_are_those_of_the_cpu(name: str) -> None:
    found: list[tuple[dict[str, float], Tensor]] = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        method = METHODS[name](Setup(8, 3, 20), **SMALL[name])
        generator = torch.Generator().manual_seed(1)
        target, logits = torch.randn(20, 8, generator=generator), torch.randn(20, 3, generator=generator)
        method.to(device)
        method.prepare(Clock(0, 10), lambda features=target, said=logits: Look(features, said))
        rows = torch.arange(6, device=device)
        batch = Features(target[:6].to(device), rows % 3, target[6:12].to(device), rows)
        losses = {key: loss.item() for key, loss in method(batch, Clock(0, 10)).items() if key != "private_classes"}
        method.after_step(batch)
        method.remember(Look(target, logits))
        found.append((losses, method.answers(target, logits, of_target=True)[1]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-3, abs=1e-4)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-3)
