import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.shared_data import put
from uda.datasets.folders import alphabetical, check_source, join, read_folder, summary
from uda.datasets.table import ImageTable
from uda.datasets.tree import natural_key
from uda.errors import UserError


def names(table: ImageTable, root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in table.paths]


def test_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "dog/10.png", "dog/9.png", "cat/b.JPG", "cat/a.jpeg", "cat/deep/er/c.tiff")
    folder = read_folder(tmp_path)
    table = folder.table()
    assert folder.kind == "classes"
    assert folder.domains == ()
    assert table.classes == ("cat", "dog")
    # cat first; within a class natural order (9 before 10), nested images after their folder's own
    assert names(table, tmp_path) == ["cat/a.jpeg", "cat/b.JPG", "cat/deep/er/c.tiff", "dog/9.png", "dog/10.png"]
    assert table.labels.tolist() == [0, 0, 0, 1, 1]
    assert table.labels.dtype == np.int64
    assert all(Path(path).is_file() for path in table.paths)


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    folder = read_folder(put(tmp_path, "2.png", "10.png", "1.png"))
    assert folder.kind == "flat"
    assert names(folder.table(), tmp_path) == ["1.png", "2.png", "10.png"]
    assert folder.table().classes == ()
    assert folder.table().labels.tolist() == [-1, -1, -1]


def test_splits_above_classes_share_numbers(tmp_path: Path) -> None:
    put(tmp_path, "test/b/1.png", "Train/a/1.png", "Train/b/1.png", "Train/c/1.png", "val/c/1.png")
    folder = read_folder(tmp_path)
    splits = folder.splits()
    assert folder.kind == "splits"
    assert list(splits) == ["train", "val", "test"]  # training first, whatever the alphabet says
    assert {table.classes for table in splits.values()} == {("a", "b", "c")}
    assert splits["test"].labels.tolist() == [1]
    assert splits["val"].labels.tolist() == [2]
    assert len(folder.table()) == 5


def test_few_shot_splits_keep_their_own_classes(tmp_path: Path) -> None:
    splits = read_folder(put(tmp_path, "base/a/1.png", "base/b/1.png", "val/c/1.png", "novel/d/1.png")).splits()
    assert {split: table.classes for split, table in splits.items()} == {
        "base": ("a", "b"),
        "val": ("c",),
        "novel": ("d",),
    }


def test_a_split_without_labels(tmp_path: Path) -> None:
    splits = read_folder(put(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "test/2.png")).splits()
    assert splits["train"].labelled
    assert splits["test"].labels.tolist() == [-1, -1]


def test_domains_above_classes(tmp_path: Path) -> None:
    put(tmp_path, "photo/cat/1.png", "photo/dog/1.png", "sketch/dog/1.png", "sketch/elk/1.png", "sketch/elk/2.png")
    folder = read_folder(tmp_path)
    assert folder.kind == "domains"
    assert folder.domains == ("photo", "sketch")
    assert folder.table("sketch").classes == ("dog", "elk")
    assert folder.table("sketch").name == f"{tmp_path.name}/sketch"
    with pytest.raises(KeyError):
        folder.table("music")


def test_domains_above_splits_above_classes(tmp_path: Path) -> None:
    put(tmp_path, "x/train/a/1.png", "x/test/a/2.png", "y/train/a/1.png", "y/train/b/1.png")
    folder = read_folder(tmp_path)
    assert folder.kind == "domains and splits"
    assert folder.domains == ("x", "y")
    assert list(folder.splits("x")) == ["train", "test"]
    assert len(folder.table("y")) == 2


def test_a_level_called_images_is_passed_over(tmp_path: Path) -> None:
    put(
        tmp_path, "amazon/images/mug/1.png", "amazon/images/pen/1.png", "dslr/images/mug/1.png", "dslr/images/pen/1.png"
    )
    assert read_folder(tmp_path).domains == ("amazon", "dslr")
    assert read_folder(tmp_path / "amazon").table().classes == ("mug", "pen")


