import numpy as np
import pandas as pd
import pytest

from tests.report.reading import count, pixels, read
from uda.metrics import reliability_bins
from uda.report import canvas
from uda.report.heatmap import heat_map
from uda.report.reliability import reliability_diagrams
from uda.report.robustness import RobustnessPage, records, write_robustness_report
from uda.report.tables import definition, is_share, number, readable

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
LABELS = np.array([0, 1, 1, 0])


def page(**changes):
    fields = {
        "title": "toy",
        "recipe": {"report": {"images": 4}},
        "metrics": {"accuracy": 0.75, "corruption_accuracy": 0.5, "mce": None, "pgd-20_linf_2_accuracy": 0.25},
        "ci95": {"accuracy": [0.25, 1.0]},
        "class_names": ("a", "b"),
        "corruptions": pd.DataFrame(
            {"corruption": ["fog", "fog"], "severity": [1, 5], "accuracy": [0.75, 0.25], "ece": [0.1, None]}
        ),
        "attacks": pd.DataFrame(
            {"attack": ["none", "pgd-20"], "norm": ["", "linf"], "eps": [0.0, 2.0], "accuracy": [0.75, 0.25]}
        ),
        "others": pd.DataFrame(
            {"set": ["noise"], "distance": ["far"], "score": ["energy"], "images": [4], "auroc": [0.875]}
        ),
        "reliability": [("clean", reliability_bins(PROBABILITIES, LABELS))],
        "temperature": 1.5,
        "text": {"answer": "On 4 test images."},
    }
    return RobustnessPage(**(fields | changes))


def test_the_page_says_what_was_found(tmp_path):
    write_robustness_report(tmp_path / "report.html", page())
    text = " ".join(read((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    for part in (
        "75.0 %",
        "Accuracy, corrupted",
        "PGD-20",
        "87.5 %",
        "Temperature: 1.5",
        "On 4 test images",
        "Calibration",
    ):
        assert part in text


def test_parts_that_were_not_looked_at_are_left_out(tmp_path):
    nothing = pd.DataFrame()
    write_robustness_report(tmp_path / "report.html", page(corruptions=nothing, attacks=nothing, others=nothing))
    text = " ".join(read((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    assert "Images of no known class" not in text
    assert "Attacks" not in text


def test_a_heat_map_has_dark_cells_for_low_figures_and_none_for_none():
    values = np.array([[0.0, 1.0], [np.nan, 0.5]])
    drawn = heat_map(values, ["fog", "snow"], ["1", "2"], "right", (0.0, 1.0))
    assert count(drawn, "#440154") > 500  # viridis' low end
    assert count(drawn, "#FDE725") > 500  # and its high one
    assert count(drawn, "#ECEEF0") > 500  # nothing


def test_reliability_diagrams_draw_accuracy_as_bars_and_confidence_as_lines():
    bins = reliability_bins(PROBABILITIES, LABELS, bins=5)
    drawn = reliability_diagrams([("before", bins), ("after", bins)])
    assert count(drawn, canvas.VERMILION) > 50
    one = reliability_diagrams([("before", bins)])
    assert pixels(drawn).shape[1] > 1.8 * pixels(one).shape[1]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("pgd-20_linf_0.5_accuracy", "Accuracy, PGD-20 linf 0.5/255"),
        ("autoattack_l2_128_accuracy", "Accuracy, AUTOATTACK l2 128/255"),
        ("near_auroc_max_softmax", "AUROC, near images, max softmax"),
        ("something_else", "something else"),
    ],
)
def test_figures_of_any_attack_and_score_are_named(name, title):
    assert readable(name) == title
    known = name != "something_else"
    assert is_share(name) == known
    assert bool(definition(name)) == known
    assert number(name, 0.25) == ("25.0 %" if known else "0.25")


def test_records_have_none_where_there_is_no_figure():
    assert records(pd.DataFrame({"a": [1.0, np.nan], "b": ["x", "y"]})) == [{"a": 1.0, "b": "x"}, {"a": None, "b": "y"}]
