import pytest
import torch
from torch import nn

from uda.training.optimizers import OPTIMIZERS, create_optimizer, load_optimizer_tensors, optimizer_tensors, set_lr


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(5, 3, generator=generator)).square().mean().backward()
    optimizer.step()


def groups(model: nn.Module) -> list[dict[str, object]]:
    first, second = model.children()
    return [
        {"params": list(first.parameters()), "lr_scale": 0.1},
        {"params": list(second.parameters()), "lr_scale": 1.0},
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_round_trip_goes_on_with_the_same_bits(name: str) -> None:
    one, other = network(), network()
    ours = create_optimizer(name, groups(one), 0.1, 0.9, 1e-3)
    for seed in range(3):
        step(one, ours, seed)
    other.load_state_dict(one.state_dict())
    theirs = create_optimizer(name, groups(other), 0.1, 0.9, 1e-3)
    tensors = {key: value.clone() for key, value in optimizer_tensors(ours).items()}
    # 4 parameters with a momentum each, or with two moments and a step count
    assert len(tensors) == {"sgd": 4, "adamw": 12, "lars": 4}[name]
    load_optimizer_tensors(theirs, tensors)
    for seed in range(3, 6):
        step(one, ours, seed)
        step(other, theirs, seed)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_optimizer_that_has_not_moved_has_no_state() -> None:
    model = network()
    assert optimizer_tensors(create_optimizer("sgd", groups(model), 0.1, 0.9, 0.0)) == {}


def test_each_group_has_its_own_multiple_of_the_rate() -> None:
    optimizer = create_optimizer("sgd", groups(network()), 0.1, 0.9, 0.0)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5]


def test_sgd_by_hand() -> None:
    # Nesterov momentum 0.5, weight decay 0.1, rate 0.1, loss = w, so the gradient is 1 + 0.1·w; w starts at 2.
    # Step 1: g = 1.2, buffer = 1.2, update g + 0.5·buffer = 1.8, w = 2 − 0.18 = 1.82
    # Step 2: g = 1.182, buffer = 0.6 + 1.182 = 1.782, update 1.182 + 0.891 = 2.073, w = 1.82 − 0.2073 = 1.6127
    weight = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    optimizer = create_optimizer("sgd", [{"params": [weight], "lr_scale": 1.0}], 0.1, 0.5, 0.1)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        weight.backward()
        optimizer.step()
        seen.append(weight.item())
    assert seen == pytest.approx([1.82, 1.6127], abs=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_adapts_weights_without_a_decay_too_and_leaves_exempted_groups_alone(decay: float) -> None:
    # |w| = 5, gradient (6, 8), |g| = 10. Trust = 0.001 · 5 / (10 + decay · 5); step: rate · trust · (g + decay · w).
    weights, vectors = (nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64)) for _ in range(2))
    groups = [
        {"params": [weights], "lr_scale": 1.0},
        {"params": [vectors], "lr_scale": 1.0, "weight_decay": 0.0},
    ]
    optimizer = create_optimizer("lars", groups, 0.5, 0.0, decay)
    for parameter in (weights, vectors):
        parameter.grad = torch.tensor([6.0, 8.0], dtype=torch.float64)
    optimizer.step()
    trust = 0.001 * 5 / (10 + decay * 5)
    expected = [3 - 0.5 * trust * (6 + decay * 3), 4 - 0.5 * trust * (8 + decay * 4)]
    assert weights.tolist() == pytest.approx(expected, rel=1e-6)
    assert vectors.tolist() == pytest.approx([0.0, 0.0], abs=1e-12)  # the plain rate: 3 − 0.5 · 6, 4 − 0.5 · 8


def test_momentum_without_nesterov_by_hand() -> None:
    ends = {}
    for nesterov in (True, False):
        weight = nn.Parameter(torch.zeros(1))
        optimizer = create_optimizer("sgd", [{"params": [weight], "lr_scale": 1.0}], 1.0, 0.5, 0.0, nesterov)
        for _ in range(2):
            weight.grad = torch.ones(1)
            optimizer.step()
        ends[nesterov] = weight.item()
    # the velocity is 1, then 1.5; Nesterov adds half of it to the gradient: 1.5, then 1.75
    assert ends == {False: -2.5, True: -3.25}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gpu_takes_the_steps_of_the_cpu_and_goes_on_with_the_same_bits(name: str) -> None:
    gpu, cpu = network().cuda(), network()
    ours, theirs = (create_optimizer(name, groups(model), 0.1, 0.9, 1e-3) for model in (gpu, cpu))
    assert ours.defaults.get("fused") == (None if name == "lars" else True)
    for model, optimizer in ((gpu, ours), (cpu, theirs)):
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 0.5) + parameter.detach()
            optimizer.step()
    for one, other in zip(gpu.parameters(), cpu.parameters(), strict=True):
        assert torch.allclose(one.cpu(), other, atol=1e-6)
    again = create_optimizer(name, groups(gpu), 0.1, 0.9, 1e-3)
    load_optimizer_tensors(again, optimizer_tensors(ours))
    for key, value in optimizer_tensors(again).items():
        assert torch.equal(value, optimizer_tensors(ours)[key])
