"""scikit-learn's own checks of `uda.UniversalClassifier`, with one domain as they know it, and with two."""

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from uda import UniversalClassifier


@parametrize_with_checks([UniversalClassifier(steps=10, lr=0.1, device="cpu")])
def test_all_pass_without_a_target(estimator: Any, check: Any) -> None:
    check(estimator)


class AdaptedToItself(UniversalClassifier):
    """The checks have one set of features, which is source and target at once here."""

    def fit(self, X: Any, y: Any) -> Any:
        return super().fit(X, y, X)


REJECTIONS = "what is rejected is predicted as unknown, which is no argmax over the known classes"
EXPECTED = {"check_classifiers_train": REJECTIONS, "check_classifiers_classes": REJECTIONS}


@parametrize_with_checks([AdaptedToItself(steps=10, lr=0.1, device="cpu")], expected_failed_checks=lambda _: EXPECTED)
def test_all_pass_with_a_target_but_where_rejecting_counts_as_an_error(estimator: Any, check: Any) -> None:
    check(estimator)
