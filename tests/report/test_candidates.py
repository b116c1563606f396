import numpy as np

from tests.report.reading import read
from uda.report import page
from uda.report.candidates import MOST_SHOWN, Candidate, candidates_section


def candidate(number: int, size: int, truth: list[tuple[str, int]] | None = None, shown: int = 2) -> Candidate:
    images = np.random.default_rng(number).integers(0, 255, (shown, 3, 8, 8), dtype=np.uint8)
    paths = [f"new/{number}-{i}.jpg" for i in range(shown)]
    return Candidate(number, size, 0.25, images, paths, truth or [])


def shown(*candidates: Candidate, silhouette: float | None = 0.31, naming: str | None = None) -> str:
    section = candidates_section(candidates, silhouette, naming)
    assert section.title == "Candidate new classes"
    return " ".join(read(page.render("t", "s", [section])).text)


def test_groups_with_their_shares_and_what_they_are() -> None:
    first = candidate(1, 6, [("zebra", 4), ("<b>gnu</b>", 1)])
    text = shown(first, candidate(2, 2, [("okapi", 2)]), candidate(3, 2), naming="do")
    assert "The 10 rejected images form 3 groups" in text
    assert "silhouette 0.31" in text
    for part in ("60.0 %", "zebra 4, <b>gnu</b> 1", "80.0 %", "100.0 %", "Candidate 2: 2 images"):
        assert part in text
    # of the 7 images with a label, 4 and 2 are of their group's most frequent class
    assert "over all groups 85.7 % of the images" in text
    assert text.count("(oracle)") == 3
    assert "several groups may get one name" in text


def test_without_labels_nothing_is_said_of_truth() -> None:
    text = shown(candidate(1, 6), candidate(2, 1))
    assert "racle" not in text
    assert "Candidate 2: 1 image" in text
    assert "command" not in text  # images in memory cannot be copied


def test_one_group_and_none() -> None:
    assert "form one group" in shown(candidate(1, 6), silhouette=None)
    assert "No image was rejected" in shown(silhouette=None)


def test_many_groups_are_all_listed_and_few_shown() -> None:
    section = candidates_section([candidate(i + 1, 20 - i) for i in range(20)], 0.2, None)
    assert len(section.figures) == MOST_SHOWN
    assert len(section.tables[0]) == 20
    assert "new/1-0.jpg" in section.figures[0].alt
