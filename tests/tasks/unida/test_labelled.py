"""Labelled target images: a term of their own, and nothing else moves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tasks.unida.small import small_data, small_task
from uda.clock import Clock
from uda.datasets.streams import FrozenFeatures
from uda.nn.encoder import FeatureEncoder
from uda.ssl.functional import hard_negative_one_vs_all
from uda.ssl.views import PickPass
from uda.tasks.unida import METHODS, UniDA, UnidaData
from uda.tasks.unida.ovanet import OvaNet

CLOCK = Clock(9, 10, 0, 12, 54)


def frozen(labelled: bool) -> UnidaData:
    """Return the small data as features of one pass, with 4 labelled target images or without."""
    data = small_data()
    generator = torch.Generator().manual_seed(3)
    passes = [torch.randn(1, n, 8, generator=generator) for n in (len(data.source), len(data.target), 4)]
    source, target, few = (FrozenFeatures(part) for part in passes)
    data = replace(data, source=source, target=target)
    return replace(data, labelled=few, labelled_labels=np.array([0, 0, 1, 2])) if labelled else data


def on_features(method: str, labelled: bool) -> UniDA:
    return small_task(method, data=frozen(labelled), encoder=FeatureEncoder(8, adapter=False), augment=PickPass())  # type: ignore[arg-type]


def losses_of(task: UniDA) -> dict[str, torch.Tensor]:
    batches = {name: stream.batch(9) for name, stream in task.streams().items()}
    torch.manual_seed(1)  # as the loop does before each step
    return task(batches, "all", CLOCK)


@pytest.mark.parametrize("method", METHODS)
def test_their_loss_is_added_and_no_other_term_changes(method: str) -> None:
    torch.manual_seed(0)
    without, task = on_features(method, labelled=False), on_features(method, labelled=True)
    task.load_state_dict(without.state_dict())
    plain, losses = losses_of(without), losses_of(task)
    assert set(losses) - set(plain) == {"labelled_target"}
    assert {name: float(value.detach()) for name, value in plain.items()} == pytest.approx(
        {name: float(losses[name].detach()) for name in plain}
    )
    few = task.streams()["labelled_target"].batch(9)
    assert few.labels is not None
    seen = few.images[:, 0]
    by_hand = F.cross_entropy(task.method.classifier(seen), few.labels)
    if isinstance(task.method, OvaNet):  # whose binary classifiers learn from labels too
        by_hand = by_hand + task.method.one_vs_all * hard_negative_one_vs_all(task.method.binary(seen), few.labels)
    assert float(losses["labelled_target"].detach()) == pytest.approx(float(by_hand.detach()))
    losses["labelled_target"].backward()
    assert task.method.classifier.weight.grad is not None
    assert float(task.method.classifier.weight.grad.abs().sum()) > 0


def test_they_are_drawn_class_by_class_and_no_more_than_there_are() -> None:
    stream = on_features("source_only", labelled=True).streams()["labelled_target"]
    rows = np.concatenate([stream.sampler(step) for step in range(600)])
    assert len(stream.sampler(0)) == 4  # a batch would be 6
    assert stream.labels is not None
    share = np.bincount(stream.labels[rows]) / len(rows)
    assert share == pytest.approx([1 / 3] * 3, abs=0.05)
    assert (stream.sampler(7) == stream.sampler(7)).all()


def test_they_pass_the_network_with_the_source() -> None:
    data = small_data()
    data = replace(data, labelled=data.target, labelled_labels=np.zeros(len(data.target), dtype=np.int64))
    task = small_task("source_only", data=data)
    sizes: list[int] = []
    task.encoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    losses = losses_of(task)
    assert sizes == [12]  # 6 of the source and 6 labelled ones in one pass: statistics of a few images say little
    assert set(losses) == {"classification", "labelled_target"}
