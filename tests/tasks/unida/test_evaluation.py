import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.tasks.unida.small import N_TARGET, SIZE, run, small_data, small_task
from uda.errors import UserError
from uda.metrics import UNIDA_METRICS
from uda.probes.rejection import RULES
from uda.probes.selection import COLUMN, VALIDATORS
from uda.ssl.views import CropFlip, center_crop
from uda.tasks.unida import METHODS, Answer


@pytest.mark.parametrize("method", sorted(METHODS))
def test_evaluation_returns_the_metrics_that_were_promised(tmp_path: Path, method: str) -> None:
    task = small_task(method)
    metrics = run(task, tmp_path)
    assert set(metrics) == set(task.metric_names) == {*UNIDA_METRICS, *(COLUMN + name for name in VALIDATORS)}
    assert all(metrics[name] is not None and 0 <= metrics[name] <= 1 for name in UNIDA_METRICS)
    assert json.dumps(metrics, allow_nan=False)
    last = pd.read_csv(tmp_path / "history.csv").iloc[-1]
    assert last["universal_score"] == pytest.approx(metrics["universal_score"])


def test_evaluation_uses_the_deterministic_view_and_leaves_the_mode_alone() -> None:
    task = small_task(augment=CropFlip(SIZE)).train()
    answer = task.answer(task.data.target)
    assert task.training
    task.eval()
    with torch.no_grad():
        features = task.encoder(center_crop(task.data.target.batch(np.arange(N_TARGET)), SIZE))
        logits = task.method.classifier(features)
    assert np.allclose(answer.features, features, atol=1e-5)
    assert np.allclose(answer.probabilities, logits.softmax(1), atol=1e-5)
    expected = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    assert np.allclose(answer.scores, expected, atol=1e-5)  # entropies in nats
    assert answer.threshold == pytest.approx(math.log(3) / 2)  # the fixed rule


def test_an_answer_by_hand() -> None:
    answer = Answer(
        features=np.zeros((3, 1)),
        probabilities=np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4]]),
        scores=np.array([0.8, 0.9, 1.1]),
        threshold=0.9,
    )
    assert answer.closed.tolist() == [0, 1, 2]
    assert answer.predictions.tolist() == [0, 1, 3]  # a score at the threshold is still known
    assert answer.confidences.tolist() == [0.7, 0.5, 0.4]


def test_a_given_threshold_is_taken_and_no_rule_asked() -> None:
    task = small_task(rejection="otsu")
    assert task.answer(task.data.target, threshold=0.25).threshold == 0.25


def test_the_threshold_is_part_of_the_model() -> None:
    task = small_task()
    assert math.isnan(float(task.state_dict()["threshold"]))
    task.evaluate()
    assert task.last_answer is not None
    assert float(task.state_dict()["threshold"]) == task.last_answer.threshold
    other = small_task()
    other.load_state_dict(task.state_dict())
    assert float(other.threshold) == task.last_answer.threshold


def test_every_rule_is_measured_at_its_own_threshold() -> None:
    task = small_task()
    task.evaluate()
    answer = task.last_answer
    assert answer is not None
    kept = float(task.threshold)
    found = task.measure_by_rule(answer)
    assert set(found) == set(RULES)
    for metrics in found.values():
        threshold = metrics["threshold"]
        assert threshold is not None
        rejected = answer.scores > threshold
        private = task.data.target_labels >= 3
        assert metrics["unknown_accuracy"] == pytest.approx(rejected[private].mean())
    assert found["fixed"]["threshold"] == pytest.approx(math.log(3) / 2)
    assert len({metrics["auroc"] for metrics in found.values()}) == 1  # no threshold in it
    assert float(task.threshold) == kept


def test_an_unlabelled_target_has_no_metrics_but_an_answer(tmp_path: Path) -> None:
    data = dataclasses.replace(small_data(), target_labels=np.full(N_TARGET, -1))
    task = small_task(data=data)
    metrics = run(task, tmp_path, steps=2)
    assert {metrics[name] for name in UNIDA_METRICS} == {None}
    assert task.last_answer is not None
    assert len(task.last_answer.predictions) == N_TARGET


def test_a_closed_target_has_no_unknown_accuracy() -> None:
    data = small_data()
    task = small_task(data=dataclasses.replace(data, target_labels=np.arange(N_TARGET) % 3))
    metrics = task.evaluate()
    assert metrics["unknown_accuracy"] is None
    assert metrics["h_score"] is None
    assert metrics["universal_score"] == metrics["known_accuracy"]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # k-means on features that coincide
def test_private_classes_are_one_unknown_class_and_apart_for_the_clustering_figure() -> None:
    task = small_task()
    labels = task.data.target_labels
    features = np.eye(5)[labels]  # perfectly apart
    answer = Answer(features, np.eye(3)[np.minimum(labels, 2)], (labels >= 3).astype(float), 0.5)
    metrics = task.measure(answer)
    assert metrics["h_score"] == 1.0
    assert metrics["nmi"] == pytest.approx(1.0)
    merged = dataclasses.replace(answer, features=np.eye(5)[np.minimum(labels, 3)])  # both private classes at one point
    assert task.measure(merged)["nmi"] == pytest.approx(0.0, abs=1e-6)


def test_an_unknown_rejection_rule_is_refused() -> None:
    with pytest.raises(UserError, match="unknown rejection rule 'ostu': did you mean otsu"):
        small_task(rejection="ostu")
