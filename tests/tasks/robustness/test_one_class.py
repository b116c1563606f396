"""One class: what is learned from, and the score of what is not of it, by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.ssl.test_rotation import AUGMENT, rotation, slopes, small_encoder
from uda.clock import Clock
from uda.errors import UserError
from uda.metrics import auroc
from uda.ssl import Info, TurnShift
from uda.ssl.random_views import Weak
from uda.tasks.robustness import OneClass
from uda.tasks.robustness.one_class import transform_score


def test_the_normal_class_is_named_or_the_first() -> None:
    names = ("ant", "bee", "cow")
    assert OneClass.number_of(None, names) == 0
    assert OneClass.number_of("cow", names) == 2
    with pytest.raises(UserError, match="'dog' is no class of these images; name one of ant, bee, cow"):
        OneClass.number_of("dog", names)


def test_heads_that_know_nothing_score_the_sum_of_chance() -> None:
    encoder, views = small_encoder().eval(), AUGMENT(slopes(3), Clock(0, 1))
    turns = rotation(encoder)
    nn.init.zeros_(turns.head.weight)
    nn.init.zeros_(turns.head.bias)
    # four turns, log 4 each
    assert transform_score(encoder, turns, views).tolist() == pytest.approx([4 * math.log(4)] * 3)
    shifts = TurnShift(encoder, Info(3, 0, 16, 0, AUGMENT, Weak(16)))
    for head in shifts.heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    # 36 transforms, log 4 + 2 log 3 each
    assert transform_score(encoder, shifts, views).tolist() == pytest.approx([36 * math.log(36)] * 3, rel=1e-5)


def test_what_has_no_upright_side_is_told_from_what_was_learned() -> None:
    encoder = small_encoder()
    torch.manual_seed(0)
    objective, batch = rotation(encoder), slopes()
    optimizer = torch.optim.SGD([*encoder.parameters(), *objective.parameters()], lr=0.05, momentum=0.9)
    for step in range(15):
        optimizer.zero_grad()
        objective(encoder, batch, Clock(step, 15)).value.backward()
        optimizer.step()
    flat = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    encoder.eval()
    with torch.no_grad():
        known = transform_score(encoder, objective, AUGMENT(slopes(), Clock(99, 100)))
        unknown = transform_score(encoder, objective, flat)
    assert auroc(known.numpy(), unknown.numpy()) > 0.95
    assert np.isfinite(known.numpy()).all()
