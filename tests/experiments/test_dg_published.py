"""Published accuracies on PACS beside ours."""

from pathlib import Path

import pytest

from tests.report.reading import read
from tests.tiny import SIZE, SMALL, command, draw_classes, metrics_of
from uda.datasets.catalog_entries import PACS
from uda.experiments.dg import outputs
from uda.experiments.dg.domains import find_domains
from uda.sections import DomainsRecipe


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with PACS in miniature."""
    root = tmp_path_factory.mktemp("root")
    for number, domain in enumerate(PACS.domains):
        draw_classes(root / "PACS" / domain.name, dict.fromkeys(PACS.classes, 2), noise=20 + number)
    return root


def test_published_figures_stand_beside_those_of_a_domain(
    pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a folder called pacs would go first
    ends = ("--source", "pacs", "--target", "sketch", "--data-root", pacs, "--steps", 0)
    assert command("--task", "dg", *ends, "--out", tmp_path / "run", *SMALL) == 0
    assert metrics_of(tmp_path / "run")["setting"] == "leave one domain out"
    text = " ".join(read((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text)
    published = text.split("Published figures")[-1]
    for part in (
        *("DeepAll (Carlucci et al. 2019)", "67.7", "JiGen (Carlucci et al. 2019)", "71.4"),
        *("backbone resnet18, here smallconv", "1,580 steps, here 0", f"222 pixels, here {SIZE}", "quoted from memory"),
    ):
        assert part in published, part


def test_published_figures_stand_above_all_domains(pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outputs, "write_dg_report", lambda path, report: path.write_text(report.title))
    ends = ("--source", "pacs", "--target", "all", "--data-root", pacs, "--steps", 0)
    assert command("--task", "dg", *ends, "--out", tmp_path / "run", *SMALL) == 0
    rows = (tmp_path / "run" / "table.md").read_text().splitlines()
    cells = [part.strip() for row in rows if "JiGen" in row and "80.5" in row for part in row.split("|")[3:-1]]
    assert cells == ["79.4", "75.3", "96.0", "71.4", "80.5"]  # art painting, cartoon, photo, sketch and their mean


@pytest.mark.parametrize(
    ("source", "wanted"), [("pacs", "pacs"), ("pacs/photo", None), ("PACS", None)], ids=["all", "one", "a folder"]
)
def test_figures_are_published_for_all_other_domains_together(
    pacs: Path, monkeypatch: pytest.MonkeyPatch, source: str, wanted: str | None
) -> None:
    monkeypatch.chdir(pacs)
    target = "sketch" if source != "PACS" else "PACS/sketch"
    assert find_domains(DomainsRecipe(source=source, target=target, root=str(pacs))).dataset == wanted
