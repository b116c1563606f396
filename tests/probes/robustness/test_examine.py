"""The report's parts on a model whose answers are known, and the figures made of them."""

import math

import numpy as np
import pytest
import torch

from tests.probes.robustness.toy import LABELS, LEFT, RIGHT, Halves, classifier, images
from uda.datasets.streams import Concatenated, Images
from uda.experiments.predict import InMemory
from uda.probes.robustness import (
    KINDS,
    Baseline,
    Examined,
    Findings,
    Generated,
    Judged,
    NamedAttack,
    NoiseImages,
    Plan,
    Subject,
    examine,
)
from uda.probes.robustness.examine import temperatures_of
from uda.probes.robustness.subject import outputs
from uda.probes.temperature import fit_temperature, scaled_probabilities


class Darker:
    """Corruptions by hand: at severity s, the left half loses 20 s gray levels."""

    paired = True
    names = ("darker",)
    severities = (1, 3)

    def at(self, name: str, severity: int) -> tuple[Images, np.ndarray]:
        return images([max(0, level - 20 * severity) for level in LEFT], RIGHT), LABELS


def subject(scale: float = 10.0) -> Subject:
    return Subject(Halves(), classifier(scale))


def test_accuracy_clean_and_corrupted_by_hand() -> None:
    found = examine(subject(), Examined(images(LEFT, RIGHT), LABELS, Darker()), Plan())
    # Clean: 200>100, 60<180, 140>120, 100<130: right, right, right, wrong. Severity 1: 180>100, right; 120 is no more
    # than 120 (a tie goes to class 0, right). Severity 3: 140>100, right; 80<120, wrong.
    assert found.clean.right.tolist() == [True, True, True, False]
    mild, strong = (cell.right.tolist() for cell in found.corruptions)
    assert mild == [True, True, True, False]
    assert strong == [True, True, False, False]
    assert found.errors() == {"darker": [0.25, 0.5]}
    assert found.metrics()["corruption_accuracy"] == 0.625
    assert found.right()["corruption_accuracy"].tolist() == [1, 1, 0.5, 0]
    assert found.metrics()["mce"] is None


def test_mce_divides_by_the_baseline() -> None:
    baseline = Baseline("by hand", {"darker": 0.5}, 0.1)
    found = examine(subject(), Examined(images(LEFT, RIGHT), LABELS, Darker()), Plan(), baseline)
    # mean error 0.375 of 0.5; lost by corruption 0.375 − 0.25 of 0.5 − 0.1
    assert found.metrics()["mce"] == pytest.approx(75)
    assert found.metrics()["relative_mce"] == pytest.approx(31.25)
    low, high = found.intervals()["mce"]
    assert 0 <= low < 75 < high


def test_published_images_of_another_number_have_their_own_interval() -> None:
    class More(Darker):
        paired = False

        def at(self, name: str, severity: int) -> tuple[Images, np.ndarray]:
            found, labels = super().at(name, severity)
            return Concatenated((found, found)), np.tile(labels, 2)

    baseline = Baseline("by hand", {"darker": 0.5}, 0.1)
    found = examine(subject(), Examined(images(LEFT, RIGHT), LABELS, More()), Plan(), baseline)
    assert found.metrics()["mce"] == pytest.approx(75)
    low, high = found.intervals()["mce"]
    assert low < 75 < high
    # The clean error is that of other images: it does not vary with them. 0.25 · 100 / 0.4 = 62.5 is taken off.
    assert found.intervals()["relative_mce"] == pytest.approx(((low * 0.5 - 25) / 0.4, (high * 0.5 - 25) / 0.4))


def test_a_half_of_the_test_images_has_the_temperature_of_the_other() -> None:
    data = Examined(images(LEFT * 3, RIGHT * 3), np.tile(LABELS, 3))
    test = outputs(subject(), data.images)
    found = temperatures_of(subject(), data, test, 4)
    values = np.unique(found)
    assert 1 <= len(values) <= 2
    for value in values:
        others = found != value if len(values) == 2 else np.zeros(12, dtype=bool)
        if others.any():
            assert value == pytest.approx(fit_temperature(test.logits[others], data.labels[others]))
    assert sum(found == found[0]) in (6, 12)


def test_validation_images_give_one_temperature_and_it_changes_no_answer() -> None:
    validation = (images([120, 90, 100], [100, 110, 130]), np.array([0, 1, 0]))
    data = Examined(images(LEFT, RIGHT), LABELS, validation=validation)
    found = examine(subject(100.0), data, Plan())
    wanted = fit_temperature(outputs(subject(100.0), validation[0]).logits, validation[1])
    assert found.temperature == pytest.approx(wanted)
    assert found.clean.after["nll"] < found.clean.before["nll"]
    low, high = found.intervals()["nll_scaled"] or (0.0, 0.0)
    assert low <= found.metrics()["nll_scaled"] <= high
    logits = outputs(subject(100.0), data.images).logits
    assert torch.equal(scaled_probabilities(logits, np.full(4, wanted)).argmax(1), logits.argmax(1))


def test_attacks_move_what_lies_within_their_reach() -> None:
    # The best attack in l∞ takes eps from one half and gives it to the other: it flips images whose halves differ by
    # less than 2 eps levels. They are 100, 120 and 20 levels apart, and one is wrong already.
    attacks = [NamedAttack("fgsm", 5.0), NamedAttack("fgsm", 11.0), NamedAttack("pgd-20", 55.0)]
    data = Examined(images(LEFT, RIGHT), LABELS)
    found = examine(subject(), data, Plan(attacks, attacked=10))
    assert [attack.right.tolist() for attack in found.attacks] == [
        [True, True, True, False],
        [True, True, False, False],
        [False, True, False, False],
    ]
    assert found.metrics()["pgd-20_linf_55_accuracy"] == 0.25
    names = {"fgsm_linf_5_accuracy", "fgsm_linf_11_accuracy", "pgd-20_linf_55_accuracy"}
    assert set(found.right()) == {"accuracy", *names}
    few = examine(subject(), data, Plan(attacks, attacked=2))
    assert all(len(attack.right) == 2 for attack in few.attacks)
    assert len(few.clean_attacked) == 2


