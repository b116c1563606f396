"""Tables above several pairs: two pairs and two seeds by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.report.reading import read
from uda.report import pairs
from uda.report.pairs import PairsReport, shown
from uda.report.published import Published


def row(source: str, target: str, value: float | None, std: float | None = None, ci95: Any = None) -> dict[str, Any]:
    return {
        "pair": f"{source} → {target}",
        "domains": [source, target],
        "folder": f"{source}-{target}",
        "metrics": {"h_score": value, "nmi": None},
        "std": {"h_score": std, "nmi": None},
        "ci95": {"h_score": ci95, "nmi": None},
        "ci95_kind": "Student's t over seeds",
        "per_seed": {"h_score": [value, value], "nmi": [None, None]},
    }


def arm(method: str, first: float, second: float) -> dict[str, Any]:
    return {
        "method": method,
        "seeds": [0, 1],
        "metrics": {"h_score": (first + second) / 2, "nmi": None},
        "std": {"h_score": 0.004, "nmi": None},
        "ci95": {"h_score": [0.6, 0.7], "nmi": None},
        "ci95_kind": "Student's t over seeds, each seed's mean over the pairs",
        "pairs": [row("day", "dusk_1", first, 0.0123, [0.5, 0.9126]), row("dusk_1", "day", second)],
    }


OURS = arm("dance", 0.8, 0.5)  # their mean: 0.65
THEIR = Published(
    dataset="skies",
    setting="open",
    split="2/0/1",
    method="Sky",
    backbone="resnet50",
    frozen=False,
    steps=100,
    image_size=None,
    seeds=3,
    over=2,
    pairs={("day", "dusk_1"): {"h_score": 0.777}, ("dusk_1", "day"): {"h_score": 0.6}},
    mean={"h_score": 0.69},
    paper="Doe, Skies",
    table="Table 1",
    year=2024,
    differences="older clouds",
)
ENTRY = {"with": 0.8, "without": 0.7, "mean": 0.1, "std": 0.01, "ci95": [0.02, 0.18], "smallest_detectable": 0.2}
REPORT = PairsReport("skies → all: dance", [OURS], "smallconv", "h_score", [(THEIR, "100 steps, here 3")], {"lr": 0.1})


def compared() -> PairsReport:
    each = [{"pair": r["pair"], "domains": r["domains"], "metrics": {"h_score": ENTRY}} for r in OURS["pairs"]]
    overall = ENTRY | {"mean": 0.05, "ci95": None, "smallest_detectable": None}
    difference = {"against": "source_only", "metrics": {"h_score": overall}, "pairs": each}
    return replace(REPORT, arms=[OURS | {"difference": difference}, arm("source_only", 0.7, 0.5)])


@pytest.mark.parametrize(
    ("name", "mean", "std", "text"),
    [
        ("h_score", 0.92345, 0.0041, "92.3 ± 0.4"),
        ("h_score", 0.5, None, "50.0"),
        ("h_score", None, None, "\u2013"),
        ("effective_rank", 12.345, 0.5, "12.35 ± 0.5"),  # no share: as it is
    ],
)
def test_a_cell(name: str, mean: float | None, std: float | None, text: str) -> None:
    assert shown(name, mean, std) == text


def test_means_have_a_row_a_pair_and_one_for_all() -> None:
    frame = pairs.mean_table(OURS)
    assert list(frame.columns) == ["pair", "H-score"]  # a figure that no pair has is left out
    assert frame.to_numpy().tolist() == [
        ["day → dusk_1", "80.0 ± 1.2"],
        ["dusk_1 → day", "50.0"],
        ["mean over pairs", "65.0 ± 0.4"],
    ]
    assert frame.attrs["caption"] == "dance, mean ± standard deviation over seeds 0, 1, in per cent"


def test_one_seed_has_no_spread() -> None:
    assert pairs.mean_table(OURS | {"seeds": [3]}).attrs["caption"] == "dance, mean over seeds 3, in per cent"


def test_intervals_and_what_they_are() -> None:
    frame = pairs.interval_table(OURS)
    assert frame["H-score"].tolist() == ["50.0 … 91.3", "\u2013", "60.0 … 70.0"]
    assert frame.attrs["caption"] == (
        "95 % intervals in per cent; of a pair: Student's t over seeds; mean over pairs: Student's t over seeds, each "
        "seed's mean over the pairs"
    )


def test_published_figures_stand_below_ours() -> None:
    assert pairs.beside_table(REPORT, "h_score").to_numpy().tolist() == [
        ["dance (here)", "smallconv", "80.0 ± 1.2", "50.0", "65.0 ± 0.4"],
        ["Sky (Doe 2024)", "resnet50", "77.7", "60.0", "69.0"],  # the published mean, not 68.85
    ]
    sources = pairs.sources_table(REPORT.published).iloc[0]
    assert sources["source"] == "Doe, Skies (2024); Table 1"
    assert sources["label sets"] == "open 2/0/1"
    assert (sources["done there"], sources["differs from here"]) == ("older clouds", "100 steps, here 3")


def test_a_pair_that_was_not_published_is_a_dash() -> None:
    part = replace(THEIR, pairs={("day", "dusk_1"): {"h_score": 0.777}}, over=1)
    frame = pairs.beside_table(replace(REPORT, published=[(part, "")]), "h_score")
    assert frame.iloc[1, 2:].tolist() == ["77.7", "\u2013", "\u2013"]


def test_without_published_figures_there_are_none() -> None:
    found = pairs.frames(replace(REPORT, published=[]))
    assert [list(frame.columns) for frame in found] == [["pair", "H-score"]] * 2
    assert set(pairs.tidy(replace(REPORT, published=[]))["kind"]) == {"ours"}


def test_differences_pair_by_pair() -> None:
    difference = compared().arms[0]["difference"]
    frame = pairs.pair_differences_table(difference, "h_score")
    assert frame.to_numpy().tolist() == [
        ["day → dusk_1", "80.0 %", "70.0 %", "+10.0 pp", "+2.0 pp … +18.0 pp", "20.0 pp", "higher"],
        ["dusk_1 → day", "80.0 %", "70.0 %", "+10.0 pp", "+2.0 pp … +18.0 pp", "20.0 pp", "higher"],
        ["mean over pairs", "80.0 %", "70.0 %", "+5.0 pp", "\u2013", "\u2013", "no interval"],
    ]


def test_all_tables_of_a_comparison() -> None:
    captions = [frame.attrs["caption"] for frame in pairs.frames(compared())]
    assert [caption.split(",")[0] for caption in captions] == [
        "dance",
        "source_only",
        "95 % intervals in per cent; of a pair: Student's t over seeds; mean over pairs: Student's t over seeds",
        "H-score in per cent",
        "Where the published figures are from",
        "Mean over pairs",
        "H-score",
    ]


def test_the_file_for_programs_has_every_figure_as_a_fraction() -> None:
    frame = pairs.tidy(compared()).set_index(["kind", "source", "target", "metric"])
    ours = frame.loc[("ours", "day", "dusk_1", "h_score")]
    assert ours[["mean", "std", "ci95_low", "ci95_high"]].tolist() == [0.8, 0.0123, 0.5, 0.9126]
    assert frame.loc[("ours", "", "", "h_score")]["mean"] == 0.65
    assert frame.loc[("baseline", "day", "dusk_1", "h_score")]["mean"] == 0.7
    difference = frame.loc[("difference", "dusk_1", "day", "h_score")]
    assert difference[["method", "mean", "smallest_detectable"]].tolist() == ["dance minus source_only", 0.1, 0.2]
    assert frame.loc[("published", "day", "dusk_1", "h_score")]["mean"] == 0.777
    assert frame.loc[("published", "", "", "h_score")]["mean"] == 0.69
    assert frame["mean"].isna().sum() == 6  # NMI: two pairs and their mean, in two arms


def test_the_page_has_the_answer_and_links_to_the_pairs(tmp_path: Path) -> None:
    pairs.write_pairs_report(tmp_path / "report.html", compared())
    reader = read((tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(reader.text)
    for part in ("65.0 %", "Means over 2 pairs.", "Doe, Skies (2024); Table 1", "+10.0 pp", "lr: 0.1"):
        assert part in text
    links = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]
    assert [link for link in links if link and link[0] == "."] == [
        "./day-dusk_1/report.html",
        "./dusk_1-day/report.html",
    ]
