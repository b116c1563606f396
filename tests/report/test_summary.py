from dataclasses import replace

from tests.report.reading import read
from uda.report.summary import ArmSummary, write_summary_report


def test_a_summary_compares_arms_and_links_their_seeds(tmp_path):
    path = tmp_path / "report.html"
    ours = ArmSummary(
        "dance", {"universal_score": 0.801, "nmi": None}, {"universal_score": 0.012}, {"universal_score": [0.7, 0.9]},
        (0, 1), {"universal_score": [0.79, 0.812], "nmi": [None, None]}, ["seed-0/report.html", "seed-1/report.html"],
    )  # fmt: skip
    theirs = replace(ours, metrics={"universal_score": None}, std={}, ci95={}, seeds=(0,), per_seed={}, links=())
    entry = {"mean": 0.031, "ci95": [-0.004, 0.066], "smallest_detectable": 0.035}
    difference = {"against": "dance alone", "metrics": {"universal_score": entry}}
    write_summary_report(path, "does it help?", [ours, theirs], [difference], {"lr": 0.1}, ["two <seeds>"])
    reader = read(path.read_text(encoding="utf-8"))
    text = " ".join(reader.text)
    for part in ("80.1 ± 1.2 %", "dance (2)", "+3.1 pp", "3.5 pp", "no difference shown", "two <seeds>", "lr: 0.1"):
        assert part in text
    links = [attributes["href"] for tag, attributes in reader.tags if tag == "a" and attributes["href"][0] == "."]
    assert links == ["./seed-0/report.html", "./seed-1/report.html"]


def test_a_summary_of_one_arm(tmp_path):
    write_summary_report(tmp_path / "r.html", "one", [ArmSummary("dance", {"h_score": 0.5})], headline="h_score")
    read((tmp_path / "r.html").read_text(encoding="utf-8"))