def test_other_images_are_told_by_every_score_that_the_model_allows() -> None:
    gray = images([128, 120, 90], [128, 121, 91])  # nobody could say which half is brighter
    training = (images(LEFT[:3], RIGHT[:3]), LABELS[:3])
    data = Examined(images(LEFT[:3], RIGHT[:3]), LABELS[:3], training=training, near={"gray": gray})
    found = {cell.score: cell for cell in examine(subject(), data, Plan()).told}
    assert set(found) == {"max_softmax", "energy", "entropy", "knn", "mahalanobis"}
    assert found["entropy"].metrics["auroc"] == 1.0
    assert found["entropy"].metrics["fpr95_in"] == 0.0
    assert found["entropy"].interval == (1.0, 1.0)
    assert {cell.distance for cell in found.values()} == {"near"}


def test_intervals_are_drawn_over_groups_where_these_are_known() -> None:
    # Each image three times, as three tiles of a patient would be: the interval of the four patients, not of twelve.
    levels = [np.repeat(side, 3).tolist() for side in (LEFT, RIGHT)]
    groups, attacks = np.repeat(np.arange(4), 3), [NamedAttack("fgsm", 11)]
    baseline = Baseline("by hand", {"brightness": 0.5, "contrast": 0.5}, 0.1)
    few, many = (
        examine(
            subject(),
            Examined(own, labels, Generated(own, labels, ("brightness", "contrast"), (3,), "cifar"), groups=known),
            Plan(attacks, attacked=len(labels)),
            baseline,
        ).intervals()
        for own, labels, known in (
            (images(LEFT, RIGHT, 16), LABELS, np.arange(4)),
            (images(*levels, 16), np.repeat(LABELS, 3), groups),
        )
    )
    for name in ("accuracy", "brier", "fgsm_linf_11_accuracy", "corruption_accuracy", "mce"):
        assert many[name] == pytest.approx(few[name]), name
    assert few["accuracy"] == (0.25, 1.0)


def test_the_temperature_of_a_group_is_fitted_on_other_groups() -> None:
    groups = np.array([0, 0, 1, 1])
    data = Examined(images(LEFT, RIGHT), LABELS, groups=groups)
    test = outputs(subject(), data.images, 4)
    found = temperatures_of(subject(), data, test, 4)
    assert found[:2].tolist() == [fit_temperature(test.logits[2:], LABELS[2:])] * 2
    assert found[2:].tolist() == [fit_temperature(test.logits[:2], LABELS[:2])] * 2


def test_cells_of_different_images_have_no_figure_over_images() -> None:
    cells = [Judged("a", 1, np.ones(n, dtype=bool), {"ece": 0.0}, {"ece": 0.0}) for n in (3, 4)]
    found = Findings(Judged("clean", 0, np.ones(3, dtype=bool), {"ece": 0.0}, {"ece": 0.0}), 1.0, corruptions=cells)
    assert "corruption_accuracy" not in found.right()
    assert found.metrics()["corruption_accuracy"] == 1.0


def test_generated_corruptions_pair_with_the_clean_images() -> None:
    made = Generated(images(LEFT, RIGHT, 16), LABELS, ("brightness", "contrast"), (1, 5), "cifar")
    mild, labels = made.at("brightness", 1)
    strong, _ = made.at("brightness", 5)
    rows = np.arange(4)
    assert labels is LABELS
    distances = [(some.batch(rows).float() - made.images.batch(rows).float()).abs().mean() for some in (mild, strong)]
    assert 0 < distances[0] < distances[1]
    assert torch.equal(mild.batch(np.array([2])), mild.batch(rows)[2:3])  # whatever the batch


@pytest.mark.parametrize("kind", KINDS)
def test_noise_images_are_a_function_of_their_row(kind: str) -> None:
    made = NoiseImages(kind, 20, 16, seed=3)
    every = made.batch(np.arange(20))
    assert every.shape == (20, 3, 16, 16)
    assert every.dtype == torch.uint8
    assert torch.equal(every[[7, 2]], made.batch(np.array([7, 2])))
    assert not torch.equal(every, NoiseImages(kind, 20, 16, seed=4).batch(np.arange(20)))
    mean, std = every.float().mean().item(), every.float().std().item()
    assert mean == pytest.approx(127.5, abs=12 if kind == "blobs" else 3)
    # gaussian: 63.75, a little less by the cut at two standard deviations (0.0455 of the mass); two values: 127.5
    assert std == pytest.approx(61 if kind == "gaussian" else 127.5, abs=2)


def test_blobs_are_smooth_and_noise_is_not() -> None:
    def changes(kind: str) -> float:
        pixels = NoiseImages(kind, 20, 32).batch(np.arange(20)).float()
        return float((pixels[..., 1:] != pixels[..., :-1]).float().mean())

    assert changes("blobs") < 0.2
    assert changes("rademacher") == pytest.approx(0.5, abs=0.02)


def test_a_single_image_has_the_temperature_one() -> None:
    data = Examined(InMemory(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), np.array([0]))
    assert examine(subject(), data, Plan()).temperature == 1.0
    assert math.isfinite(examine(subject(), data, Plan()).metrics()["nll"])
