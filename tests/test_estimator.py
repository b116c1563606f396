from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from tests.feature_pair import NAMES, WIDTH, Pair, make_pair, quick
from tests.tiny import tiny_domains, tiny_recipe
from uda import UniversalClassifier
from uda.datasets.streams import FrozenFeatures
from uda.errors import UserError
from uda.experiments.experiment import Settings
from uda.experiments.unida.assemble import build_task, prepare_inputs, unida_data
from uda.experiments.unida.experiment import UnidaExperiment
from uda.tasks.unida import METHODS
from uda.training.checkpoint import Identity

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture(scope="module")
def adapted(pair: Pair) -> UniversalClassifier:
    return quick(steps=100).fit(pair.source, NAMES[pair.source_classes], pair.target)


# --- what it finds


def test_known_rows_are_named_and_unknown_ones_rejected(pair: Pair, adapted: UniversalClassifier) -> None:
    truth = np.where(pair.target_classes < 4, NAMES[pair.target_classes], "unknown")
    predicted = adapted.predict(pair.target)
    for name in ("ant", "bee", "cow", "unknown"):
        assert (predicted[truth == name] == name).mean() > 0.9
    assert adapted.score(pair.target, truth) == (predicted == truth).mean()


def test_scores_probabilities_and_threshold_belong_together(pair: Pair, adapted: UniversalClassifier) -> None:
    predicted, probabilities = adapted.predict(pair.target), adapted.predict_proba(pair.target)
    assert adapted.classes_.tolist() == ["ant", "bee", "cow", "dog"]
    assert probabilities.shape == (150, 4)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)
    rejected = adapted.unknown_score(pair.target) > adapted.threshold_
    assert np.array_equal(predicted == "unknown", rejected)
    assert 0 < rejected.sum() < 150
    decision = adapted.decision_function(pair.target)
    assert np.exp(decision) == pytest.approx(probabilities, abs=1e-6)
    assert np.array_equal(predicted[~rejected], adapted.classes_[decision.argmax(1)][~rejected])


def test_of_two_classes_the_decision_is_the_log_odds_of_the_second(pair: Pair) -> None:
    two = pair.source_classes < 2
    found = quick().fit(pair.source[two], pair.source_classes[two], pair.target)
    probabilities, decision = found.predict_proba(pair.target), found.decision_function(pair.target)
    assert decision.shape == (150,)
    assert 1 / (1 + np.exp(-decision)) == pytest.approx(probabilities[:, 1], abs=1e-5)


def test_a_row_is_judged_on_its_own(pair: Pair, adapted: UniversalClassifier) -> None:
    assert adapted.predict(pair.target[7:8])[0] == adapted.predict(pair.target)[7]


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_the_numbers_are_those_of_frozen_mode(method: str, adapter: bool, tmp_path: Path) -> None:
    layer = {"method": method, "encoder": {"freeze": True, "adapter": adapter, "passes": 1}}
    recipe = tiny_recipe(layer, {"seeds": [5]})
    domains = tiny_domains(recipe)
    inputs = prepare_inputs(recipe, domains, CPU, progress=False)
    task = build_task(recipe, unida_data(domains, inputs), inputs.backbone, 5)
    UnidaExperiment().fit(recipe, task, tmp_path, Identity("", ""), 5, Settings(CPU, progress=False))
    answer = task.last_answer
    assert answer is not None

    assert isinstance(inputs.source, FrozenFeatures)
    assert isinstance(inputs.target, FrozenFeatures)
    source, target = (side.passes[0].numpy() for side in (inputs.source, inputs.target))
    names = np.array(domains.class_names)
    found = UniversalClassifier(method, adapter=adapter, steps=12, batch_size=6, lr=0.05, random_state=5, device="cpu")
    found.fit(source, names[domains.source.table.labels], target)
    assert found.threshold_ == pytest.approx(answer.threshold, abs=1e-6)
    assert found.unknown_score(target) == pytest.approx(answer.scores, abs=1e-6)
    assert found.predict_proba(target) == pytest.approx(answer.probabilities, abs=1e-6)
    clear = abs(answer.scores - answer.threshold) > 1e-5
    assert clear.any()
    assert np.array_equal(found.predict(target)[clear], np.append(names, "unknown")[answer.predictions][clear])


@pytest.mark.parametrize("method", METHODS)
def test_without_a_target_every_method_is_source_only_and_rejects_nothing(pair: Pair, method: str) -> None:
    y = NAMES[pair.source_classes]
    found, baseline = (quick(method=name).fit(pair.source, y) for name in (method, "source_only"))
    assert np.array_equal(found.predict_proba(pair.target), baseline.predict_proba(pair.target))
    assert found.threshold_ == np.inf
    assert set(found.predict(pair.target)) <= set(y)


def test_without_a_target_the_methods_options_are_checked_and_the_common_ones_used(pair: Pair) -> None:
    with pytest.raises(UserError, match=r"recipe key 'method\.eta' cannot be -1"):
        quick(method_options={"eta": -1}).fit(pair.source, pair.source_classes)
    hot, cold = (
        quick(method_options={"temperature": t}).fit(pair.source, pair.source_classes).predict_proba(pair.target).max(1)
        for t in (1.0, 0.05)
    )
    assert hot.max() < cold.min() + 0.5 < cold.max() + 0.5  # cosines of 1 / 1.0: at most e / (e + 3/e) = 0.71
    assert hot.max() < 0.72 < cold.max()


# --- labels


