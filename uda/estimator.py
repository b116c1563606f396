"""Universal domain adaptation on features, as a scikit-learn classifier: `uda.UniversalClassifier`."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from uda.datasets.streams import FrozenFeatures
from uda.errors import UserError, unknown_name
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.unida.assemble import build_task
from uda.layers import Tree, published_layers
from uda.nn.encoder import FeatureEncoder
from uda.places import choose_device
from uda.probes.rejection import RULES
from uda.recipe import UnidaRecipe, build_as
from uda.tasks.unida import METHODS, Answer, UniDA, UnidaData
from uda.training.checkpoint import Identity
from uda.training.loop import Interrupted, train


class DataError(UserError, ValueError):
    """Labels that cannot be learned from: a UserError, and the ValueError that scikit-learn asks for."""


class UniversalClassifier(ClassifierMixin, BaseEstimator):
    """Learn from labelled source features, adapt to unlabelled target ones, and name or reject new ones.

    It is the frozen mode of `uda.adapt` on features that are there already: same methods, same loop, same numbers.

    method: one of `uda.tasks.unida.METHODS`, with its options in `method_options`; rejection: the rule that finds the
    threshold on the target's unknown-scores ("method": the method's own); adapter: a residual network between features
    and classifier, without which features cannot move; batch_size: rows of each domain in a step; unknown_label: what
    `predict` returns where it rejects (None: "unknown" among names, −1 among numbers); random_state: an int is the seed
    itself; device: where to train, "cpu" or "cuda" (None: cuda where there is one); predictions are made on the CPU.

    After `fit`: `classes_`, `threshold_`, `unknown_label_`, `n_features_in_`, `feature_names_in_` (of named columns).
    """

    def __init__(
        self,
        method: str = "dance",
        *,
        method_options: Mapping[str, Any] | None = None,
        rejection: str = "method",
        adapter: bool = False,
        steps: int = 300,
        batch_size: int = 64,
        lr: float = 0.01,
        unknown_label: Any = None,
        random_state: int | np.random.RandomState | None = None,
        device: str | None = None,
    ):
        self.method = method
        self.method_options = method_options
        self.rejection = rejection
        self.adapter = adapter
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.unknown_label = unknown_label
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike | Tensor, y: ArrayLike, X_target: ArrayLike | Tensor | None = None) -> Any:
        """Train on source features X (N, D) with labels y (N,) and target features X_target (M, D); return self.

        Without X_target there is nothing to adapt to: `source_only` is trained whatever the method, and nothing is
        rejected, because no line between known and unknown can be drawn where all is known. Raises UserError for a
        parameter of no use, ValueError for such arrays (not finite, of other widths, one class), TypeError for sparse.
        """
        recipe = self._recipe(adapts=X_target is not None)
        device = choose_device(self.device)
        source, y = validate_data(self, _array(X), _array(y), dtype=np.float32)
        check_classification_targets(y)
        target = source if X_target is None else validate_data(self, _array(X_target), dtype=np.float32, reset=False)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y holds one class, '{self.classes_[0]}': give source features of at least two classes")
        self.unknown_label_ = self._unknown_label()
        if X_target is not None and self.unknown_label_ in self.classes_.tolist():
            raise DataError(
                f"'{self.unknown_label_}' is a class of y and cannot stand for unknown too; give another unknown_label"
            )
        names = tuple(map(str, self.classes_))
        data = UnidaData(_frozen(source), labels, _frozen(target), np.full(len(target), -1, dtype=np.int64), names)
        self.task_ = _trained(recipe, data, device)
        self.threshold_ = np.inf if X_target is None else float(self.task_.threshold)
        return self

    def predict(self, X: ArrayLike | Tensor) -> np.ndarray:
        """Return for each row (N, D) its class, or `unknown_label_` where its unknown-score exceeds `threshold_`."""
        answer = self._answer(X)
        if np.isinf(self.threshold_):
            return self.classes_[answer.closed]
        return _joined(self.classes_, self.unknown_label_)[answer.predictions]

    def predict_proba(self, X: ArrayLike | Tensor) -> np.ndarray:
        """Return the probabilities of the known classes (N, K), rejected or not; rows sum to 1."""
        return self._answer(X).probabilities

    def decision_function(self, X: ArrayLike | Tensor) -> np.ndarray:
        """Return the log-probabilities of the known classes (N, K); of two, the second's log-odds (N,).

        As for other scikit-learn classifiers, this ranks the known classes; what is unknown, `unknown_score` says.
        """
        probabilities = self._answer(X).probabilities
        logs = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).tiny))
        return logs[:, 1] - logs[:, 0] if len(self.classes_) == 2 else logs

    def unknown_score(self, X: ArrayLike | Tensor) -> np.ndarray:
        """Return the method's unknown-scores (N,), higher for more unknown."""
        return self._answer(X).scores

    def _answer(self, X: ArrayLike | Tensor) -> Answer:
        check_is_fitted(self)
        features = validate_data(self, _array(X), dtype=np.float32, reset=False)
        return self.task_.answer(_frozen(features), self.threshold_)

    def _recipe(self, adapts: bool) -> UnidaRecipe:
        """Return the parameters as a recipe, which validates them."""
        # The recipe's own errors speak of the command's flags.
        if self.method not in METHODS:
            raise unknown_name("method", str(self.method), METHODS, "uda.tasks.unida.METHODS has them all")
        if self.rejection not in ("method", *RULES):
            rules = ("method", *RULES)
            raise unknown_name("rejection rule", str(self.rejection), rules, "uda.probes.rejection.RULES has them all")
        seed = self.random_state
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).randint(2**31 - 1)
        given: Tree = {
            "method": {**(self.method_options or {}), "name": self.method},
            "rejection": self.rejection,
            "encoder": {"freeze": True, "adapter": self.adapter},
            "training": {"steps": self.steps, "batch_size": self.batch_size, "lr": self.lr},
            "seeds": [seed],
        }
        layers = [*published_layers("unida", None, frozen=True), _plain(given)]
        recipe = build_as(UnidaRecipe, layers)
        return recipe if adapts else build_as(UnidaRecipe, [*layers, {"method": {"name": "source_only"}}])

    def _unknown_label(self) -> Any:
        """Return the label of rejected rows: the one given, or one that goes with the classes."""
        if self.unknown_label is not None:
            return self.unknown_label
        return "unknown" if self.classes_.dtype.kind in "OUT" else -1


