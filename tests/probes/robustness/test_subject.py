"""What a report asks of a model, by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.probes.robustness.toy import LEFT, RIGHT, Halves, classifier, images
from uda.probes.robustness import ClassMapped, Subject, outputs


def test_logits_and_features_are_those_of_all_images_in_order() -> None:
    subject = Subject(Halves(), classifier()).train()
    found = outputs(subject, images(LEFT, RIGHT), batch_size=3, details=True)
    wanted = np.stack([LEFT, RIGHT], axis=1) / 255
    assert found.features.numpy() == pytest.approx(wanted, abs=1e-6)
    assert found.logits.numpy() == pytest.approx(10 * wanted, abs=1e-5)
    assert found.answers.tolist() == [0, 1, 0, 1]
    assert found.turned is None
    assert subject.training  # as it was


def test_a_whole_model_shows_no_features() -> None:
    found = outputs(Subject(nn.Sequential(Halves(), classifier())), images(LEFT, RIGHT), details=True)
    assert found.features is None
    assert found.logits.shape == (4, 2)


def test_turns_are_asked_of_turned_images_each_in_its_row() -> None:
    turns = nn.Linear(2, 4, bias=False)
    with torch.no_grad():
        turns.weight.copy_(torch.tensor([[1.0, 0], [0, 1.0], [0, 0], [0, 0]]))
    found = outputs(Subject(Halves(), classifier(), turns), images([255], [0]), details=True)
    # Upright the left half is white; a half turn makes it the right one; a quarter turn leaves both at one half.
    wanted = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.5, 0.5, 0, 0]]
    assert found.turned[0].numpy() == pytest.approx(np.array(wanted), abs=1e-6)


def test_a_class_map_adds_probabilities_up() -> None:
    own = nn.Linear(1, 4)
    with torch.no_grad():
        own.weight.zero_()
        own.bias.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    mapped = ClassMapped(own, [[0, 2], [3]])(torch.zeros(1, 1)).softmax(1)
    # 0.1 + 0.3 against 0.4; class 1 belongs to none, and the rest is divided by 0.8
    assert mapped[0].tolist() == pytest.approx([0.5, 0.5])


def test_without_images_there_is_nothing_to_ask() -> None:
    with pytest.raises(ValueError, match="no images"):
        outputs(Subject(Halves()), images([], []))
