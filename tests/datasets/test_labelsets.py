from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.datasets.catalog_entries import DIGITS, OFFICE, OFFICE_CALTECH10, OFFICE_HOME, PACS, VISDA2017
from uda.datasets.labelsets import LabelSets, apply, label_sets, lookalikes
from uda.datasets.table import ImageTable
from uda.errors import UserError

TEN = tuple("abcdefghij")


def table(name: str, labels: list[int], classes: tuple[str, ...]) -> ImageTable:
    return ImageTable(name, tuple(f"{name}/{i}" for i in range(len(labels))), np.array(labels, dtype=np.int64), classes)


def test_setting_follows_from_the_sets() -> None:
    assert LabelSets(("a",)).setting == "closed"
    assert LabelSets(("a",), ("b",)).setting == "partial"
    assert LabelSets(("a",), (), ("b",)).setting == "open"
    assert LabelSets(("a",), ("b",), ("c",)).setting == "open-partial"


def test_counted_split_is_alphabetical() -> None:
    sets = label_sets(TEN[5:] + TEN[:5], TEN, split="4/3/3")
    assert sets.shared == tuple("abcd")
    assert sets.source_private == tuple("efg")
    assert sets.target_private == tuple("hij")


def test_counted_split_takes_the_last_of_the_alphabet_for_the_target() -> None:
    sets = label_sets(TEN, TEN, split="2/1/3")
    assert (sets.shared, sets.source_private, sets.target_private) == (("a", "b"), ("c",), ("h", "i", "j"))
    assert label_sets(TEN, TEN, split="2/1/0").target_private == ()


def test_counted_split_runs_over_the_union() -> None:
    assert label_sets(("a", "b"), ("b", "c"), split="1/1/1").target_private == ("c",)


@given(st.integers(2, 6), st.integers(0, 6), st.integers(0, 6))
def test_counted_splits_never_overlap(a: int, b: int, c: int) -> None:
    if a + b + c > 10:
        with pytest.raises(UserError, match=f"asks for {a + b + c} classes but source and target have 10"):
            label_sets(TEN, TEN, split=f"{a}/{b}/{c}")
        return
    sets = label_sets(TEN, TEN, split=f"{a}/{b}/{c}")
    assert [len(s) for s in (sets.shared, sets.source_private, sets.target_private)] == [a, b, c]
    assert len({*sets.shared, *sets.source_private, *sets.target_private}) == a + b + c


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("4/3", "has 2 numbers"),
        ("0/5/5", "leaves no shared class"),
        ("1/0/2", r"leaves the source one class \(a\): a classifier needs at least two, so give it more"),
        ("five", "neither three numbers like 4/3/3 nor a file"),
    ],
)
def test_splits_that_cannot_be(split: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        label_sets(TEN, TEN, split=split)


def test_split_from_yaml_keeps_words_that_yaml_would_change(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text("shared: [no, 1]\nsource_private: [b]\ntarget_private:\n- 2\n")
    sets = label_sets(("no", "1", "b"), ("no", "1", "2"), split=str(path))
    assert sets.shared == ("1", "no")
    assert sets.source == ("1", "b", "no")
    assert sets.target == ("1", "2", "no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shared: [a, x]", "unknown class 'x'.*under shared"),
        ("shared: [a]\nsource_privat: [b]", "unknown key 'source_privat': did you mean source_private"),
        ("shared: [a, b]\ntarget_private: [b]", "b in .* is listed twice"),
        ("shared: a", "shared in .* is no list"),
        ("source_private: [a]", "leaves no shared class"),
        ("shared: [b]\ntarget_private: [a]", r"leaves the source one class \(b\)"),
        ("- a", "holds no lists"),
        ("shared: [a", "cannot be read as YAML"),
    ],
)
def test_yaml_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        label_sets(("a", "b"), ("a", "b"), split=str(path))


def test_folders_have_the_label_sets_they_have() -> None:
    sets = label_sets(("a", "b"), ("b", "c"))
    assert (sets.shared, sets.source_private, sets.target_private) == (("b",), ("a",), ("c",))
    assert sets.setting == "open-partial"


def test_names_are_compared_exactly_and_both_lists_are_told() -> None:
    with pytest.raises(UserError, match=r"share no class \(source: Cat; target: cat\)"):
        label_sets(("Cat",), ("cat",))


def test_names_that_differ_only_in_writing_are_told() -> None:
    found = lookalikes(("C0", "apple", "desk chair", "mug"), ("c0", "apple", "desk-chair", "Mug2"))
    assert [text.split(" differ ")[0] for text in found] == [
        "'C0' of the source and 'c0' of the target",
        "'desk chair' of the source and 'desk-chair' of the target",
    ]
    assert found[0].endswith(" differ only in writing and count as two classes; rename one folder if they are the same")
    assert lookalikes(("Cat", "cat"), ("cat",)) == ()  # the target's has its own name in the source
    assert lookalikes(("cat",), ()) == ()


def test_what_a_target_without_labels_shares_is_not_known() -> None:
    sets = label_sets(("a", "b"), ())
    assert sets.source == ("a", "b")
    assert sets.setting is None
    assert sets.describe() == (
        "label sets: 2 source classes, the target has no class folders, so its classes are not known"
    )
    some = label_sets(("a", "b", "c"), (), split="1/1/1")
    assert (some.source, some.setting) == (("a", "b"), None)
    assert some.describe().startswith("label sets: 2 source classes, --split 1/1/1; the target has no class folders")


