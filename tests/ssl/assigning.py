"""Calls of `assign` as a task makes them, for the tests of objectives that cluster."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tests.ssl import small
from uda.batch import Batch
from uda.clock import Clock
from uda.nn.encoder import Encoder
from uda.ssl.objective import Objective
from uda.ssl.views import to_float


def assign(objective: Objective, encoder: Encoder, batch: Batch, clock: Clock) -> list[nn.Parameter]:
    """Let the objective assign over the images of a batch, which are handed out seven at a time."""

    def views() -> Iterator[Tensor]:
        yield from to_float(batch.images).split(7)

    encoder.eval()
    with torch.no_grad():
        restarted = objective.assign(encoder, views, clock)
    encoder.train()
    return restarted


def losses(objective: Objective, encoder: Encoder, batch: Batch, clocks: list[Clock]) -> list[float]:
    """Train, assigning where it is due, without momentum; return the loss of every step."""
    optimizer = torch.optim.SGD([p for p in (*encoder.parameters(), *objective.parameters()) if p.requires_grad], 0.05)
    found = []
    for clock in clocks:
        if objective.assign_due(clock):
            assign(objective, encoder, batch, clock)
        found.append(small.step(objective, encoder, batch, optimizer, clock))
    return found


def continues_exactly(make: type[Objective], batch: Batch, clocks: list[Clock], **options: object) -> bool:
    """Return whether a copy restored half way through the clocks has the losses of the run that went on."""

    def fresh(seed: int) -> tuple[Objective, Encoder]:
        network = small.encoder()
        torch.manual_seed(seed)
        return make(network, small.info(len(batch)), **options), network

    half = len(clocks) // 2
    first, network = fresh(1)
    losses(first, network, batch, clocks[:half])
    second, other = fresh(2)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(network.state_dict())
    return losses(first, network, batch, clocks[half:]) == losses(second, other, batch, clocks[half:])
