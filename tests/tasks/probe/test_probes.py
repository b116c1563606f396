"""What is asked of features, on features of which the answers are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from uda.metrics import alignment, effective_rank, uniformity
from uda.probes.low_label import labelled_rows
from uda.tasks.probe import PROBES, Figure, Probed, Split, accuracy_figure

CLASSES, DIM = 6, 12


def split(each: int, spread: float, seed: int) -> Split:
    """Return features around one axis a class, `each` of every class."""
    labels = np.repeat(np.arange(CLASSES), each)
    noise = torch.randn(len(labels), DIM, generator=torch.Generator().manual_seed(seed))
    features = 5 * torch.eye(CLASSES, DIM)[torch.from_numpy(labels)] + spread * noise
    return Split(features, labels, features)


def probed(spread: float = 0.1, train: int = 20, test: int = 20) -> Probed:
    return Probed(split(train, spread, 1), split(test, spread, 2), CLASSES, k=5, temperature=0.1, episodes=50, seed=0)


def test_classes_that_stand_apart_are_told_apart_by_every_probe() -> None:
    figures = {name: figure for probe in PROBES.values() for name, figure in probe(probed()).items()}
    accuracies = {name for name in figures if "accuracy" in name}
    assert accuracies == {
        *("knn_accuracy", "linear_accuracy", "svm_accuracy", "linear_accuracy_1", "linear_accuracy_10"),
        *("fewshot_accuracy_1", "fewshot_accuracy_5"),
    }
    # One image a class says little of which dimensions matter.
    assert {figures[name].value for name in accuracies - {"linear_accuracy_1"}} == {1.0}
    assert figures["linear_accuracy_1"].value > 0.8
    assert set(figures) - accuracies == {"alignment", "uniformity", "effective_rank", "feature_std"}


def test_every_accuracy_lies_in_its_interval() -> None:
    given = probed(spread=3.0)
    for probe in PROBES.values():
        for name, figure in probe(given).items():
            if "accuracy" not in name:
                assert figure.ci95 is None  # the geometry of these images, not an estimate over images
                continue
            assert figure.value is not None
            assert figure.ci95 is not None
            low, high = figure.ci95
            assert low < figure.value < high
            assert 1 / CLASSES < figure.value < 1


def test_nearest_neighbors_by_hand() -> None:
    # Directions at 0°, 10°, 20° of class 0 and at 90° of class 1; nearest to the query at 60° is 90°, then 20°.
    angles = np.deg2rad([0, 10, 20, 90])
    directions = torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], 1)).float()
    train = Split(directions, np.array([0, 0, 0, 1]), directions)
    query = torch.tensor([[np.cos(np.pi / 3), np.sin(np.pi / 3)]]).float()
    given = Probed(train, Split(query, np.array([1]), query), 2, k=1, temperature=0.1, episodes=2, seed=0)
    assert PROBES["knn"](given)["knn_accuracy"].value == 1
    # All four at a temperature that makes their votes nearly equal: three against one.
    assert PROBES["knn"](replace(given, k=4, temperature=100))["knn_accuracy"].value == 0


@pytest.mark.parametrize(
    ("test", "defined"),
    [(15, (False, False)), (16, (True, False)), (19, (True, False)), (20, (True, True))],
)
def test_few_shot_is_undefined_where_images_are_too_few(test: int, defined: tuple[bool, bool]) -> None:
    # An episode takes 15 images to ask about and 1 or 5 to learn from, of each of 5 classes.
    figures = PROBES["few_shot"](probed(test=test))
    assert [figures[f"fewshot_accuracy_{shots}"].value is not None for shots in (1, 5)] == list(defined)
    assert all((figure.ci95 is None) == (figure.value is None) for figure in figures.values())


@pytest.mark.parametrize(("originals", "defined"), [(15, False), (16, True)])
def test_few_shot_takes_one_image_of_each_group(originals: int, defined: bool) -> None:
    # Every image twice: as copies of one original they are as many as there are originals.
    once = split(originals, 0.1, 2)
    features, labels = once.features.repeat(2, 1), np.tile(once.labels, 2)
    twice = Split(features, labels, features, np.tile(np.arange(len(once.labels)), 2))
    given = replace(probed(), test=twice)
    found = PROBES["few_shot"](given)["fewshot_accuracy_1"]
    assert (found.value is not None) == defined
    assert found == PROBES["few_shot"](replace(given, test=once))["fewshot_accuracy_1"]


def test_few_shot_is_undefined_with_four_classes() -> None:
    given = probed()
    rows = np.flatnonzero(given.test.labels < 4)
    few = Split(given.test.features[rows], given.test.labels[rows], given.test.features[rows])
    found = PROBES["few_shot"](replace(given, test=few))
    assert found == {"fewshot_accuracy_1": Figure(None), "fewshot_accuracy_5": Figure(None)}


def test_few_labels_learn_from_few() -> None:
    # Of 120 images 1 % would be one: each of the 6 classes has its own. Spoiling all others changes nothing.
    given = probed(spread=1.0)
    taken = labelled_rows(given.train.labels, 0.1, seed=0)
    assert len(taken) == 12
    spoiled = given.train.features.clone()
    spoiled[np.setdiff1d(np.arange(120), taken)] = 1000.0
    other = replace(given, train=replace(given.train, features=spoiled))
    assert PROBES["few_labels"](other) == PROBES["few_labels"](given)
    assert PROBES["linear"](other) != PROBES["linear"](given)


def test_geometry_is_that_of_the_test_features() -> None:
    given = probed(spread=1.0, test=10)
    features = given.test.features
    assert PROBES["geometry"](given)["alignment"].value == 0  # the second view is the first
    twin = torch.randn(60, DIM, generator=torch.Generator().manual_seed(5))
    found = PROBES["geometry"](replace(given, test=replace(given.test, twin=twin)))
    assert found["alignment"].value == pytest.approx(alignment(features, twin))
    assert found["uniformity"].value == pytest.approx(uniformity(features))
    assert found["effective_rank"].value == pytest.approx(effective_rank(features))


def test_an_accuracy_and_its_interval_by_hand() -> None:
    figure = accuracy_figure(torch.tensor([0, 1, 1, 1]), np.array([0, 1, 1, 0]))
    assert figure.value == 0.75
    assert figure.ci95 is not None
    assert figure.ci95[0] < 0.75 < figure.ci95[1] == 1.0
    assert accuracy_figure(torch.tensor([]), np.array([])) == Figure(None)
