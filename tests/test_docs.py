from benchmarks.objectives import PAGE, page
from uda.ssl import OBJECTIVES


def test_the_page_of_objectives_is_what_the_classes_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m benchmarks.objectives`"


def test_every_objective_stands_on_it_with_its_paper() -> None:
    rows = {line.split("`")[1]: line for line in page().splitlines() if line.startswith("| `")}
    assert set(rows) == set(OBJECTIVES)


def test_the_page_says_which_backbones_alone_will_do() -> None:
    cells = {
        line.split("`")[1]: [cell.strip() for cell in line.split("|")[4:10]]
        for line in page().splitlines()
        if line.startswith("| `")
    }
    assert cells["mae"] == ["", "✓", "✓ ViT only", "✓ ViT only", "", "✓ ViT only"]
    assert cells["colorization"] == ["✓", "", "✓ CNN only", "✓ CNN only", "", "✓ CNN only"]
    assert cells["rotation"] == ["✓", "✓", "✓", "✓", "", "✓"]
