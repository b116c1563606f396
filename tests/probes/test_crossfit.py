"""Probes that name images they have not learned from."""

import numpy as np
import torch

from uda.probes.crossfit import FOLDS, cross_fitted, even_rows, fold_of


def test_folds_spread_every_class() -> None:
    labels = np.array([0] * 10 + [1] * 7 + [3] * 2)
    folds = fold_of(labels)
    for number, sizes in {0: [2] * 5, 1: [2, 2, 1, 1, 1], 3: [1, 1, 0, 0, 0]}.items():
        assert np.bincount(folds[labels == number], minlength=FOLDS).tolist() == sizes


def test_separable_classes_are_named_and_noise_is_not() -> None:
    labels = np.arange(200) % 4
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, 8, generator=generator)
    apart = noise + 8 * torch.nn.functional.one_hot(torch.from_numpy(labels), 8)
    named = cross_fitted(apart, labels, 4)
    assert named is not None
    assert (named == labels).mean() > 0.98
    # A probe that had seen the image would do far better than chance (0.25) in as many dimensions as images.
    wide = torch.randn(200, 200, generator=generator)
    blind = cross_fitted(wide, labels, 4)
    assert blind is not None
    assert (blind == labels).mean() < 0.4


def test_too_few_images_have_no_answer() -> None:
    assert cross_fitted(torch.randn(3, 2), np.array([0, 1, 2]), 3) is None
    assert cross_fitted(torch.randn(4, 2), np.array([0, 0, 0, 2]), 3) is None
    assert cross_fitted(torch.randn(0, 2), np.array([], dtype=np.int64), 3) is None
    # The single image of class 2 cannot be named as such: no probe that is asked about it has seen the class.
    one = cross_fitted(torch.randn(9, 2), np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]), 3)
    assert one is not None
    assert one[-1] != 2


def test_as_many_images_of_every_class_as_the_rarest_has() -> None:
    labels = np.array([0] * 10 + [1] * 7 + [3] * 2)
    rows = even_rows(labels)
    assert rows is not None
    assert np.bincount(labels[rows]).tolist() == [2, 2, 0, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert even_rows(np.arange(12) % 3).tolist() == list(range(12))  # type: ignore[union-attr]
    assert even_rows(np.array([0, 0, 0, 1])) is None


def test_a_tail_is_no_part_of_how_even_features_are() -> None:
    # Classes as far from one another; of the last one there are few. Probes on all images favor the frequent classes.
    sizes = [160, 40, 10]
    labels = np.repeat([0, 1, 2], sizes)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(210, 6, generator=generator) + 1.5 * torch.eye(3, 6)[torch.from_numpy(labels)]

    def accuracies(rows: np.ndarray) -> list[float]:
        named = cross_fitted(features[torch.from_numpy(rows)], labels[rows], 3)
        assert named is not None
        return [float((named == labels[rows])[labels[rows] == number].mean()) for number in range(3)]

    uneven, rows = accuracies(np.arange(210)), even_rows(labels)
    assert rows is not None
    even = accuracies(rows)
    assert uneven[0] - uneven[2] > 0.5
    assert abs(even[0] - even[2]) < 0.35


def test_no_group_is_learned_from_and_asked_about() -> None:
    # Noise, four copies of each image: whoever has learned from a copy knows the answer, and nobody else does.
    features = torch.randn(40, 64, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, dim=0)
    labels, groups = np.arange(160) // 80, np.arange(160) // 4
    fold = fold_of(labels, groups=groups)
    assert all(len(np.unique(fold[groups == group])) == 1 for group in range(40))
    assert all(np.bincount(fold[labels == label]).tolist() == [16] * 5 for label in (0, 1))
    named = cross_fitted(features, labels, 2)
    assert named is not None
    assert (named == labels).mean() == 1
    named = cross_fitted(features, labels, 2, groups=groups)
    assert named is not None
    assert (named == labels).mean() < 0.8
    assert cross_fitted(features, labels, 2, groups=labels) is None  # a class that is one group is not learned