@pytest.mark.parametrize(
    "files",
    [
        ("cat/indoor/1.png", "dog/outdoor/1.png"),  # sub-folder names do not recur
        ("cat/day/1.png", "dog/day/1.png", "dog/1.png"),  # not two levels down everywhere
        ("cat/day/1.png", "dog/day/x/1.png"),  # deeper somewhere
    ],
)
def test_classes_with_subfolders_are_not_domains(tmp_path: Path, files: tuple[str, ...]) -> None:
    folder = read_folder(put(tmp_path, *files))
    assert folder.kind == "classes"
    assert folder.table().classes == ("cat", "dog")


def test_what_systems_leave_behind_is_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", ".hidden/1.png", "__MACOSX/a/1.png", "a/._1.png", "a/.thumb/2.png")
    for clutter in (".DS_Store", "Thumbs.db", "a/labels.txt"):
        (tmp_path / clutter).write_bytes(b"x")
    assert names(read_folder(tmp_path).table(), tmp_path) == ["a/1.png", "b/1.png"]


def test_links_to_images_and_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "store", "1.png", "2.png")
    put(tmp_path / "set", "b/1.png")
    (tmp_path / "set/a").mkdir()
    (tmp_path / "set/a/x.png").symlink_to(tmp_path / "store/1.png")
    (tmp_path / "set/a/loop").symlink_to(tmp_path / "set", target_is_directory=True)
    (tmp_path / "set/c").symlink_to(tmp_path / "store", target_is_directory=True)
    found = names(read_folder(tmp_path / "set").table(), tmp_path / "set")
    assert found == ["a/x.png", "b/1.png", "c/1.png", "c/2.png"]


def test_a_dangling_link_stays_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/2.png").symlink_to(tmp_path / "gone.png")
    assert len(read_folder(tmp_path).table()) == 3


def test_order_does_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    files = [f"{c}/{i}.png" for c in ("ä", "B", "a", "10", "9") for i in range(12)]
    orders = []
    for k in range(3):
        random.Random(k).shuffle(files)
        root = put(tmp_path / str(k), *files)
        orders.append((read_folder(root).table().classes, names(read_folder(root).table(), root)))
    assert orders[0] == orders[1] == orders[2]
    assert orders[0][0] == ("9", "10", "a", "B", "ä")


def test_composed_and_decomposed_names_are_one_class_name(tmp_path: Path) -> None:
    put(tmp_path, "cafe\u0301/1.png", "tea/1.png")
    assert read_folder(tmp_path).table().classes == ("caf\u00e9", "tea")


def test_two_spellings_of_one_name_are_one_folder(tmp_path: Path) -> None:
    put(tmp_path, "caf\u00e9/1.png", "cafe\u0301/2.png", "cafe\u0301/deep/3.png", "tea/4.png")
    assert read_folder(tmp_path).table().counts() == {"caf\u00e9": 3, "tea": 1}
    put(tmp_path / "splits", "Train/a/1.png", "train/a/2.png", "test/a/3.png")
    with pytest.raises(UserError, match=r"the split '[Tt]rain' in two spellings; put their images into one folder"):
        read_folder(tmp_path / "splits")


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert read_folder(tmp_path).table().counts() == {"cat": 1, "dog": 1}


def test_empty_class_folders_are_left_out_and_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    folder = read_folder(tmp_path)
    assert folder.table().classes == ("a", "b")
    assert f"  note: {tmp_path / 'c'} holds no images and is left out" in folder.describe()