@pytest.mark.parametrize(
    ("classes", "parameter", "unknown"),
    [
        (NAMES, None, "unknown"),
        (NAMES.astype(object), None, "unknown"),
        (np.arange(6), None, -1),
        (np.arange(6).astype(np.uint8), None, -1),
        (np.arange(6), 99, 99),
        (np.arange(6), "new", "new"),
        (NAMES, -1, -1),
        (NAMES, "a longer name", "a longer name"),
    ],
)
def test_the_unknown_label_goes_with_the_classes(pair: Pair, classes: Any, parameter: Any, unknown: Any) -> None:
    found = quick(unknown_label=parameter).fit(pair.source, classes[pair.source_classes], pair.target)
    predicted = found.predict(pair.target).tolist()
    assert found.unknown_label_ == unknown
    assert set(predicted) <= {*classes[:4].tolist(), unknown}
    rejected = found.unknown_score(pair.target) > found.threshold_
    assert rejected.any()
    assert [label == unknown for label in predicted] == rejected.tolist()


def test_a_class_cannot_stand_for_unknown(pair: Pair) -> None:
    y = pair.source_classes - 1
    quick().fit(pair.source, y)  # nothing is rejected, nothing is confused
    with pytest.raises(UserError, match="'-1' is a class of y and cannot stand for unknown too; give another"):
        quick().fit(pair.source, y, pair.target)
    assert -9 in quick(unknown_label=-9).fit(pair.source, y, pair.target).predict(pair.target)


# --- arrays


def test_arrays_frames_and_tensors_of_both_precisions_are_the_same_features(pair: Pair) -> None:
    wanted = quick().fit(pair.source.astype(np.float32), pair.source_classes, pair.target.astype(np.float32))
    wanted_scores = wanted.unknown_score(pair.target)
    columns = [f"f{number}" for number in range(WIDTH)]

    def frame(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, columns=columns)

    for made in (
        np.asarray,
        np.asfortranarray,
        frame,
        torch.from_numpy,
        lambda x: torch.from_numpy(x).requires_grad_(),
    ):
        labels = torch.from_numpy(pair.source_classes) if made is torch.from_numpy else pd.Series(pair.source_classes)
        found = quick().fit(made(pair.source), labels, made(pair.target))
        assert np.array_equal(found.unknown_score(made(pair.target)), wanted_scores)
        assert found.n_features_in_ == WIDTH
        assert hasattr(found, "feature_names_in_") == (made is frame)
    named = quick().fit(frame(pair.source), pair.source_classes)
    assert named.feature_names_in_.tolist() == columns


def test_the_features_given_are_not_changed(pair: Pair) -> None:
    source, target = pair.source.astype(np.float32), pair.target.astype(np.float32)
    quick(adapter=True).fit(source, pair.source_classes, target)
    assert np.array_equal(source, pair.source.astype(np.float32))
    assert np.array_equal(target, pair.target.astype(np.float32))


def test_targets_of_no_use_are_refused_as_scikit_learn_does(pair: Pair) -> None:
    holes = pair.target.copy()
    holes[3, 4] = np.nan
    for target, words in (
        (holes, "contains NaN"),
        (np.full_like(pair.target, np.inf), "contains infinity or a value too large"),
        (pair.target[:, :5], "X has 5 features, but UniversalClassifier is expecting 128"),
        (pair.target[0], "Expected 2D array"),
        (pair.target[:0], "0 sample"),
    ):
        with pytest.raises(ValueError, match=words):
            quick().fit(pair.source, pair.source_classes, target)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        quick().fit(pair.source, pair.source_classes, csr_matrix(pair.target))
    frames = [pd.DataFrame(side).add_prefix(letter) for side, letter in ((pair.source, "a"), (pair.target, "b"))]
    with pytest.raises(ValueError, match="feature names"):
        quick().fit(frames[0], pair.source_classes, frames[1])


# --- the user's mistakes


def test_useless_parameters_are_refused_before_anything_trains(pair: Pair) -> None:
    for parameters, words in (
        ({"method": "danse"}, "unknown method 'danse': did you mean dance"),
        ({"method_options": {"temprature": 1}}, r"unknown recipe key 'method\.temprature': did you mean"),
        ({"rejection": "otzu"}, "unknown rejection rule 'otzu': did you mean otsu"),
        ({"steps": -1}, r"'training\.steps' cannot be -1"),
        ({"batch_size": 1}, r"'training\.batch_size' cannot be 1"),
        ({"lr": 0}, r"'training\.lr' cannot be 0"),
        ({"method": "danse"}, r"known: consensus, .*\(uda\.tasks\.unida\.METHODS has them all\)$"),
        (
            {"rejection": "otzu"},
            r"known: fixed, method, otsu, otsu_or_none \(.*RULES has them all\)$",
        ),
        ({"random_state": -1}, r"'seeds\.0' cannot be -1"),
    ):
        with pytest.raises(UserError, match=words):
            quick(**parameters).fit(pair.source, pair.source_classes, pair.target)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(pair: Pair) -> None:
    with pytest.raises(UserError, match="sees no GPU"):
        quick(device="cuda").fit(pair.source, pair.source_classes)


def test_one_class_is_refused_as_user_error_and_value_error(pair: Pair) -> None:
    for kind in (UserError, ValueError):
        with pytest.raises(kind, match="y holds one class, 'bee': give source features of at least two"):
            quick().fit(pair.source, np.full(120, "bee"), pair.target)
