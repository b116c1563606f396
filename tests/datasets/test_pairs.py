from pathlib import Path

import pytest

from tests.tiny import draw_classes
from uda.datasets.pairs import domain_pairs, names_all
from uda.errors import UserError


def names(source: str | None, target: str | None) -> list[tuple[str, str]]:
    return [(a.name, b.name) for a, b in domain_pairs(source, target)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own")
    for name in ("day", "night"):
        draw_classes(root / name, {"apple": 1, "bird": 1})
    return root


@pytest.mark.parametrize(
    ("text", "every"),
    [("all", True), ("office/all", True), ("office/all/", True), ("office", False), ("x/y/all", False), (None, False)],
)
def test_which_names_ask_for_every_domain(text: str | None, every: bool) -> None:
    assert names_all(text) is every


def test_a_folder_that_is_called_all_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "all").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not names_all("photos/all")


@pytest.mark.parametrize(("source", "target"), [("office", "all"), ("all", "office"), ("office/all", "all")])
def test_a_data_set_and_all_make_every_ordered_pair_of_different_domains(source: str, target: str) -> None:
    """Nothing needs to be on disk for that: 3 domains make 3 x 2 pairs."""
    a, d, w = "office/amazon", "office/dslr", "office/webcam"
    assert names(source, target) == [(a, d), (a, w), (d, a), (d, w), (w, a), (w, d)]


def test_one_domain_and_all_make_its_pairs() -> None:
    assert names("office/dslr", "all") == [("office/dslr", "office/amazon"), ("office/dslr", "office/webcam")]
    assert names("all", "office/d") == [("office/amazon", "office/dslr"), ("office/webcam", "office/dslr")]


def test_two_data_sets_make_the_pairs_across_them() -> None:
    made = names("office/all", "office_caltech10/dslr")
    assert made == [(f"office/{name}", "office_caltech10/dslr") for name in ("amazon", "dslr", "webcam")]


def test_a_split_stays_with_its_domain_and_its_domain_is_no_target() -> None:
    made = domain_pairs("digits/mnist/test", "all")
    assert [(a.name, b.name) for a, b in made] == [
        ("digits/mnist/test", "digits/usps"),
        ("digits/mnist/test", "digits/svhn"),
    ]
    assert [(d.short, d.dataset) for d in made[0]] == [("mnist_test", None), ("usps", "digits")]


def test_a_folder_of_domains(folder: Path) -> None:
    made = domain_pairs(str(folder), "all")
    assert [(a.name, b.name) for a, b in made] == [
        (f"{folder}/day", f"{folder}/night"),
        (f"{folder}/night", f"{folder}/day"),
    ]
    assert [(d.short, d.dataset) for d in made[0]] == [("day", None), ("night", None)]


def test_a_folder_and_a_data_set(folder: Path) -> None:
    assert names(f"{folder}/day", "office/all")[0] == (f"{folder}/day", "office/amazon")


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (None, "all", "--target all wants a --source: name a data set or a folder of domains for every pair"),
        (None, "office/all", "--target all wants a --source"),
        ("all", None, "--source all wants a --target"),
        ("all", "all", "names no data set"),
        ("builtin", "all", "the built-in data is one pair, printed → handwritten, and takes no all: leave --source"),
        ("all", "builtin/printed", "the built-in data is one pair"),
        ("dslr", "all", "is a domain of several data sets"),
        ("offise", "all", "unknown data set, domain or folder 'offise'"),
    ],
)
def test_what_makes_no_pairs_is_refused(source: str | None, target: str | None, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        domain_pairs(source, target)


def test_a_single_domain_makes_no_pair(folder: Path) -> None:
    with pytest.raises(UserError, match=r"different domains and '.*day' is a single one: name a data set, or a folder"):
        domain_pairs(str(folder / "day"), "all")


def test_for_generalization_the_source_stays_whole(folder: Path) -> None:
    found = domain_pairs(str(folder), "all", every_source=True)
    assert [(a.name, a.short, b.short) for a, b in found] == [
        (str(folder), folder.name, "day"),
        (str(folder), folder.name, "night"),
    ]
    single = domain_pairs("pacs/photo", "all", every_source=True)
    assert [(a.short, b.short) for a, b in single] == [("photo", d) for d in ("art_painting", "cartoon", "sketch")]