def test_what_cannot_be_asked_of_a_target_without_labels() -> None:
    with pytest.raises(UserError, match=r"asks for 4 classes but the target has no class folders and the source has 2"):
        label_sets(("a", "b"), (), split="1/1/2")
    with pytest.raises(UserError, match="--setting open cannot be told of a target that has no class folders"):
        label_sets(("a", "b"), (), setting="open")


def test_a_setting_that_does_not_fit() -> None:
    with pytest.raises(UserError, match=r"--setting partial does not fit --split 4/3/3.*open-partial"):
        label_sets(TEN, TEN, setting="partial", split="4/3/3")
    with pytest.raises(UserError, match=r"--setting closed does not fit the classes .*partial \(1/1/0\)"):
        label_sets(("a", "b"), ("a",), setting="closed")
    with pytest.raises(UserError, match="unknown setting 'opne': did you mean open"):
        label_sets(("a", "b"), ("a",), setting="opne")


def test_office_splits_are_those_of_dance() -> None:
    sets = label_sets(OFFICE.classes, OFFICE.classes, dataset=OFFICE)
    assert sets.setting == "open-partial"
    # the 21 others in alphabetical order: ten to the source, eleven to the target
    assert sets.source_private == (
        *("bike_helmet", "bookcase", "bottle", "desk_chair", "desk_lamp", "desktop_computer", "file_cabinet"),
        *("letter_tray", "mobile_phone", "paper_notebook"),
    )
    assert sets.target_private == (
        *("pen", "phone", "printer", "punchers", "ring_binder", "ruler", "scissors", "speaker", "stapler"),
        *("tape_dispenser", "trash_can"),
    )
    assert "projector" in sets.shared


@pytest.mark.parametrize(
    ("dataset", "setting", "sizes"),
    [
        (OFFICE, "open-partial", (10, 10, 11)),
        (OFFICE, "open", (10, 0, 11)),
        (OFFICE, "partial", (10, 21, 0)),
        (OFFICE, "closed", (31, 0, 0)),
        (OFFICE_HOME, "open-partial", (10, 5, 50)),
        (OFFICE_HOME, "open", (15, 0, 50)),
        (OFFICE_HOME, "partial", (25, 40, 0)),
        (VISDA2017, "open-partial", (6, 3, 3)),
        (VISDA2017, "open", (6, 0, 6)),
        (VISDA2017, "partial", (6, 6, 0)),
        (PACS, "closed", (7, 0, 0)),
    ],
)
def test_sizes_of_published_splits(dataset, setting: str, sizes: tuple[int, int, int]) -> None:  # type: ignore[no-untyped-def]
    sets = label_sets(dataset.classes, dataset.classes, setting=setting, dataset=dataset)
    assert (len(sets.shared), len(sets.source_private), len(sets.target_private)) == sizes
    assert sets.setting == setting
    assert {*sets.source, *sets.target} <= set(dataset.classes)


@pytest.mark.parametrize("dataset", [PACS, DIGITS, OFFICE_CALTECH10])
def test_without_a_published_split_the_user_is_asked(dataset) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=f"no split of {dataset.name} is published: say which with --split"):
        label_sets(dataset.classes, dataset.classes, dataset=dataset)


def test_apply_numbers_shared_before_unknown() -> None:
    # classifier order: b, c, d (shared b and d, source-private c); target: b=0, d=2, a=3 (private), c dropped
    sets = LabelSets(("b", "d"), ("c",), ("a",))
    source = table("s", [0, 1, 2, 3], ("a", "b", "c", "d"))
    target = table("t", [0, 1, 2, 3, -1, 0], ("d", "c", "b", "a"))
    new_source, new_target = apply(sets, source, target)
    assert new_source.classes == ("b", "c", "d")
    assert new_source.paths == ("s/1", "s/2", "s/3")
    assert new_source.labels.tolist() == [0, 1, 2]
    assert new_target.classes == ("b", "c", "d", "a")
    assert new_target.paths == ("t/0", "t/2", "t/3", "t/4", "t/5")
    assert new_target.labels.tolist() == [2, 0, 3, -1, 2]


def test_apply_to_a_target_without_labels() -> None:
    source, target = table("s", [0, 1], ("a", "b")), table("t", [-1, -1], ())
    _, new_target = apply(label_sets(source.classes, target.classes), source, target)
    assert new_target.labels.tolist() == [-1, -1]
    assert new_target.classes == ("a", "b")


def test_a_class_missing_on_one_side_is_named() -> None:
    sets = LabelSets(("a", "b"), (), ("c",))
    full = table("full", [0, 1, 2], ("a", "b", "c"))
    with pytest.raises(UserError, match="class b of the split has no image in thin, which has a, c"):
        apply(sets, table("thin", [0, 2], ("a", "b", "c")), full)
    with pytest.raises(UserError, match="classes b, c of the split have no image in thin"):
        apply(sets, full, table("thin", [0], ("a",)))


def test_apply_refuses_a_source_without_labels() -> None:
    with pytest.raises(UserError, match="source s has no labels"):
        apply(LabelSets(("a", "b")), table("s", [-1], ()), table("t", [-1], ()))


def test_describe() -> None:
    assert label_sets(TEN, TEN, split="4/3/3").describe() == (
        "label sets: 4 shared / 3 source-private / 3 target-private classes (open-partial), --split 4/3/3"
    )
