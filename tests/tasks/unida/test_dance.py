"""DANCE in its two forms; the official one against a plain re-computation that shares no code with `uda`'s losses."""

import math
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tasks.unida.small import N_TARGET, run, small_task
from uda.clock import Clock
from uda.errors import UserError
from uda.ssl.functional import entropy
from uda.tasks import find_method
from uda.tasks.unida import Dance, Features, Look, Setup, UniDA

STEPS, TEMPERATURE, ETA, MARGIN, LR = 20, 0.05, 0.05, 0.5, 0.01
RHO = 0.54  # log(3)/2 = 0.549306, cut to two decimals


def unit(x: Tensor) -> Tensor:
    return x / x.pow(2).sum(dim=-1, keepdim=True).sqrt()


def plain_entropies(logits: Tensor) -> Tensor:
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)  # |logits| ≤ 20: no overflow
    return -(p * (p + 1e-5).log()).sum(dim=1)


def plain_losses(
    source: Tensor, labels: Tensor, target: Tensor, index: Tensor, rows: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy, neighborhood clustering and entropy separation as the released code computes them."""
    log_p = (unit(source) @ rows.T / TEMPERATURE).log_softmax(dim=1)
    classification = -torch.stack([log_p[i, label] for i, label in enumerate(labels.tolist())]).mean()

    f, own = unit(target), set(index.tolist())
    logits = f @ rows.T / TEMPERATURE
    compared = []
    for i in range(len(f)):
        to_memory = [
            torch.tensor(-1 / TEMPERATURE, dtype=f.dtype) if j in own else (f[i] * memory[j]).sum() / TEMPERATURE
            for j in range(len(memory))
        ]
        to_batch = [
            torch.tensor(-1 / TEMPERATURE, dtype=f.dtype) if j == i else (f[i] * f[j]).sum() / TEMPERATURE
            for j in range(len(f))
        ]
        compared.append(torch.stack([*logits[i], *to_memory, *to_batch]))
    clustering = plain_entropies(torch.stack(compared)).mean()

    distances = (plain_entropies(logits) - RHO).abs()
    separation = -torch.stack([d if d > MARGIN else d.new_tensor(MARGIN) for d in distances]).mean()
    return classification, clustering, separation


def plain_dance(task: UniDA, dtype: torch.dtype) -> tuple[nn.Module, Tensor, Tensor]:
    """Train for 20 steps from the task's initial weights; return backbone, classifier rows and memory."""
    backbone = timm.create_model("smallconv", num_classes=0).to(dtype)
    backbone.load_state_dict(task.encoder.backbone.state_dict())
    backbone.train()
    rows = task.method.classifier.weight.detach().clone().requires_grad_()
    memory = torch.zeros(N_TARGET, rows.shape[1], dtype=dtype)
    parameters = [*((p, 0.1) for p in backbone.parameters()), (rows, 1.0)]
    velocity: list[Tensor | None] = [None] * len(parameters)
    streams = task.streams()
    for step in range(STEPS):
        source, target = streams["source"].batch(step), streams["target"].batch(step)
        assert source.labels is not None
        with torch.no_grad():
            rows.copy_(unit(rows))
        # smallconv's own normalization: mean 0.5, deviation 0.25; one pass a domain, source first
        source_features = backbone(((source.images.float() / 255).to(dtype) - 0.5) / 0.25)
        target_features = backbone(((target.images.float() / 255).to(dtype) - 0.5) / 0.25)
        terms = plain_losses(source_features, source.labels, target_features, target.index, rows, memory)
        loss = terms[0] + ETA * terms[1] + ETA * terms[2]
        gradients = torch.autograd.grad(loss, [p for p, _ in parameters])
        rate = LR * (1 + 10 * step / STEPS) ** -0.75
        with torch.no_grad():
            for number, ((parameter, scale), gradient) in enumerate(zip(parameters, gradients, strict=True)):
                decayed = gradient + 5e-4 * parameter
                old = velocity[number]
                new = decayed.clone() if old is None else 0.9 * old + decayed
                velocity[number] = new
                parameter -= rate * scale * (decayed + 0.9 * new)
            memory[target.index] = unit(target_features)
    return backbone, rows.detach(), memory


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_the_official_form_is_the_released_code_for_twenty_steps(
    tmp_path: Path, dtype: torch.dtype, tolerance: float
) -> None:
    task = small_task(compat="official").to(dtype)
    initial = task.method.classifier.weight.detach().clone()
    backbone, rows, memory = plain_dance(task, dtype)
    run(task, tmp_path, STEPS, LR)
    method = task.method
    assert isinstance(method, Dance)
    assert (initial - rows).abs().max() > 0.02  # there was something to reproduce
    assert torch.allclose(method.classifier.weight, rows, atol=tolerance, rtol=0)
    assert torch.allclose(method.memory.rows, memory, atol=tolerance, rtol=0)
    expected = backbone.state_dict()
    found = task.encoder.backbone.state_dict()
    assert set(found) == set(expected)
    for name, value in found.items():
        assert torch.allclose(value, expected[name], atol=tolerance, rtol=tolerance), name


def test_other_options_end_elsewhere(tmp_path: Path) -> None:
    # a reproduction that another eta, margin or form would not break shows nothing
    trained = []
    for number, options in enumerate([{}, {"eta": 0.0}, {"margin": 0.45}, {"compat": "paper"}]):
        task = small_task(**({"compat": "official"} | options))
        run(task, tmp_path / str(number), STEPS, LR)
        trained.append(unit(task.method.classifier.weight.detach()))
    for other in trained[1:]:
        assert (trained[0] - other).abs().max() > 2e-5


def dance(n_classes: int = 3, **options: object) -> Dance:
    torch.manual_seed(0)
    method = find_method("unida", "dance")(Setup(8, n_classes, 10), **options)
    assert isinstance(method, Dance)
    return method


def features() -> Features:
    generator = torch.Generator().manual_seed(4)
    source, target = torch.randn(2, 5, 8, generator=generator)
    return Features(source, torch.tensor([0, 1, 2, 0, 1]), target, torch.tensor([7, 2, 0, 9, 4]))


@pytest.mark.parametrize(("k", "published"), [(20, 1.49), (10, 1.15), (31, 1.71)])
def test_rho_is_cut_to_two_decimals_only_in_the_official_form(k: int, published: float) -> None:
    assert dance(k, compat="official").rho == pytest.approx(published, abs=1e-12)
    assert dance(k).rho == math.log(k) / 2


def test_the_memory_starts_at_zero_officially_and_with_the_targets_features_in_the_paper() -> None:
    computed = torch.randn(10, 8)

    def refuse() -> Look:
        raise AssertionError("the released code does not look at the target before it trains")

    official, paper = dance(compat="official"), dance()
    official.prepare(Clock(0, 10), refuse)
    paper.prepare(Clock(0, 10), lambda: Look(computed, torch.randn(10, 3)))
    paper.prepare(Clock(1, 10), refuse)  # once only
    assert torch.equal(official.memory.rows, torch.zeros(10, 8))
    assert torch.allclose(paper.memory.rows, unit(computed))


def test_rows_are_normalized_in_the_forward_pass_in_the_paper_and_before_a_step_officially() -> None:
    official, paper = dance(compat="official"), dance()
    x = features().source
    for method in (official, paper):
        before = method.classifier(x)
        with torch.no_grad():
            method.classifier.weight.mul_(3.0)
        changed = method.classifier(x)
        assert torch.allclose(changed, before if method is paper else 3 * before, rtol=1e-4)
        method.before_step()
        norms = method.classifier.weight.norm(dim=1)
        assert torch.allclose(norms, torch.ones(3)) == (method is official)


def test_entropies_are_exact_in_the_paper_and_shifted_officially() -> None:
    official, paper = dance(compat="official"), dance()
    for method in (official, paper):
        method.rho = 0.5  # tested above
        method.classifier.normalize_()
    assert torch.equal(official.classifier.weight, paper.classifier.weight)
    theirs, ours = (method(features(), Clock(0, 10)) for method in (official, paper))
    assert torch.allclose(theirs["classification"], ours["classification"])
    given = features()
    assert given.target is not None
    logits = unit(given.target) @ unit(paper.classifier.weight).T / TEMPERATURE
    assert ours["entropy_separation"].item() == pytest.approx(
        -ETA * (entropy(logits) - 0.5).abs().clamp_min(MARGIN).mean().item(), rel=1e-5
    )
    # log(p + 1e-5) > log p, so every published entropy is smaller
    assert (
        0 < (ours["neighborhood_clustering"] - theirs["neighborhood_clustering"]).item() < ETA * math.log1p(1e-5 * 18)
    )


def test_the_terms_are_the_plain_ones() -> None:
    method, given = dance(compat="official"), features()
    method.rho = RHO
    method.before_step()
    method.memory.rows.copy_(F.normalize(torch.randn(10, 8, generator=torch.Generator().manual_seed(1))))
    assert given.target is not None
    assert given.index is not None
    rows = method.classifier.weight
    plain = plain_losses(given.source, given.labels, given.target, given.index, rows, method.memory.rows)
    found = method(given, Clock(0, 10))
    assert list(found) == ["classification", "neighborhood_clustering", "entropy_separation"]
    for ours, theirs, weight in zip(found.values(), plain, (1, ETA, ETA), strict=True):
        assert ours.item() == pytest.approx(weight * theirs.item(), rel=1e-4)


def test_the_memory_takes_the_features_of_this_step() -> None:
    method, given = dance(), features()
    method.after_step(given)
    assert given.target is not None
    assert given.index is not None
    assert torch.allclose(method.memory.rows[given.index], unit(given.target))
    others = [row for row in range(10) if row not in given.index.tolist()]
    assert torch.equal(method.memory.rows[others], torch.zeros(5, 8))


def test_a_memory_in_bfloat16_holds_the_same_rows_rounded_and_gives_nearly_the_same_losses() -> None:
    computed, given = torch.randn(10, 8, generator=torch.Generator().manual_seed(2)), features()
    found = []
    for bank in ("float32", "bfloat16"):
        method = dance(bank=bank)
        method.prepare(Clock(0, 10), lambda: Look(computed, torch.randn(10, 3)))
        found.append((method.memory.rows, method(given, Clock(0, 10))["neighborhood_clustering"].item()))
        method.after_step(given)
    (exact, loss), (rounded, near) = found
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=2**-8, atol=2**-8)
    assert near == pytest.approx(loss, rel=0.05)


