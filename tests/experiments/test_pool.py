"""The pool of images that names stand for, and which of its labels may be used."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import draw_classes
from uda.errors import UserError
from uda.experiments.pool import find_pool, load_pool, usable_labels
from uda.sections import PoolRecipe


def recipe(source: Path | str | None, **more: object) -> PoolRecipe:
    return PoolRecipe(source=None if source is None else str(source), image_size=16, stored_size=16, **more)


def test_without_a_name_it_is_the_built_in_images_of_both_domains() -> None:
    found = find_pool(recipe(None))
    assert found.table.name == "builtin/printed + builtin/handwritten"
    assert len(found.table) == 3597
    assert found.test is None


def test_all_domains_of_a_folder_are_joined(domains: Path) -> None:
    found = find_pool(recipe(domains))
    assert found.table.classes == ("apple", "bird", "cat", "dog")
    assert found.table.counts() == {"apple": 15, "bird": 14, "cat": 8, "dog": 7}  # two of these cannot be read
    loaded = load_pool(found, recipe(domains), progress=False)
    assert len(loaded.train.table) == len(loaded.train.images) == 42
    assert sorted(Path(image.path).name for image in loaded.unreadable) == ["broken.png", "empty.png"]
    assert loaded.class_names == ("apple", "bird", "cat", "dog")
    assert loaded.title == f"{domains.name}/photo + {domains.name}/sketch"


def test_one_domain_is_one(domains: Path) -> None:
    found = find_pool(recipe(domains / "photo"))
    assert (len(found.table), found.table.classes) == (24, ("apple", "bird", "cat"))


@pytest.mark.parametrize("name", ["test", "testing", "val", "valid", "validation"])
def test_a_test_split_is_tested_on(tmp_path: Path, name: str) -> None:
    draw_classes(tmp_path / "train", {"apple": 4, "bird": 4})
    draw_classes(tmp_path / name, {"bird": 2, "apple": 3}, noise=30)
    found = find_pool(recipe(tmp_path))
    assert len(found.table) == 8
    assert found.test is not None
    assert found.test.counts() == {"apple": 3, "bird": 2}
    assert any(line.startswith("tested on: 5 images of ") for line in found.lines)
    loaded = load_pool(found, recipe(tmp_path), progress=False)
    assert loaded.test is not None
    assert loaded.test.table.labels.tolist() == [0, 0, 0, 1, 1]


def test_images_of_a_class_that_training_lacks_test_nothing(tmp_path: Path) -> None:
    draw_classes(tmp_path / "train", {"bird": 4, "cat": 4})
    draw_classes(tmp_path / "test", {"ant": 1, "cat": 2, "dog": 3}, noise=30)
    found = find_pool(recipe(tmp_path))
    assert found.table.classes == ("bird", "cat")  # no answer for what cannot be learned
    assert found.table.labels.tolist() == [0] * 4 + [1] * 4
    assert found.test is not None
    assert found.test.labels.tolist() == [1, 1]
    assert found.warnings == (
        f"4 of the 6 images of {tmp_path.name}/test are left out, for there is no training image of their class (ant, "
        "dog)",
    )


@pytest.mark.parametrize("test", [{"zebra": 3}, {}])
def test_a_test_split_that_can_test_nothing_is_none(tmp_path: Path, test: dict[str, int]) -> None:
    draw_classes(tmp_path / "train", {"apple": 4, "bird": 4})
    draw_classes(tmp_path / "test", test)
    if not test:  # images without labels
        (tmp_path / "test").mkdir()
        Image.new("RGB", (16, 16)).save(tmp_path / "test" / "0.png")
    found = find_pool(recipe(tmp_path))
    assert found.test is None
    assert not any("tested on" in line for line in found.lines)
    assert ["no training image of their class (zebra)" in text for text in found.warnings] == [True] * len(test)


def test_a_single_image_is_refused(tmp_path: Path) -> None:
    draw_classes(tmp_path, {"apple": 1})
    with pytest.raises(UserError, match="holds a single image; name a data set or a folder with more"):
        find_pool(recipe(tmp_path))


def test_further_images_join_without_a_label(tmp_path: Path) -> None:
    draw_classes(tmp_path / "labelled", {"cat": 3, "bird": 4})
    draw_classes(tmp_path / "more" / "deep", {"dog": 2}, noise=30)  # whatever the folders say
    draw_classes(tmp_path / "more", {"cat": 1}, noise=50)
    found = find_pool(recipe(tmp_path / "labelled"), unlabelled=str(tmp_path / "more"))
    assert found.table.classes == ("bird", "cat")
    assert found.table.labels.tolist() == [0] * 4 + [1] * 3 + [-1] * 3
    assert found.lines[-1] == f"unlabelled: {tmp_path / 'more'}: 3 images, no labels"
    loaded = load_pool(found, recipe(tmp_path), progress=False)
    assert len(loaded.train.images) == 10
    assert loaded.title == f"labelled + {tmp_path / 'more'}"


def test_further_images_keep_their_groups(tmp_path: Path) -> None:
    for name, more in (("labelled", {"cat": 1, "bird": 1}), ("more", {"any": 1})):
        draw_classes(tmp_path / name, more)
        files = sorted(path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).rglob("*.png"))
        (tmp_path / name / "groups.csv").write_text("path,patient\n" + "".join(f"{file},p\n" for file in files))
    found = find_pool(recipe(tmp_path / "labelled"), unlabelled=str(tmp_path / "more"))
    assert found.table.columns["patient"].tolist() == ["p", "p", "p"]


def test_no_image_is_taken_twice_and_none_that_is_tested_on(tmp_path: Path) -> None:
    draw_classes(tmp_path / "all" / "photos" / "train", {"cat": 3, "bird": 4})
    draw_classes(tmp_path / "all" / "photos" / "test", {"cat": 2, "bird": 2}, noise=30)
    draw_classes(tmp_path / "all", {"new": 5}, noise=50)
    found = find_pool(recipe(tmp_path / "all" / "photos"), unlabelled=str(tmp_path / "all"))
    assert found.table.labels.tolist() == [0] * 4 + [1] * 3 + [-1] * 5
    assert all("/new/" in path for path in found.table.paths[7:])
    assert found.test is not None
    assert found.test.counts() == {"bird": 2, "cat": 2}


def test_images_that_are_tested_on_are_known_through_a_link_too(tmp_path: Path) -> None:
    draw_classes(tmp_path / "photos" / "train", {"cat": 3, "bird": 4})
    draw_classes(tmp_path / "photos" / "test", {"cat": 2, "bird": 2}, noise=30)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    with pytest.raises(UserError, match="--unlabelled"):
        find_pool(recipe(tmp_path / "photos"), unlabelled=str(tmp_path / "link" / "test"))


@pytest.mark.parametrize(
    ("source", "more", "sentence"),
    [
        ("photos", "gone", "--unlabelled '.*gone' is no folder; name one that holds images"),
        ("photos", "photos", "--unlabelled '.*photos' holds no images beside those of photos; name another folder"),
        (None, "photos", r"builtin/printed \+ builtin/handwritten is not made of files, which --unlabelled could join"),
    ],
)
def test_further_images_that_cannot_join(tmp_path: Path, source: str | None, more: str, sentence: str) -> None:
    draw_classes(tmp_path / "photos", {"cat": 3, "bird": 4})
    with pytest.raises(UserError, match=sentence):
        find_pool(recipe(tmp_path / source if source else None), unlabelled=str(tmp_path / more))


def test_the_fingerprint_is_of_images_and_labels(domains: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        return load_pool(find_pool(recipe(folder)), recipe(folder), progress=False).fingerprint

    first = fingerprint(domains / "photo")
    assert fingerprint(domains / "photo") == first
    renamed = draw_classes(tmp_path / "a", {"apple": 8, "bird": 8, "cat": 8})
    same = fingerprint(renamed)
    (renamed / "cat").rename(renamed / "cow")
    assert fingerprint(renamed) != same


def test_a_share_of_labels_is_class_balanced_and_the_rest_is_hidden() -> None:
    labels = np.repeat([0, 1, 2, -1], [10, 10, 20, 5])
    usable = usable_labels(labels, "30%", seed=1)
    kept = usable >= 0
    assert np.bincount(usable[kept]).tolist() == [4, 4, 4]  # 30 % of the 40 labelled ones
    assert (usable[kept] == labels[kept]).all()
    assert not np.array_equal(usable, usable_labels(labels, "30%", seed=2))
    assert usable_labels(labels, None, seed=1) is labels
    assert (usable_labels(labels, "6", seed=1) >= 0).sum() == 6


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        ("41", "--labels asks for 41 labels, but only 40 images have one; ask for fewer"),
        ("2", "--labels asks for 2 labels for 3 classes; ask for at least 3"),
        ("some", "--labels 'some' is neither a share nor a number of labels"),
    ],
)
def test_a_share_that_cannot_be_had(share: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        usable_labels(np.repeat([0, 1, 2, -1], [10, 10, 20, 5]), share, seed=0)