def _trained(recipe: UnidaRecipe, data: UnidaData, device: torch.device) -> UniDA:
    """Return the trained task, on the CPU and without what it has learned from, as `uda.load` restores one."""
    seed = recipe.seeds[0]
    options = loop_options(recipe, seed, Settings(device, progress=False))
    assert isinstance(data.source, FrozenFeatures)
    backbone = FeatureEncoder(data.source.passes.shape[2], adapter=False)
    # What the caller draws from torch's generators shall not depend on whether something was fitted before.
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    with torch.random.fork_rng(devices), tempfile.TemporaryDirectory() as folder:
        task = build_task(recipe, data, backbone, seed)
        try:
            train(task, options, Path(folder), Identity("", ""), device)
        except Interrupted as stopped:  # Ctrl-C; a search over parameters would take it for a failed fit and go on
            raise KeyboardInterrupt from stopped
        source, target = (FrozenFeatures(torch.empty(1, len(side), 0)) for side in (data.source, data.target))
        kept = build_task(recipe, replace(data, source=source, target=target), backbone, seed)
        kept.load_state_dict(task.state_dict())
    return kept.eval()


def _array(values: Any) -> Any:
    """Return tensors as arrays, which scikit-learn knows; all else as it is."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _frozen(features: np.ndarray) -> FrozenFeatures:
    """Return features (N, D) as those of a single pass."""
    writable = np.require(features, requirements=["C", "W"])  # torch wants to own what it may write to
    return FrozenFeatures(torch.from_numpy(writable)[None])


def _joined(classes: np.ndarray, unknown: Any) -> np.ndarray:
    """Return the classes and, after them, the label for unknown; objects where names and numbers would mix."""
    if isinstance(unknown, str) != (classes.dtype.kind in "UT"):
        classes = classes.astype(object)
    return np.concatenate([classes, np.array([unknown], dtype=object if classes.dtype == object else None)])


def _plain(value: Any) -> Any:
    """Return NumPy's numbers, as searches over parameters draw them, as Python's; in mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value
