import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from uda.datasets.label_noise import noisy_labels
from uda.errors import UserError

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
KINDS = ["symmetric", "uniform", "asymmetric", "instance"]
N = 20_000
LABELS = np.arange(N) % 5
# Four standard deviations of a share of 20,000 is 0.014 at most.
CLOSE = 0.015


def features(n: int = N, dim: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim))


def confusion(noisy: np.ndarray, labels: np.ndarray = LABELS, classes: int = 5) -> np.ndarray:
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels, noisy), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def test_symmetric_noise_leaves_the_true_class_out() -> None:
    expected = np.full((5, 5), 0.4 / 4)
    np.fill_diagonal(expected, 0.6)
    # Of 4,000 images a class, four standard deviations are 0.031.
    assert confusion(noisy_labels(LABELS, 5, "symmetric", 0.4, 0)) == pytest.approx(expected, abs=0.031)
    assert not (noisy_labels(LABELS, 5, "symmetric", 1.0, 0) == LABELS).any()


def test_uniform_noise_includes_it() -> None:
    expected = np.full((5, 5), 0.4 / 5)
    np.fill_diagonal(expected, 0.6 + 0.4 / 5)
    assert confusion(noisy_labels(LABELS, 5, "uniform", 0.4, 0)) == pytest.approx(expected, abs=0.031)


def test_asymmetric_noise_goes_to_the_next_class() -> None:
    expected = 0.6 * np.eye(5) + 0.4 * np.roll(np.eye(5), 1, axis=1)
    assert confusion(noisy_labels(LABELS, 5, "asymmetric", 0.4, 0)) == pytest.approx(expected, abs=0.031)
    assert noisy_labels([0, 1, 2], 3, "asymmetric", 1.0, 0).tolist() == [1, 2, 0]


def test_asymmetric_noise_of_cifar10_by_hand() -> None:
    flipped = noisy_labels(range(10), 10, "asymmetric", 1.0, 0, class_names=CIFAR10)
    assert [CIFAR10[c] for c in flipped] == (
        ["airplane", "automobile", "airplane", "dog", "horse", "cat", "frog", "horse", "ship", "automobile"]
    )
    # The names decide, not their order.
    names = CIFAR10[::-1]
    turned = noisy_labels(range(10), 10, "asymmetric", 1.0, 0, class_names=names)
    assert [names[c] for c in turned] == [CIFAR10[c] for c in flipped][::-1]
    # Other names: the next class.
    assert noisy_labels([0, 1], 2, "asymmetric", 1.0, 0, class_names=["cat", "dog"]).tolist() == [1, 0]


def test_partners_may_be_given() -> None:
    assert noisy_labels([0, 1, 2], 3, "asymmetric", 1.0, 0, partners=[2, 1, 1]).tolist() == [2, 1, 1]
    for wrong in ([0, 1], [0, 1, 3], [0, 1, -1]):
        with pytest.raises(ValueError, match="one of 3 classes for each"):
            noisy_labels([0, 1, 2], 3, "asymmetric", 1.0, 0, partners=wrong)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_instance_noise_has_the_rate_of_the_cut_off_normal(rate: float) -> None:
    wrong = (noisy_labels(LABELS, 5, "instance", rate, 0, features()) != LABELS).mean()
    expected = truncnorm.mean(-rate / 0.1, (1 - rate) / 0.1, loc=rate, scale=0.1)
    assert wrong == pytest.approx(expected, abs=CLOSE)


def test_instance_noise_goes_by_the_features() -> None:
    # Two kinds of images of the same class, far out in opposite directions: each is mistaken for one class only, the
    # one that its projection is largest on, and the one of the other kind is where that projection is least.
    rows = np.where(np.arange(N)[:, None] % 2 == 0, 1.0, -1.0) * np.array([[300.0, 100.0, -200.0]])
    noisy = noisy_labels(np.zeros(N), 5, "instance", 0.5, 3, rows)
    targets = [set(noisy[kind::2]) - {0} for kind in (0, 1)]
    assert len(targets[0]) == len(targets[1]) == 1
    assert targets[0] != targets[1]
    assert (noisy != 0).mean() == pytest.approx(0.5, abs=CLOSE)


def test_instance_noise_without_information_is_symmetric() -> None:
    # Features of zero have equal projections everywhere.
    found = confusion(noisy_labels(LABELS, 5, "instance", 0.4, 0, np.zeros((N, 3))))
    expected = np.full((5, 5), 0.1)
    np.fill_diagonal(expected, 0.6)
    assert found == pytest.approx(expected, abs=0.031)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-1, 3), max_size=30),
    st.sampled_from(KINDS),
    st.floats(0, 1),
    st.integers(0, 10**9),
)
def test_unlabelled_images_stay_and_labels_are_classes(labels, kind, rate, seed) -> None:
    labels = np.array(labels, dtype=np.int64)
    before = labels.copy()
    noisy = noisy_labels(labels, 4, kind, rate, seed, features(len(labels)))
    assert np.array_equal(labels, before)
    assert noisy.dtype == np.int64
    assert np.array_equal(noisy < 0, labels < 0)
    assert bool((noisy < 4).all())
    assert np.array_equal(noisy, noisy_labels(labels, 4, kind, rate, seed, features(len(labels))))


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_rates_and_places(kind) -> None:
    rows = features()

    def draw(rate: float, seed: int = 0, n: int = N) -> np.ndarray:
        return noisy_labels(LABELS[:n], 5, kind, rate, seed, rows[:n])

    assert np.array_equal(draw(0.0), LABELS)
    assert (draw(0.5, 0) != draw(0.5, 1)).mean() > 0.2
    # What happens to an image does not depend on how many there are.
    assert np.array_equal(draw(0.3, n=500), draw(0.3)[:500])
    if kind != "instance":  # a larger rate hits those of a smaller one, and the same way
        small, large = draw(0.2), draw(0.6)
        hit = small != LABELS
        assert np.array_equal(small[hit], large[hit])


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean symmetric"):
        noisy_labels([0, 1], 2, "symetric", 0.1, 0)
    with pytest.raises(UserError, match="share between 0 and 1"):
        noisy_labels([0, 1], 2, "symmetric", 40, 0)
    with pytest.raises(UserError, match="at least 2 to confuse"):
        noisy_labels([0, 0], 1, "symmetric", 0.4, 0)
    with pytest.raises(UserError, match="depends on features"):
        noisy_labels([0, 1], 2, "instance", 0.4, 0)
    with pytest.raises(ValueError, match="only 2 classes"):
        noisy_labels([0, 2], 2, "symmetric", 0.4, 0)
    with pytest.raises(ValueError, match=r"shape \(2, D\)"):
        noisy_labels([0, 1], 2, "instance", 0.4, 0, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="not finite"):
        noisy_labels([0, 1], 2, "instance", 0.4, 0, [[1.0], [np.nan]])
    with pytest.raises(ValueError, match="9 class names for 10"):
        noisy_labels(range(10), 10, "asymmetric", 0.4, 0, class_names=CIFAR10[:9])