def test_files_that_are_no_images_by_name_are_counted_and_said(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.png", "dog/1.JFIF", "dog/2.Jpe", "cat/3.avif")
    for name in ("cat/2.heic", "cat/3.HEIC", "dog/notes.txt", "list", ".hidden.heic", "gone/x.heic"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = read_folder(tmp_path)
    assert len(folder.table()) == 4
    # a folder without images is named, and its file counted with the others; hidden files are nobody's
    assert folder.notes == (
        f"{tmp_path / 'gone'} holds no images and is left out",
        "5 files are left out as no image by name (.heic 3, no suffix 1, .txt 1)",
    )


def test_a_flat_folder_says_so_too(tmp_path: Path) -> None:
    put(tmp_path, "1.png")
    (tmp_path / "1.heic").touch()
    assert read_folder(tmp_path).notes == ("1 file is left out as no image by name (.heic 1)",)


def test_describe(tmp_path: Path) -> None:
    put(tmp_path / "d", "x/a/1.png", "x/b/1.png", "y/a/1.png", "y/b/1.png", "y/b/2.png")
    assert read_folder(tmp_path / "d").describe() == [
        f"{tmp_path / 'd'}: domains above classes",
        "  d/x: 2 images, 2 classes (a 1, b 1)",
        "  d/y: 3 images, 2 classes (a 1, b 2)",
    ]


def test_summary_of_many_classes() -> None:
    classes = tuple(f"c{i}" for i in range(13))
    labels = np.repeat(np.arange(13), [2] + [5] * 12)  # 2 + 60 images
    table = ImageTable("t", tuple(map(str, range(62))), labels, classes)
    assert summary(table) == "t: 62 images, 13 classes with 2 to 5 images each"


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gone does not exist"):
        read_folder(tmp_path / "gone")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file is a file"):
        read_folder(tmp_path / "file")


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/notes.txt").write_text("x")
    with pytest.raises(UserError, match=f"{tmp_path} holds no images.*jpeg jpg"):
        read_folder(tmp_path)


def test_images_beside_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png", "cat/1.png")
    with pytest.raises(UserError, match=r"2 images \(1.png, …\) beside folders of images \(cat\)"):
        read_folder(tmp_path)


def test_check_source(tmp_path: Path) -> None:
    put(tmp_path, "flat/1.png", "one/cat/1.png", "two/cat/1.png", "two/dog/1.png")
    check_source(read_folder(tmp_path / "two").table())
    with pytest.raises(UserError, match="source flat has no labels"):
        check_source(read_folder(tmp_path / "flat").table())
    with pytest.raises(UserError, match=r"source one has one class \(cat\)"):
        check_source(read_folder(tmp_path / "one").table())


def test_join_matches_classes_by_name() -> None:
    one = ImageTable("one", ("p", "q"), np.array([0, 1]), ("b", "c"))
    two = ImageTable("two", ("r", "s", "t"), np.array([0, 1, -1]), ("a", "b"))
    both = join([one, two], "both")
    assert both.classes == ("a", "b", "c")
    assert both.paths == ("p", "q", "r", "s", "t")
    assert both.labels.tolist() == [1, 2, 0, 1, -1]  # b c | a b unlabelled


def test_join_of_pixels() -> None:
    def digits(name: str, size: int) -> ImageTable:
        return ImageTable(name, ("p",), np.array([0]), ("a",), torch.full((1, 3, size, size), size, dtype=torch.uint8))

    both = join([digits("one", 4), digits("two", 4)], "both")
    assert both.pixels is not None
    assert both.pixels.shape == (2, 3, 4, 4)
    with pytest.raises(UserError, match=r"cannot be joined into both \(one \(4, 4\), two \(5, 5\)\)"):
        join([digits("one", 4), digits("two", 5)], "both")
    with pytest.raises(ValueError, match="tables of files"):
        join([digits("one", 4), ImageTable("f", ("p",), np.array([0]), ("a",))], "both")


def test_alphabetical_ignores_case_and_separators_and_counts() -> None:
    assert alphabetical(["desktop_computer", "desk_lamp", "TV", "Table", "toe", "10", "9"]) == (
        "9",
        "10",
        "desk_lamp",
        "desktop_computer",
        "Table",
        "toe",
        "TV",
    )


@given(st.lists(st.text(max_size=8)))
def test_natural_key_orders_any_names(texts: list[str]) -> None:
    once = sorted(texts, key=natural_key)
    once.reverse()
    assert sorted(once, key=natural_key) == sorted(texts, key=natural_key)


def test_pixels_are_not_copied_where_the_classes_stay() -> None:
    pixels = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    table = ImageTable("digits", ("a", "b", "c"), np.array([0, 1, -1]), ("x", "y"), pixels)
    assert table.relabel(("x", "y")) is table
    turned = table.relabel(("y", "x"))
    assert turned.labels.tolist() == [1, 0, -1]
    assert table.relabel(("y",)).labels.tolist() == [0, -1]
