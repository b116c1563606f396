"""The probing task: which images are tested on, and whose features are computed."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.tasks.pretrain import small
from tests.tiny import table
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.ssl import find_random_views
from uda.ssl.views import CropFlip
from uda.tasks.pretrain import Pool
from uda.tasks.probe import PROBES, Probe, Probing, check_classes, held_out


def probe(probing: Probing | None = None, test: ImageTable | None = None, **changes: np.ndarray) -> Probe:
    """Return a probe of a random network on 24 images of three classes."""
    pretrain = small.task(small.recipe({"objectives": ["rotation"]}), test=test)
    pool: Pool = dataclasses.replace(pretrain.pool, **changes)
    torch.manual_seed(0)
    encoder = create_encoder("smallconv", "none", small.SIZE)
    view = find_random_views("contrast")(small.SIZE)
    return Probe(encoder, probing or Probing(), pool, CropFlip(small.SIZE), view, seed=0)


# held-out images


def test_a_fifth_of_each_class_is_held_out_and_is_in_no_training() -> None:
    labels = np.repeat([0, 1, 2, -1], [10, 5, 1, 4])
    held = held_out(labels)
    assert np.bincount(labels[held]).tolist() == [2, 1]  # 2 of 10, 1 of 5, none of a single image
    task = probe(labels=np.repeat([0, 1, 2], 8), usable=np.repeat([0, 1, 2], 8))
    assert set(task.train_rows.tolist()) & set(task.test_rows.tolist()) == set()
    assert sorted([*task.train_rows, *task.test_rows]) == list(range(24))
    train, test = task.splits()
    # 1.6 of 8 is 2
    assert (np.bincount(train.labels).tolist(), np.bincount(test.labels).tolist()) == ([6, 6, 6], [2, 2, 2])
    everything = task._split(task.pool.images, np.arange(24), task.pool.labels).features
    assert torch.allclose(train.features, everything[task.train_rows], atol=1e-5)
    assert torch.allclose(test.features, everything[task.test_rows], atol=1e-5)


def test_a_share_of_the_labels_leaves_the_test_images_as_they_are() -> None:
    full = probe()
    usable = np.full(24, -1)
    usable[full.train_rows[::3]] = full.pool.labels[full.train_rows[::3]]
    few = probe(usable=usable)
    assert np.array_equal(few.test_rows, full.test_rows)
    assert np.array_equal(few.train_rows, full.train_rows[::3])
    assert np.array_equal(few.splits()[0].labels, full.pool.labels[few.train_rows])


def test_a_test_split_is_tested_on_where_it_is_labelled() -> None:
    test = table("test", small.KINDS, 2, noise=21)
    task = probe(test=dataclasses.replace(test, labels=np.array([0, -1, 1, 1, 2, 2])))
    train, tested = task.splits()
    assert len(train.features) == 24
    assert task.test_rows.tolist() == [0, 2, 3, 4, 5]
    assert tested.labels.tolist() == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("labels", [np.full(24, -1), np.zeros(24, dtype=int)])
def test_fewer_than_two_classes_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(UserError, match="labelled images of at least two classes are needed; name a folder with"):
        check_classes(labels)
    with pytest.raises(UserError, match="at least two classes"):
        probe(labels=labels)


def test_classes_of_one_image_leave_none_to_test_on() -> None:
    with pytest.raises(UserError, match="a second image of some class is needed to test on; add images, or a"):
        held_out(np.array([0, 1, 2, -1]))


# features


def test_only_what_is_asked_for_is_answered() -> None:
    task = probe(Probing(probes=["knn"], k=3))
    assert set(task.evaluate()) == {"knn_accuracy"}
    assert set(probe(Probing(episodes=2)).evaluate()) == {
        *("knn_accuracy", "linear_accuracy", "svm_accuracy", "linear_accuracy_1", "linear_accuracy_10"),
        *("fewshot_accuracy_1", "fewshot_accuracy_5", "alignment", "uniformity", "effective_rank", "feature_std"),
    }


def test_the_second_view_is_computed_where_the_geometry_is_asked_for() -> None:
    _, test = probe(Probing(probes=["geometry"])).splits()
    assert not torch.equal(test.twin, test.features)
    _, plain = probe(Probing(probes=["knn"])).splits()
    assert plain.twin is plain.features
    assert torch.equal(plain.features, test.features)


def test_an_inner_layer_has_features_of_its_own() -> None:
    task = probe(Probing(probes=["linear"], layer="stages.1"))
    train, _ = task.splits()
    assert train.features.shape[1] == 64
    views = task.view.plain(task.pool.images.batch(task.train_rows))
    task.eval()
    with torch.no_grad():
        stages = task.encoder.backbone.stages
        by_hand = stages[1](stages[0]((views - task.encoder.mean) / task.encoder.std)).mean(dim=(2, 3))
    assert torch.allclose(train.features, by_hand, atol=1e-5)


def test_the_network_is_left_as_it_was() -> None:
    task = probe(Probing(probes=["linear"]))
    before = {key: value.clone() for key, value in task.state_dict().items()}
    task.train()
    task.evaluate()
    assert task.training
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


# options


def test_shares_for_fine_tuning_have_one_name_each() -> None:
    shares = ["1%", "10%", "0.1", "40", "2.5 %", "1 label"]
    # 10% and 0.1 are the same share
    assert list(Probing(finetune=shares).finetune) == ["1", "10", "40_labels", "2.5", "1_labels"]


@pytest.mark.parametrize("share", ["foo", "0%", "1", "200%"])
def test_a_share_that_is_none_is_refused_at_once(share: str) -> None:
    with pytest.raises(UserError, match=r"method.finetune wants shares of the labels, such as \[1%, 10%\]: --labels"):
        Probing(finetune=[share])


def test_a_probe_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown probe 'linar': did you mean linear\?.*method.probes=\[knn, linear\]"):
        Probing(probes=["linar"])
    assert Probing().probes == tuple(PROBES)
