from pathlib import Path

import numpy as np
import pytest

from tests.shared_data import put, real
from uda.datasets.catalog_entries import OFFICE, OFFICE_CALTECH10, PACS
from uda.datasets.labelsets import apply, label_sets
from uda.datasets.resolve import Resolved, resolve
from uda.errors import UserError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data root with Office-31, PACS and digits in miniature, away from any folder of their names."""
    for dataset, folder in ((OFFICE, "office31"), (PACS, "PACS")):
        for domain in dataset.domains:
            put(tmp_path / "data" / folder / domain.name, *(f"{name}/1.jpg" for name in dataset.classes))
    arrays = {}
    for name, size in (("mnist", 28), ("usps", 16)):
        for split, n in (("train", 4), ("test", 2)):
            arrays[f"{name}_{split}_images"] = np.zeros((n, size, size), np.uint8)
            arrays[f"{name}_{split}_labels"] = np.arange(n, dtype=np.uint8)
    np.savez(tmp_path / "data" / "digits.npz", **arrays)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "data"


def names(resolved: Resolved) -> tuple[list[str], list[str]]:
    return [table.name for table in resolved.sources], [table.name for table in resolved.targets]


@pytest.mark.parametrize(
    ("source", "target", "sources", "targets"),
    [
        ("office/amazon", "office/dslr", ["office/amazon"], ["office/dslr"]),
        ("office", "dslr", ["office/amazon"], ["office/dslr"]),
        ("office", "amazon", ["office/dslr"], ["office/amazon"]),  # the first that is not the target
        ("Office-31/a", "W", ["office/amazon"], ["office/webcam"]),
        ("webcam", "office", ["office/webcam"], ["office/amazon"]),
        ("office", "office", ["office/amazon"], ["office/dslr"]),
        ("office/amazon", "pacs", ["office/amazon"], ["pacs/art_painting"]),
        ("all", "office/dslr", ["office/amazon", "office/webcam"], ["office/dslr"]),
        ("office/all", "dslr", ["office/amazon", "office/webcam"], ["office/dslr"]),
        ("office/dslr", "all", ["office/dslr"], ["office/amazon", "office/webcam"]),
        ("photo", "art_painting", ["pacs/photo"], ["pacs/art_painting"]),  # only PACS has both
        ("all", "photo", ["pacs/art_painting", "pacs/cartoon", "pacs/sketch"], ["pacs/photo"]),
        ("mnist", "usps", ["digits/mnist/train"], ["digits/usps"]),
        ("digits/mnist/test", "usps", ["digits/mnist/test"], ["digits/usps"]),
        ("digits/mnist/train", "digits/mnist/test", ["digits/mnist/train"], ["digits/mnist/test"]),
        ("office", None, ["office/amazon"], []),
        (None, "office/webcam", [], ["office/webcam"]),
    ],
)
def test_names_from_the_catalog(
    root: Path, source: str | None, target: str | None, sources: list[str], targets: list[str]
) -> None:
    assert names(resolve(source, target, root)) == (sources, targets)


def test_domain_generalization_takes_every_other_domain(root: Path) -> None:
    others = ["pacs/art_painting", "pacs/cartoon", "pacs/photo"]
    resolved = resolve("pacs", "sketch", root, every_source=True)
    assert names(resolved) == (others, ["pacs/sketch"])
    assert resolved.source.name == "pacs/art_painting + pacs/cartoon + pacs/photo"
    assert len(resolved.source) == 21  # seven classes with one image in each of three domains
    assert names(resolve("pacs", "all", root, every_source=True)) == (
        [*others, "pacs/sketch"],
        [*others, "pacs/sketch"],
    )
    assert names(resolve("pacs/photo", "sketch", root, every_source=True)) == (["pacs/photo"], ["pacs/sketch"])


def test_the_data_set_and_the_lines(root: Path) -> None:
    resolved = resolve("office", "dslr", root)
    assert resolved.dataset is OFFICE
    assert resolved.lines == (
        f"source: office/amazon: 31 images, 31 classes with 1 images each (Office-31, in {root / 'office31'})",
        f"target: office/dslr: 31 images, 31 classes with 1 images each (Office-31, in {root / 'office31'})",
    )
    assert [warning.split(":")[0] for warning in resolved.warnings] == [
        "office/amazon has 31 images where 2817 were published",
        "office/dslr has 31 images where 498 were published",
    ]
    assert resolve("office/amazon", "pacs/photo", root).dataset is None


def test_a_source_keeps_its_splits_at_hand(root: Path) -> None:
    assert list(resolve("digits/mnist", None, root).source_splits) == ["train", "test"]


def test_without_names_the_built_in_data(root: Path) -> None:
    resolved = resolve(None, None, root)
    assert names(resolved) == (["builtin/printed"], ["builtin/handwritten"])
    assert names(resolve("builtin/handwritten", "printed", root)) == (["builtin/handwritten"], ["builtin/printed"])
    assert resolved.dataset is None
    assert resolved.source.pixels is not None


def test_folders(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "mine/cat/1.png", "mine/dog/1.png", "camera/1.png", "camera/2.png")
    resolved = resolve(str(tmp_path / "mine"), str(tmp_path / "camera"), root)
    assert names(resolved) == (["mine"], ["camera"])
    assert resolved.lines == (
        f"{tmp_path / 'mine'}: one folder a class",
        "  mine: 2 images, 2 classes (cat 1, dog 1)",
        f"{tmp_path / 'camera'}: images without labels",
        "  camera: 2 images, no labels",
        "source: mine, 2 images",
        "target: camera, 2 images",
    )


def test_a_folder_that_exists_goes_before_a_data_set_of_its_name(root: Path) -> None:
    put(Path("office"), "cat/1.png", "dog/1.png")  # in the working directory
    assert resolve("office", "office31/dslr", root).source.classes == ("cat", "dog")


def test_a_folder_of_domains(root: Path, tmp_path: Path) -> None:
    put(tmp_path, *(f"set/{domain}/{c}/1.png" for domain in ("day", "fog", "night") for c in ("car", "bus")))
    path = str(tmp_path / "set")
    assert names(resolve(path, "night", root)) == (["set/day"], ["set/night"])
    assert names(resolve(path, "day", root)) == (["set/fog"], ["set/day"])
    assert names(resolve(path, f"{path}/day", root)) == (["set/fog"], ["day"])
    assert names(resolve(path, "fog", root, every_source=True)) == (["set/day", "set/night"], ["set/fog"])
    with pytest.raises(UserError, match=r"unknown target 'dusk'"):
        resolve(path, "dusk", root)
    with pytest.raises(UserError, match=rf"--target night: there is no such folder here; write --target {path}/night"):
        resolve(f"{path}/day", "night", root)
    with pytest.raises(UserError, match=rf"--source fog: there is no such folder here; write --source {path}/fog"):
        resolve("fog", f"{path}/day", root)
    with pytest.raises(UserError, match=r"unknown target 'dusk'"):
        resolve(f"{path}/day", "dusk", root)


def test_a_folder_of_splits(root: Path, tmp_path: Path) -> None:
    files = [f"set/{split}/{c}/{i}.png" for split, n in (("train", 2), ("test", 1)) for c in "ab" for i in range(n)]
    put(tmp_path, *files)
    put(tmp_path, *(name.replace("set/", "other/") for name in files))
    resolved = resolve(str(tmp_path / "set"), str(tmp_path / "other"), root)
    assert names(resolved) == (["set/train"], ["other"])
    assert (len(resolved.source), len(resolved.target)) == (4, 6)  # train only; all splits
    assert names(resolve(str(tmp_path / "set"), str(tmp_path / "other/test"), root))[1] == ["test"]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("ofice", "dslr", "unknown data set, domain or folder 'ofice': did you mean office"),
        ("office/amazn", "dslr", "unknown domain of office 'amazn': did you mean amazon"),
        ("office/amazon", "amzon", "unknown target 'amzon': did you mean amazon"),
        ("amazon", None, "unknown source 'amazon'"),
        ("nope/x", "dslr", "--source nope/x: there is no such folder, and 'nope' is no data set"),
        ("./nope", "office", "--source ./nope: there is no such folder"),
        (
            "amazon",
            "webcam",
            "'amazon' is a domain of several data sets: write office/amazon or office_caltech10/amazon",
        ),
        ("amazon", "photo", "no data set has both domains amazon and photo"),
        ("all", "all", "names no data set"),
        ("all", None, "--source all needs the data set"),
        ("office/dslr", "dslr", "source and target are both"),
        ("office/dslr/train", "amazon", "office/dslr has no split 'train': it has no splits"),
        ("digits/mnist/dev", "usps", "digits/mnist has no split 'dev': it has train, test"),
        ("office/a/b/c", "dslr", "has too many parts"),
        ("office_home/art", "product", r"office_home/art \(Office-Home\) is not on disk"),
    ],
)
def test_names_that_cannot_be(root: Path, source: str | None, target: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(source, target, root)


def test_a_source_must_have_labels_unless_the_task_needs_none(root: Path, tmp_path: Path) -> None:
    put(tmp_path, "flat/1.png", "one/cat/1.png")
    with pytest.raises(UserError, match="source flat has no labels"):
        resolve(str(tmp_path / "flat"), "pacs/photo", root)
    with pytest.raises(UserError, match="source one has one class"):
        resolve(str(tmp_path / "one"), "pacs/photo", root)
    assert len(resolve(str(tmp_path / "flat"), None, root, need_labels=False).source) == 1


def test_a_side_that_was_not_given(root: Path) -> None:
    with pytest.raises(UserError, match="this task needs --target"):
        _ = resolve("office", None, root).target
    with pytest.raises(UserError, match="this task needs --source"):
        _ = resolve(None, "office", root).source


def test_the_real_office_caltech10_from_name_to_label_sets() -> None:
    resolved = resolve("office_caltech10/dslr", "amazon", real("office_caltech10"))
    assert resolved.dataset is OFFICE_CALTECH10
    sets = label_sets(resolved.source.classes, resolved.target.classes, split="4/3/3", dataset=resolved.dataset)
    source, target = apply(sets, resolved.source, resolved.target)
    # backpack bike calculator headphones | keyboard laptop monitor | mouse mug projector, counted on disk
    assert source.counts() == dict(
        zip(sets.source, (12, 21, 12, 13, 10, 24, 22), strict=True),
    )
    assert len(target) == 92 + 82 + 94 + 99 + 100 + 94 + 98
    assert target.classes[7:] == ("mouse", "mug", "projector")
    assert int((target.labels >= 7).sum()) == 100 + 94 + 98
    assert not np.isin(target.labels, [4, 5, 6]).any()  # source-private classes are gone from the target


def test_the_real_folder_is_read_like_the_catalog() -> None:
    root = real("pacs128")
    by_folder = resolve(str(root / "pacs128"), "sketch", root, every_source=True)
    by_name = resolve("pacs", "sketch", root, every_source=True)
    assert [table.paths for table in by_folder.sources] == [table.paths for table in by_name.sources]
    assert by_folder.target.labels.tolist() == by_name.target.labels.tolist()
