"""AugMix and adversarial training: what they make of views, by hand."""

import pytest
import torch
import torch.nn.functional as F

from tests.tasks.robustness.small import BATCH, small_task
from uda.clock import Clock
from uda.errors import UserError
from uda.ssl.augmix import augmix
from uda.ssl.functional import jensen_shannon
from uda.tasks.robustness import METHODS
from uda.tasks.robustness.adversarial import Adversarial

CLOCK = Clock(3, 20, seed=0)


def test_augmix_names_the_clean_view_and_asks_for_one_answer_for_three() -> None:
    task = small_task("augmix", weight=12.0).eval()
    batch = task.streams()["images"].batch(3)
    seen: list[int] = []
    task.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    losses = task({"images": batch}, "all", CLOCK)
    assert seen == [3 * BATCH]
    views = task.augment(batch, CLOCK)
    mixed = [augmix(views, CLOCK.seed, CLOCK.step, batch.index, name) for name in ("augmix a", "augmix b")]
    assert not torch.equal(mixed[0], mixed[1])
    logits = [task.method.classifier(task.encoder(some)) for some in (views, *mixed)]
    assert losses["classification"].item() == pytest.approx(F.cross_entropy(logits[0], batch.labels).item(), rel=1e-4)
    assert losses["consistency"].item() == pytest.approx(12 * jensen_shannon(logits).item(), rel=1e-3, abs=1e-6)


def test_an_objective_beside_augmix_has_a_pass_of_its_own() -> None:
    task = small_task("augmix", ("rotation",)).eval()
    seen: list[int] = []
    task.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    task({"images": task.streams()["images"].batch(3)}, "all", CLOCK)
    assert seen == [4 * BATCH, 3 * BATCH]


@pytest.mark.parametrize("method", ["standard", "adversarial", "augmix"])
@pytest.mark.parametrize("objective", ["rotation", "simclr", "jigsaw"])
def test_every_method_moves_the_encoder_beside_any_kind_of_objective(method: str, objective: str) -> None:
    options = {"attack_steps": 1} if method == "adversarial" else {}
    task = small_task(method, (objective,), **options).train()
    losses = task({"images": task.streams()["images"].batch(3)}, "all", CLOCK)
    assert {"classification", objective} <= losses.keys()
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.encoder.parameters())


def test_radii_are_gray_levels() -> None:
    made = METHODS["adversarial"](small_task().encoder, 3, eps=4.0, step=1.0, attack_steps=7)
    assert isinstance(made, Adversarial)
    assert (made.attack.eps * 255, made.attack.step * 255, made.attack.steps) == pytest.approx((4, 1, 7))


def test_a_radius_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="step"):
        METHODS["adversarial"](small_task().encoder, 3, step=0.0)
