"""The study of rotation in GANs: its summary pairs by seed, its tables say what they are of."""

import pytest

from benchmarks.gan import ARMS, summary
from benchmarks.gan_tables import painted, picture
from benchmarks.jobs import Row

RECIPE = {"method": {"ngf": 8, "ndf": 4}, "training": {"steps": 20, "batch_size": 2}}


def row(arm: str, seed: int, kid: float, probe: float) -> Row:
    figures = {
        "fid": 5.0,
        "precision": 0.5,
        "recall": 0.25,
        "confidence": 0.75,
        "effective_classes": 9.5,
        "sure": 0.125,
        "asked_accuracy": 0.875 if "conditional" in arm else None,
    }
    curve = {step: {"kid": 1.0, "fid": 9.0, "probe_accuracy": value} for step, value in (("10", 0.5), ("20", probe))}
    of = {"n_real": 60, "n_fake": 40, "extractor": "means", "classifier_accuracy": 0.99, "sure_of_real": 0.96875}
    return {"arm": arm, "seed": seed, "kid": kid, "probe_accuracy": probe, "curve": curve} | figures | of


ROWS = [
    row("sngan", 0, 0.5, 0.6),
    row("sngan", 1, 0.7, 0.7),
    row("rotation", 0, 0.4, 0.7),
    row("rotation", 1, 0.5, 0.9),
    row("rotation, conditional", 1, 0.25, 0.9),
]


def test_differences_are_paired_by_seed() -> None:
    found = summary(ROWS)
    assert set(found) == {"sngan", "rotation", "rotation, conditional", "rotation minus sngan"}  # no placebo has run
    gain = found["rotation minus sngan"]["kid"]
    assert gain["mean"] == pytest.approx(-0.15)  # of -0.1 and -0.2
    assert gain["std"] == pytest.approx(0.1 / 2**0.5)
    assert found["rotation"]["probe_curve"] == pytest.approx({"10": 0.5, "20": 0.8})
    assert set(ARMS) > {"sngan", "rotation"}


def test_the_tables_say_what_figures_are_of() -> None:
    result = {"recipe": RECIPE, "summary": summary(ROWS), "runs": ROWS}
    text = painted(result, None)
    # Of 0.4 and 0.5: 12.706 (Student's t, one degree of freedom) times 0.0707 / √2 is 0.635.
    assert "60 real and 40 generated images, by means" in text
    assert "| SSGAN | 0, 1 | 0.45 ± 0.64 | 5 | 50.0 | 25.0 | 80.0 | 12.5 | 9.50 |  |" in text
    assert "| SSGAN, told classes | 1 | 0.25 | 5 | 50.0 | 25.0 | 90.0 | 12.5 | 9.50 | 87.5 |" in text
    assert "[SNGAN](docs/gan_digits_sngan.png), [SSGAN](docs/gan_digits_rotation.png)." in text  # of seed 0
    assert "as it does 96.9 % of real test images" in text
    assert "| SSGAN minus SNGAN | -0.15 [" in text
    assert "| SNGAN | 50.0 | 65.0 |" in text
    assert "CIFAR-10 (re-saved" not in text
    assert "CIFAR-10 (re-saved" in painted(result, result)


def test_each_arm_has_a_picture_of_its_own() -> None:
    assert len({picture("digits", arm) for arm in ARMS}) == len(ARMS)
    assert picture("cifar", "rotation, conditional") == "gan_cifar_rotation_conditional.png"
