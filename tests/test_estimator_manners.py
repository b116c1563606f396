"""How `uda.UniversalClassifier` behaves in a process and in scikit-learn's tools."""

import os
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tests.feature_pair import NAMES, Pair, make_pair, quick


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


# --- manners


def test_the_random_state_decides_and_the_callers_randomness_stays(pair: Pair) -> None:
    def scores(state: Any) -> np.ndarray:
        return quick(random_state=state).fit(pair.source, pair.source_classes, pair.target).unknown_score(pair.target)

    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = scores(1)
    assert torch.equal(torch.rand(2), expected)
    assert np.array_equal(scores(np.int64(1)), first)
    assert not np.array_equal(scores(2), first)
    assert not np.array_equal(scores(None), scores(None))
    assert np.array_equal(scores(np.random.RandomState(4)), scores(np.random.RandomState(4)))


def test_it_prints_nothing_warns_of_nothing_and_leaves_no_file(
    pair: Pair, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(pair.source, pair.source_classes, pair.target).predict(pair.target)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_pickle_does_not_hold_what_was_learned_from(pair: Pair) -> None:
    def size(times: int) -> int:
        source, y = np.tile(pair.source, (times, 1)), np.tile(pair.source_classes, times)
        return len(pickle.dumps(quick(method="source_only").fit(source, y, source)))

    many = 20 * pair.source.size * 4  # bytes of the features as float32, of which not one is to be found
    assert size(21) - size(1) < 0.1 * many


def test_ctrl_c_stops_and_is_no_failed_fit(pair: Pair) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        quick(steps=10**6).fit(pair.source, pair.source_classes, pair.target)
    timer.join()


# --- in scikit-learn's tools


@pytest.fixture
def routing() -> Iterator[None]:
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
@pytest.mark.parametrize("scale_target", [True, False])
def test_a_pipeline_transforms_the_target_only_if_told_to(pair: Pair, scale_target: bool) -> None:
    steps = [("scale", StandardScaler()), ("adapt", quick().set_fit_request(X_target=True))]
    whole = Pipeline(steps, transform_input=["X_target"] if scale_target else None)
    whole.fit(pair.source, pair.source_classes, X_target=pair.target)
    scaler = StandardScaler().fit(pair.source)
    target = scaler.transform(pair.target) if scale_target else pair.target
    by_hand = quick().fit(scaler.transform(pair.source), pair.source_classes, target)
    assert whole[-1].threshold_ == by_hand.threshold_
    assert np.array_equal(whole.predict(pair.target), by_hand.predict(scaler.transform(pair.target)))


@pytest.mark.usefixtures("routing")
def test_a_grid_search_chooses_a_methods_option(pair: Pair) -> None:
    options = [{"temperature": 0.05}, {"temperature": np.float64(0.5)}]
    search = GridSearchCV(
        quick().set_fit_request(X_target=True), {"method_options": options}, cv=2, error_score="raise"
    )
    search.fit(pair.source, pair.source_classes, X_target=pair.target)
    assert search.best_params_["method_options"] in options
    alone = quick(method_options=search.best_params_["method_options"])
    alone.fit(pair.source, pair.source_classes, pair.target)
    assert np.array_equal(search.predict(pair.target), alone.predict(pair.target))


def test_cross_validation_without_a_target(pair: Pair) -> None:
    scores = cross_val_score(quick(), pair.source, NAMES[pair.source_classes], cv=3, error_score="raise")
    assert scores.min() > 0.9
