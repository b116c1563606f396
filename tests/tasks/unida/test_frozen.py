import dataclasses
from pathlib import Path

import numpy as np
import torch

from tests.tasks.unida.small import N_SOURCE, N_TARGET, run, small_data, small_task
from uda.clock import Clock
from uda.datasets.streams import FrozenFeatures, Stream
from uda.nn.encoder import FeatureEncoder
from uda.ssl.views import PickPass
from uda.tasks.unida import UniDA


def frozen_task(adapter: bool, method: str = "dance") -> UniDA:
    data = small_data()
    generator = torch.Generator().manual_seed(0)
    source, target = (FrozenFeatures(torch.randn(3, n, 8, generator=generator)) for n in (N_SOURCE, N_TARGET))
    frozen = dataclasses.replace(data, source=source, target=target)
    task = small_task(method, data=frozen, encoder=FeatureEncoder(8, adapter), augment=PickPass())
    task.view = lambda passes: passes[:, 0]
    return task


def test_frozen_features_hand_out_all_passes_of_the_rows_asked_for() -> None:
    passes = torch.arange(2 * 3 * 2).view(2, 3, 2).float()
    images = FrozenFeatures(passes)
    assert len(images) == 3
    # pass 0 of rows 2 and 0 is (4, 5) and (0, 1); pass 1 is 6 more
    assert images.batch(np.array([2, 0])).tolist() == [[[4, 5], [10, 11]], [[0, 1], [6, 7]]]
    batch = Stream("target", images, lambda step: np.array([2, 0])).batch(0)
    picked = PickPass()(batch, Clock(0, 1))
    assert picked.shape == (2, 2)
    assert picked[0].tolist() in ([4, 5], [10, 11])


def test_frozen_features_without_adapter_train_the_head_alone(tmp_path: Path) -> None:
    task = frozen_task(adapter=False)
    (groups,) = task.players().values()
    assert [(len(group["params"]), group["lr_scale"]) for group in groups] == [(1, 1.0)]
    assert groups[0]["params"][0] is task.method.classifier.weight
    before = task.answer(task.data.target)
    run(task, tmp_path)
    after = task.answer(task.data.target)
    assert np.array_equal(before.features, after.features)
    assert not np.allclose(before.probabilities, after.probabilities)


def test_an_adapter_moves_frozen_features_at_the_heads_rate(tmp_path: Path) -> None:
    task = frozen_task(adapter=True)
    (groups,) = task.players().values()
    assert [group["lr_scale"] for group in groups] == [1.0]
    before = task.answer(task.data.target)
    assert isinstance(task.data.target, FrozenFeatures)
    assert np.array_equal(before.features, task.data.target.passes[0].numpy())  # pass 0, and the identity at the start
    run(task, tmp_path)
    assert not np.allclose(before.features, task.answer(task.data.target).features)
