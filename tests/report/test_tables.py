import math

import numpy as np
import pytest

from uda.metrics import UNIDA_METRICS
from uda.report import tables
from uda.tasks.pretrain import Pretrain


def test_every_metric_has_a_name_and_a_definition():
    assert {*UNIDA_METRICS, *Pretrain.metric_names, "accuracy", "linear_accuracy", "alignment"} <= set(tables.METRICS)
    assert all(m.title and m.definition.endswith(".") for m in tables.METRICS.values())
    assert all("oracle" in tables.METRICS[name].title for name in ("nmi", "h3_score"))


def test_what_is_no_share_is_not_per_cent():
    frame = tables.metrics_table({"effective_rank": 12.34567, "knn_accuracy": 0.5, "finetune_accuracy_40_labels": 0.25})
    assert list(frame["value"]) == ["50.0 %", "12.35", "25.0 %"]


def test_metrics_are_per_cent_and_undefined_ones_dashes():
    frame = tables.metrics_table({"nmi": None, "h_score": 0.8014, "sharpness": 12.34567, "auroc": math.nan})
    assert list(frame.columns) == ["metric", "value", "what it is"]
    assert list(frame["metric"]) == ["H-score", "AUROC", "NMI (oracle)", "sharpness"]
    assert list(frame["value"]) == ["80.1 %", "\u2013", "\u2013", "12.35"]


def test_an_interval_has_two_ends():
    frame = tables.metrics_table({"h_score": 0.8}, {"h_score": 0.012}, {"h_score": [0.77, 0.83]})
    assert list(frame.iloc[0])[:4] == ["H-score", "80.0 %", "1.2 %", "77.0 % … 83.0 %"]


def test_a_spread_that_is_missing_is_a_dash():
    frame = tables.metrics_table({"h_score": 0.8, "nmi": None}, {"h_score": None}, {"h_score": None})
    assert list(frame["std"]) == ["\u2013", "\u2013"]
    assert list(frame["95 % interval"]) == ["\u2013", "\u2013"]


def test_arms_stand_beside_each_other():
    frame = tables.comparison_table(
        {"ours": {"h_score": 0.8, "nmi": None, "auroc": 0.9}, "theirs": {"h_score": 0.7, "nmi": None}},
        {"ours": {"h_score": 0.012}},
    )
    assert list(frame.columns) == ["arm", "H-score", "AUROC"]  # nobody has NMI
    assert frame.to_numpy().tolist() == [["ours", "80.0 ± 1.2 %", "90.0 %"], ["theirs", "70.0 %", "\u2013"]]
    assert list(tables.comparison_table({"a": {}}, metrics=["nmi"]).columns) == ["arm", "NMI (oracle)"]


@pytest.mark.parametrize(
    ("ci95", "verdict", "text"),
    [
        ((0.004, 0.058), "higher", "+0.4 pp … +5.8 pp"),
        ((-0.058, -0.004), "lower", "\u22125.8 pp … \u22120.4 pp"),
        ((-0.01, 0.058), "no difference shown", "\u22121.0 pp … +5.8 pp"),
        (None, "no interval", "\u2013"),
    ],
)
def test_a_difference_counts_only_where_its_interval_leaves_out_zero(ci95, verdict, text):
    entry = {"mean": 0.031, "ci95": ci95, "smallest_detectable": 0.035, "with": 0.8, "without": 0.769}
    row = tables.difference_table({"metrics": {"h_score": entry}}).iloc[0]
    assert list(row) == ["H-score", "80.0 %", "76.9 %", "+3.1 pp", text, "3.5 pp", verdict]


def test_labels_are_counted_most_frequent_first():
    # 4 images: two cats with confidences .5 and .9 (median .7), one dog .8, one unknown .2; no bird.
    frame = tables.label_counts(
        np.array([0, 3, 0, 2]), np.array([0.5, 0.2, 0.9, 0.8]), ["cat", "bird", "dog", "unknown"]
    )
    assert frame.to_numpy().tolist() == [
        ["cat", 2, "50.0 %", "0.70"],
        ["dog", 1, "25.0 %", "0.80"],
        ["unknown", 1, "25.0 %", "0.20"],
    ]


def test_mistakes_are_counted_as_a_share_of_the_true_class():
    # Three cats: one right, two taken for dogs (2/3); one dog taken for a cat (1/1).
    frame = tables.confusions_table(np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0]), ["cat", "dog"])
    assert frame.to_numpy().tolist() == [["cat", "dog", 2, "66.7 %"], ["dog", "cat", 1, "100.0 %"]]
    assert len(tables.confusions_table(np.array([0, 1]), np.array([0, 1]), ["cat", "dog"])) == 0
