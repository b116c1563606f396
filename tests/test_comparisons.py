import math
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny import OF_A_SEED, adapt, command, metrics_of
from uda.errors import UserError
from uda.flags import baseline_begun
from uda.layers import read_layer
from uda.recipe import build


@pytest.fixture(scope="module")
def compared(domains: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "run"
    assert adapt(domains, out, "--seeds", 0, 1, "--compare", steps=3) == 0
    return out


def test_several_seeds_lie_beside_each_other_below_a_summary(compared: Path) -> None:
    assert {entry.name for entry in compared.iterdir()} == {
        *("seed-0", "seed-1", "baseline"),
        *("recipe.yaml", "metrics.json", "history.csv", "report.html"),
    }
    for arm in (compared, compared / "baseline"):
        for seed in (0, 1):
            assert {entry.name for entry in (arm / f"seed-{seed}").iterdir()} == OF_A_SEED
            assert metrics_of(arm / f"seed-{seed}")["seeds"] == [seed]
    history = pd.read_csv(compared / "history.csv")
    assert history.groupby("seed")["step"].apply(list).to_dict() == {0: [1, 2, 3], 1: [1, 2, 3]}
    assert build([read_layer(compared / "recipe.yaml")]).seeds == [0, 1]
    assert build([read_layer(compared / "seed-1" / "recipe.yaml")]).seeds == [1]


def test_the_summary_is_over_the_seeds(compared: Path) -> None:
    content = metrics_of(compared)
    parts = [metrics_of(compared / f"seed-{seed}")["metrics"] for seed in (0, 1)]
    assert content["seeds"] == [0, 1]
    assert "Student's t" in content["ci95_kind"]
    for name, mean in content["metrics"].items():
        values = [part[name] for part in parts]
        assert content["per_seed"][name] == values
        if None in values:
            continue
        # Two values: the mean between them, s = |a − b|/√2, and the t quantile of one degree of freedom, 12.7062.
        a, b = values
        assert mean == pytest.approx((a + b) / 2)
        assert content["std"][name] == pytest.approx(abs(a - b) / math.sqrt(2), abs=1e-12)
        if a != b:
            half = 12.7062 * abs(a - b) / 2
            expected = (max(0, mean - half), min(1, mean + half))  # all are shares
            assert content["ci95"][name] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_comparison_is_paired_and_says_what_it_could_have_seen(compared: Path) -> None:
    difference = metrics_of(compared)["difference"]
    assert difference["against"] == "source_only"
    assert difference["seeds"] == [0, 1]
    ours, theirs = metrics_of(compared)["per_seed"], metrics_of(compared / "baseline")["per_seed"]
    assert "auroc" in difference["metrics"]
    for name, found in difference["metrics"].items():
        pairs = [a - b for a, b in zip(ours[name], theirs[name], strict=True)]
        assert found["mean"] == pytest.approx(sum(pairs) / 2, abs=1e-12)
        # One of two seeds without any difference of their differences says nothing about what could have been seen.
        assert (found["smallest_detectable"] or 0) > 0 if pairs[0] != pairs[1] else found["p_value"] is None
        assert {"with", "without", "std", "ci95", "p_value"} <= set(found)
    assert "difference" not in metrics_of(compared / "baseline")


def test_both_arms_start_alike_and_see_the_same_source(compared: Path) -> None:
    for seed in (0, 1):
        ours, theirs = (pd.read_csv(arm / f"seed-{seed}" / "history.csv") for arm in (compared, compared / "baseline"))
        # The first step's classification loss comes before any update: same weights, same batch, same augmentation.
        assert ours["classification"][0] == theirs["classification"][0]


def test_resume_alone_goes_on_with_the_comparison_that_was_begun(compared: Path) -> None:
    begun = baseline_begun(None, compared / "baseline", [0, 1, 2], check=False)
    assert begun is not None
    assert begun.method["name"] == "source_only"
    assert begun.seeds == [0, 1, 2]  # seeds may be added to either arm
    other = begun.model_copy(update={"rejection": "fixed"})
    with pytest.raises(UserError, match=r"was begun with another recipe \(rejection: otsu → fixed"):
        baseline_begun(other, compared / "baseline", [0, 1], check=True)
    assert baseline_begun(other, compared / "nothing", [0], check=True) is other


def test_predictions_of_several_seeds_are_the_firsts(compared: Path, domains: Path, tmp_path: Path) -> None:
    assert command("--task", "predict", "--source", compared, "--target", domains / "sketch", "--out", tmp_path) == 0
    first = compared / "seed-0" / "predictions.csv"
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "predictions.csv"), pd.read_csv(first), check_exact=True)
