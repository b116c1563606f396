"""Groups that no split divides: from columns, files, patterns; and how whole groups are held out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.shared_data import put
from uda.datasets.folders import join, read_folder
from uda.datasets.groups import (
    column_groups,
    held_out_groups,
    joint_groups,
    numbered,
    own_groups,
    pattern_groups,
    together,
    with_file,
)
from uda.datasets.resolve import resolve
from uda.datasets.sampling import held_out
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.probes.linear import held_out_rows
from uda.probes.low_label import LabelBudget, labelled_rows

some_images = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 12)), min_size=1, max_size=60)


def table(*columns: tuple[str, list[str]], n: int = 4) -> ImageTable:
    paths = tuple(f"data/{'ab'[i % 2]}/p{i // 2}_{i}.png" for i in range(n))
    given = {name: np.array(values) for name, values in columns}
    return ImageTable("t", paths, np.arange(n) % 2, ("a", "b"), None, Path("data"), given)


def halves(groups: np.ndarray, rows: np.ndarray) -> set[int]:
    """Return the groups with images on both sides of a split."""
    rest = np.setdiff1d(np.arange(len(groups)), rows)
    return set(groups[rows]) & set(groups[rest])


def test_names_are_numbered_and_one_without_a_name_is_alone() -> None:
    assert numbered(["x", "", "y", "x", ""]).tolist() == [0, 2, 1, 0, 3]


def test_the_widest_column_counts() -> None:
    both = table(("slide", ["1", "2", "3", "3"]), ("patient", ["p", "p", "q", "q"]), ("center", ["0"] * 4))
    assert own_groups(both).tolist() == [0, 0, 1, 1]
    assert column_groups(both, "slide").tolist() == [0, 1, 2, 2]
    assert own_groups(table(("center", ["0"] * 4))) is None  # a split by centers is asked for
    with pytest.raises(UserError, match=r"unknown column 'patients': did you mean patient\?"):
        column_groups(both, "patients")


def test_columns_go_with_their_images() -> None:
    one = table(("patient", ["p", "p", "q", "r"]))
    assert one.select(np.array([3, 0])).columns["patient"].tolist() == ["r", "p"]
    other = ImageTable("u", ("data/c/1.png", "data/c/2.png"), np.zeros(2, np.int64), ("c",))
    whole = join([one, other], "both")
    assert whole.columns["patient"].tolist() == ["p", "p", "q", "r", "", ""]
    assert len(set(own_groups(whole).tolist())) == 5
    assert joint_groups([one, one]).tolist() == [0, 0, 1, 2, 3, 3, 4, 5]  # patient p here is not the p there
    assert joint_groups([other]) is None


def test_a_pattern_names_groups_by_their_paths() -> None:
    assert pattern_groups(table(), r"(p\d+)_").tolist() == [0, 0, 1, 1]
    for pattern, why in (("(p", "no regular expression"), ("p", "no parenthesis"), ("(x)", "does not match data/a/p0")):
        with pytest.raises(UserError, match=why):
            pattern_groups(table(), pattern)


def test_a_file_beside_the_images_has_further_columns(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "b/3.png")
    found = read_folder(tmp_path).table()
    assert with_file(found) is found
    file = tmp_path / "groups.csv"
    file.write_text("path,patient,slide\na/1.png,p,1\nb/3.png,p,2\na/2.png,,3\n")
    assert with_file(found).columns["patient"].tolist() == ["p", "", "p"]
    assert own_groups(with_file(found)).tolist() == [0, 1, 0]
    file.write_text("path,patient\na/1.png,p\n")
    with pytest.raises(UserError, match=r"groups.csv does not name .*2.png; add its line"):
        with_file(found)
    file.write_text("file,patient\na/1.png,p\n")
    with pytest.raises(UserError, match="needs a column 'path'"):
        with_file(found)


def test_groups_of_equal_size_are_held_out_by_their_share() -> None:
    # 10 groups of 4 images a class: a fifth of 40 images is two groups of each class, whatever the order.
    labels, groups = np.repeat([0, 1], 40), np.repeat(np.arange(20), 4)
    for seed in range(5):
        rows = held_out_groups(labels, groups, 0.2, seed)
        assert np.bincount(labels[rows]).tolist() == [8, 8]
        assert not halves(groups, rows)
    assert held_out_groups(labels, groups, 0.2, 0).tolist() != held_out_groups(labels, groups, 0.2, 1).tolist()


def test_groups_of_several_classes_are_weighed_over_all_of_them() -> None:
    # Twenty patients with 8 benign and 2 malignant images each: four of them are a fifth of both.
    labels, groups = np.tile([0] * 8 + [1] * 2, 20), np.repeat(np.arange(20), 10)
    rows = held_out_groups(labels, groups, 0.2, 0)
    assert np.bincount(labels[rows]).tolist() == [32, 8]


def test_every_class_keeps_a_group_and_images_without_a_label_follow_theirs() -> None:
    labels, groups = np.array([0, 0, 1, -1, 1, -1]), np.array([0, 0, 1, 1, 2, 3])
    rows = held_out_groups(labels, groups, 0.5, 0).tolist()
    assert rows in ([2, 3], [4])  # the one group of class 0 is learned from; of class 1 one of two is tested on


@given(some_images, st.sampled_from([0.1, 0.2, 0.5]), st.integers(0, 3))
def test_no_split_divides_a_group(images: list[tuple[int, int]], share: float, seed: int) -> None:
    labels, groups = (np.array(column) for column in zip(*images, strict=True))
    rows = held_out_groups(labels, groups, share, seed)
    assert not halves(groups, rows)
    kept = np.setdiff1d(np.arange(len(labels)), rows)
    assert set(labels[labels >= 0]) == set(labels[kept][labels[kept] >= 0])
    known = np.flatnonzero(labels >= 0)
    if len(known):
        by_rows = held_out_rows(torch.from_numpy(labels[known]), seed, share, groups[known]).numpy()
        assert not halves(groups[known], by_rows)
    of_sampling = held_out(labels, share, groups)
    assert not halves(groups[known], np.flatnonzero(np.isin(known, of_sampling)))


@given(some_images.filter(lambda images: max(label for label, _ in images) >= 0), st.integers(0, 3))
def test_few_labels_never_divide_a_group(images: list[tuple[int, int]], seed: int) -> None:
    labels, groups = (np.array(column) for column in zip(*images, strict=True))
    known = np.flatnonzero(labels >= 0)
    before: set[int] = set()
    for share in (0.05, 0.3, 0.7, 1.0):
        rows = labelled_rows(labels, LabelBudget(fraction=share), seed, groups)
        assert not halves(groups[known], np.flatnonzero(np.isin(known, rows)))
        assert set(labels[rows]) == set(labels[known])  # a group of every class
        assert before <= set(rows.tolist())  # a smaller share is part of a larger one
        before = set(rows.tolist())
    assert before == set(known.tolist())


def test_few_labels_of_groups_of_one_image_are_balanced_over_classes() -> None:
    labels = np.repeat([0, 1, 2], 30)
    rows = labelled_rows(labels, LabelBudget(fraction=0.1), 0, np.arange(90))
    assert np.bincount(labels[rows]).tolist() == [3, 3, 3]


def test_few_labels_do_not_exceed_their_number_but_for_a_group_of_each_class() -> None:
    # Ten groups of 4 a class; 10 % of 80 are 8 images, a group of each; 15 % are 12, one group more.
    labels, groups = np.repeat([0, 1], 40), np.repeat(np.arange(20), 4)
    assert [len(labelled_rows(labels, share, 0, groups)) for share in (0.01, 0.1, 0.14, 0.15)] == [8, 8, 8, 12]


def test_two_groups_of_equal_size_give_one() -> None:
    # Each is half of its class, further from a fifth than none is; without it nothing of the class would be tested.
    labels, groups = np.repeat([0, 0, 1, 1, 1, 1, 1], 10), np.repeat(np.arange(7), 10)
    assert np.bincount(labels[held_out_groups(labels, groups, 0.2, 0)]).tolist() == [10, 10]
    mixed = held_out_groups(np.tile([0, 1], 20), np.repeat([0, 1], 20), 0.2, 0)  # two patients with both classes
    assert mixed.tolist() in (list(range(20)), list(range(20, 40)))
    uneven = held_out_groups(np.zeros(90, np.int64), np.repeat([0, 1], [40, 50]), 0.1, 0)
    assert uneven.tolist() == list(range(40))  # the smaller one


def test_an_image_without_a_patient_is_of_its_slide_and_a_tile_of_its_image() -> None:
    tiles = table(("patient", ["p", "p", "", ""]), ("image", ["1", "2", "3", "3"]))
    assert own_groups(tiles).tolist() == column_groups(tiles, "patient").tolist() == [1, 1, 0, 0]
    assert own_groups(table(("patient", ["", "", "", "7"]), ("slide", ["7", "7", "", "7"]))).tolist() == [1, 1, 2, 0]


def test_groups_that_two_ways_leave_whole() -> None:
    # 0 and 1 share the first way's group, 1 and 2 the second's; 3 is alone in both.
    assert together(np.array([0, 0, 1, 2]), np.array([2, 0, 0, 1])).tolist() == [0, 0, 0, 1]


def test_a_file_as_spreadsheets_write_it(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    found, file = read_folder(tmp_path).table(), tmp_path / "groups.csv"
    file.write_bytes(b"\xef\xbb\xbfpath, patient\r\na\\1.png, p\r\n./b/2.png,p \r\n\r\n")
    assert with_file(found).columns["patient"].tolist() == ["p", "p"]
    file.write_text("path,patient\na/1.png,p\nb/2.png,p\na/1.png,q\n")
    with pytest.raises(UserError, match=r"names a/1.png twice, with different groups"):
        with_file(found)
    file.write_bytes("path,patient\na/1.png,Jürgen\n".encode("latin-1"))
    with pytest.raises(UserError, match="save it as CSV in UTF-8"):
        with_file(found)


def test_a_file_that_nobody_would_read_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/2.png")
    (tmp_path / "train" / "groups.csv").write_text("path,patient\na/1.png,p\nb/2.png,p\n")
    with pytest.raises(UserError, match=r"train/groups.csv is not read there; write one .*/groups.csv whose paths"):
        with_file(read_folder(tmp_path).table())
    (tmp_path / "groups.csv").write_text("path,patient\ntrain/a/1.png,p\ntrain/b/2.png,p\n")
    assert with_file(read_folder(tmp_path).table()).columns["patient"].tolist() == ["p", "p"]


def test_a_folder_of_centers_has_the_columns_for_every_task(tmp_path: Path) -> None:
    put(tmp_path, "one/a/1.png", "one/b/2.png", "two/a/3.png", "two/b/4.png")
    lines = [f"{name},p\n" for name in ("one/a/1.png", "one/b/2.png", "two/a/3.png", "two/b/4.png")]
    (tmp_path / "groups.csv").write_text("path,patient\n" + "".join(lines))
    found = resolve(str(tmp_path), "two", every_source=True)
    assert found.source.columns["patient"].tolist() == found.target.columns["patient"].tolist() == ["p", "p"]
