import torch

from tests.report.reading import read
from uda.report import page
from uda.report.preflight import KINDS, preflight_section


def found(pairs: int) -> dict:
    nearest = [{"rows": [i, i + 1], "paths": [f"a/{i}.png", f"b/<{i}>.png"], "similarity": 0.9} for i in range(pairs)]
    kinds = {kind: {"pairs": pairs, "images": [pairs, pairs], "nearest": nearest} for kind in KINDS}
    return {"source_images": {"mug": 3, "bike": 9}, "near_duplicates": {"compared": [12, 7]} | kinds}


def text_of(section) -> str:
    return " ".join(read(page.render("t", "s", [section])).text)


def test_it_shows_pairs_and_names_their_files():
    images = torch.randint(0, 255, (4, 3, 12, 12), dtype=torch.uint8)
    section = preflight_section(found(2), ("one line", "another"), dict.fromkeys(KINDS, images))
    assert section.title == "Before training"
    assert len(section.figures) == 3
    text = text_of(section)
    for part in ("one line", "another", "a/1.png", "b/<1>.png", "across the domains", "mug", "within the target"):
        assert part in text


def test_without_duplicates_there_is_nothing_to_show():
    none = torch.zeros(0, 3, 12, 12, dtype=torch.uint8)
    section = preflight_section(found(0), ("one line",), dict.fromkeys(KINDS, none))
    assert list(section.figures) == []
    assert "Files of the nearest pairs" not in text_of(section)
