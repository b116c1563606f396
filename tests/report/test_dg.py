"""The page of domain generalization: which images are shown, and the figure of activation maps."""

import numpy as np
import pytest

from tests.report.reading import pixels
from uda.report.cam import activation_figure
from uda.report.dg import select_examples


def test_classes_take_turns_among_the_confident_and_errors_are_the_surest() -> None:
    predictions = np.array([0, 0, 0, 1, 1])
    confidences = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    found = select_examples(predictions, confidences, labels=np.array([0, 1, -1, 0, 1]))
    assert found["confident"].tolist() == [0, 3, 1, 4, 2]
    assert found["errors"].tolist() == [1, 3]  # the unlabelled one is no error


def test_the_figure_has_a_row_for_each_image_and_a_column_for_each_model() -> None:
    images = np.full((2, 3, 16, 16), 128, dtype=np.uint8)
    maps = np.zeros((2, 2, 2), dtype=np.float32)
    maps[:, 0, 0] = 1.0
    captions = [["ant", "says ant", "says bee"]] * 2
    both = pixels(activation_figure(images, [("ours", maps), ("theirs", -maps)], captions))
    one = pixels(activation_figure(images[:1], [("ours", maps[:1])], [captions[0][:2]]))
    assert both.shape[0] > 1.5 * one.shape[0]
    assert both.shape[1] > 1.3 * one.shape[1]
    with pytest.raises(ValueError, match="2 images need"):
        activation_figure(images, [("ours", maps[:1])], captions)
