import math

import pytest
import torch
import torch.nn.functional as F

from tests.ssl import small
from uda.errors import UserError
from uda.ssl.npid import NPID
from uda.ssl.seeded import SeededViews


def test_softmax_over_the_whole_memory() -> None:
    network, batch = small.encoder(), small.batch(8)
    objective = small.made(NPID, network, temperature=0.2)
    views = objective.views(batch, small.CLOCK)
    features = network(views.images)
    loss = objective.loss(features, views)
    v = F.normalize(objective.projector(features))
    logits = v @ objective.bank.rows.T / 0.2
    expected = sum(-logits[i].log_softmax(0)[i].item() for i in range(8)) / 8
    assert loss.value.item() == pytest.approx(expected, rel=1e-5)
    assert loss.chance == math.log(16)


def test_nce_estimates_the_constant_in_the_first_batch_and_keeps_it() -> None:
    network, batch = small.encoder(), small.batch(8)
    objective = small.made(NPID, network, form="nce", negatives=50, temperature=0.2)
    views = objective.views(batch, small.CLOCK)
    assert isinstance(views, SeededViews)
    features = network(views.images)
    loss = objective.loss(features, views)
    v, rows = F.normalize(objective.projector(features)).double(), objective.bank.rows.double()
    drawn = rows[torch.randint(16, (50,), generator=views.generator())]
    data, noise = (v * rows[:8]).sum(1).div(0.2).exp(), (v @ drawn.T).div(0.2).exp()
    z = 16 * torch.cat([data[:, None], noise], 1).mean()
    # P / (P + K/n), once for the data and for each noise row its complement
    of_data, of_noise = data / z / (data / z + 50 / 16), (50 / 16) / (noise / z + 50 / 16)
    expected = -(of_data.log() + of_noise.log().sum(1)).mean()
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert objective.z == 0
    objective.after_step(loss.carry)
    assert objective.z.item() == pytest.approx(z.item(), rel=1e-5)
    again = objective(network, small.batch(8, seed=3), small.CLOCK)
    objective.after_step(again.carry)
    assert objective.z.item() == pytest.approx(z.item(), rel=1e-5)


def test_the_memory_moves_halfway_and_stays_on_the_sphere() -> None:
    network, batch = small.encoder(), small.batch(8)
    objective = small.made(NPID, network)
    old = objective.bank.rows.clone()
    assert torch.allclose(old.norm(dim=1), torch.ones(16))
    views = objective.views(batch, small.CLOCK)
    features = network(views.images)
    objective.after_step(objective.loss(features, views).carry)
    new = F.normalize(objective.projector(features))
    assert torch.allclose(objective.bank.rows[:8], F.normalize(0.5 * old[:8] + 0.5 * new), atol=1e-6)
    assert torch.equal(objective.bank.rows[8:], old[8:])


def test_the_noise_is_another_in_every_step_and_the_same_for_the_same_step() -> None:
    objective, batch = small.made(NPID, small.encoder(), form="nce"), small.batch()
    seeds = [objective.views(batch, small.Clock(step, 10, 1)).seed for step in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]


# NCE with rows that hardly move: with one batch alone the memory would collapse before the features spread
@pytest.mark.parametrize("options", [{}, {"form": "nce", "negatives": 64, "momentum": 0.99}])
def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch(options: dict[str, object]) -> None:
    network = small.encoder()
    objective = small.made(NPID, network, **options)
    first, last = small.falls_on_fixed_batch(objective, network, small.batch(), lr=0.02)
    assert small.gradient_reaches(network)
    assert last < 0.6 * first


@pytest.mark.parametrize("form", ["softmax", "nce"])
def test_a_copy_from_the_state_continues_exactly(form: str) -> None:
    assert small.continues_exactly(NPID, small.batch(), form=form)


@pytest.mark.parametrize("form", ["softmax", "nce"])
def test_the_placebo_has_other_rows(form: str) -> None:
    assert small.placebo_differs(NPID, small.batch(), form=form)


def test_negatives_are_refused_where_the_whole_memory_is_compared() -> None:
    network = small.encoder()
    with pytest.raises(UserError, match=r"objectives\.npid\.negatives=7 has no effect without form=nce; leave it out"):
        small.made(NPID, network, negatives=7)
    assert small.made(NPID, network, form="nce").negatives == 4096