def test_the_target_is_looked_at_from_the_start_that_was_asked_for() -> None:
    method = dance(start=0.5)
    assert [method.adapts(Clock(step, 100)) for step in (0, 49, 50, 99)] == [False, False, True, True]
    looks: list[int] = []

    def look(step: int) -> Look:
        looks.append(step)
        return Look(torch.randn(10, 8), torch.randn(10, 3))

    for step in range(100):
        method.prepare(Clock(step, 100), lambda step=step: look(step))
    assert looks == [50]


def test_without_the_target_both_terms_are_zero_and_the_memory_stays() -> None:
    method, given = dance(start=0.5), features()
    alone = Features(given.source, given.labels, None, given.index)
    losses = method(alone, Clock(0, 100))
    assert (losses["neighborhood_clustering"].item(), losses["entropy_separation"].item()) == (0.0, 0.0)
    before = method.memory.rows.clone()
    method.after_step(alone)
    assert torch.equal(method.memory.rows, before)


def test_classification_does_not_see_the_target() -> None:
    given = features()
    elsewhere = Features(given.source, given.labels, torch.randn(5, 8), given.index)
    first, second = (dance()(x, Clock(0, 10)) for x in (given, elsewhere))
    assert torch.equal(first["classification"], second["classification"])
    assert not torch.equal(first["neighborhood_clustering"], second["neighborhood_clustering"])


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown method 'dnace': did you mean dance"):
        find_method("unida", "dnace")
