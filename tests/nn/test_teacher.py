"""The momentum teacher."""

import pytest
import torch
from torch import nn

from uda.nn.teacher import Teacher, cosine_momentum


def student() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def test_it_starts_as_a_copy_that_shares_nothing() -> None:
    network = student()
    teacher = Teacher(network)
    x = torch.randn(5, 3)
    assert torch.equal(teacher.eval()(x), network.eval()(x))
    with torch.no_grad():
        network[0].weight.add_(1)
    assert not torch.equal(teacher.module[0].weight, network[0].weight)


def test_no_gradient_reaches_it_or_passes_it() -> None:
    teacher = Teacher(student())
    x = torch.randn(5, 3, requires_grad=True)
    assert not teacher(x).requires_grad
    assert not any(p.requires_grad for p in teacher.parameters())


def test_update_by_hand() -> None:
    network = nn.Linear(1, 1)
    with torch.no_grad():
        network.weight.fill_(2.0)
        network.bias.fill_(-1.0)
    teacher = Teacher(network)
    with torch.no_grad():
        network.weight.fill_(4.0)
        network.bias.fill_(3.0)
    teacher.update(network, 0.75)
    # 0.75·2 + 0.25·4 = 2.5 and 0.75·(−1) + 0.25·3 = 0
    assert teacher.module.weight.item() == pytest.approx(2.5)
    assert teacher.module.bias.item() == pytest.approx(0.0, abs=1e-7)
    assert (network.weight.item(), network.bias.item()) == (4.0, 3.0)


@pytest.mark.parametrize(("momentum", "of_the_student"), [(1.0, False), (0.0, True)])
def test_the_ends_of_momentum_are_exact(momentum: float, of_the_student: bool) -> None:
    network = student()
    teacher = Teacher(network)
    before = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    teacher.update(network, momentum)
    expected = list(network.parameters()) if of_the_student else before
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), expected, strict=True))


def test_batch_statistics_are_its_own() -> None:
    network = student()
    teacher = Teacher(network)
    network.train()
    network(torch.randn(8, 3) + 5)
    teacher.update(network, 0.0)
    assert torch.equal(teacher.module[1].running_mean, torch.zeros(4))  # not the student's
    teacher.train()
    teacher(torch.randn(8, 3) + 5)
    assert teacher.module[1].num_batches_tracked.item() == 1
    assert teacher.module[1].running_mean.abs().sum() > 0


def test_it_is_state_and_survives_a_restart() -> None:
    network = student()
    teacher, other = Teacher(network), Teacher(student())
    with torch.no_grad():
        network[0].weight.add_(1)
    teacher.update(network, 0.5)
    other.load_state_dict(teacher.state_dict())
    assert all(torch.equal(p, q) for p, q in zip(other.parameters(), teacher.parameters(), strict=True))


def test_momentum_rises_along_half_a_cosine() -> None:
    # 1 − (1 − 0.99)·(cos(π·t) + 1)/2 at t = 0, ½ and 1: 0.99, 1 − 0.01/2, 1
    assert [cosine_momentum(0.99, t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.99, 0.995, 1.0])
