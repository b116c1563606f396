import dataclasses
import functools
import os
import struct
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.shared_data import put, real
from uda.datasets.catalog import Archive, data_roots, dataset_names, find_dataset, load, plain
from uda.datasets.catalog_entries import (
    CATALOG,
    DIGITS,
    DOMAINNET,
    OFFICE,
    OFFICE_CALTECH10,
    OFFICE_HOME,
    PACS,
    VISDA2017,
)
from uda.datasets.download import Download
from uda.datasets.folders import alphabetical
from uda.errors import UserError


def test_every_class_list_is_alphabetical_and_of_the_published_length() -> None:
    sizes = {dataset.name: len(dataset.classes) for dataset in CATALOG}
    assert sizes == {
        "office": 31,
        "office_caltech10": 10,
        "office_home": 65,
        "visda2017": 12,
        "pacs": 7,
        "domainnet": 345,
        "digits": 10,
        **{"pcam": 2, "breakhis": 2, "nct_crc_he": 9, "lc25000": 5, "camelyon17": 2},
        **{"chest_xray": 2, "chestxray14": 2, "medmnist": 0},
    }
    for dataset in CATALOG:
        assert alphabetical(dataset.classes) == dataset.classes
        assert len({plain(name) for name in dataset.classes}) == len(dataset.classes)
        assert set(dataset.spellings.values()) <= set(dataset.classes)


def test_published_splits_are_what_they_are_called() -> None:
    for dataset in CATALOG:
        for setting, sets in dataset.splits.items():
            assert sets.setting == setting
            parts = sets.shared + sets.source_private + sets.target_private
            assert len(set(parts)) == len(parts)
            assert set(parts) <= set(dataset.classes)
    sizes = DOMAINNET.splits["open-partial"]
    assert (len(sizes.shared), len(sizes.source_private), len(sizes.target_private)) == (150, 50, 145)


@pytest.mark.parametrize("name", ["office", "Office31", "office-31", "OFFICE_31"])
def test_aliases(name: str) -> None:
    assert find_dataset(name) is OFFICE


def test_names_that_are_not_there() -> None:
    assert find_dataset("imagenet") is None
    assert "office" in dataset_names()
    with pytest.raises(UserError, match="unknown domain of office 'amazn': did you mean amazon"):
        OFFICE.domain("amazn")


@pytest.mark.parametrize(
    ("dataset", "spelling", "name"),
    [
        (OFFICE_HOME, "Real World", "real_world"),
        (OFFICE_HOME, "RealWorld", "real_world"),
        (OFFICE_HOME, "real", "real_world"),
        (VISDA2017, "synthetic", "train"),
        (PACS, "art", "art_painting"),
        (OFFICE_CALTECH10, "Caltech", "caltech10"),
    ],
)
def test_domain_spellings(dataset, spelling: str, name: str) -> None:  # type: ignore[no-untyped-def]
    assert dataset.domain(spelling).name == name


def test_data_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UDA_DATA", raising=False)
    assert data_roots(None) == [Path("data")]
    monkeypatch.setenv("UDA_DATA", f"one{os.pathsep}two")
    assert data_roots(None) == [Path("one"), Path("two")]
    assert data_roots("given") == [Path("given")]


@pytest.mark.parametrize(
    "place",
    ["office31/amazon/images", "Office-31/amazon", "office/domain_adaptation_images/Amazon/images", "amazon/images"],
)
def test_layouts_of_office(tmp_path: Path, place: str) -> None:
    put(tmp_path, *(f"{place}/{name}/{i}.jpg" for name in OFFICE.classes for i in range(2)))
    loaded = load(OFFICE, "amazon", [tmp_path])
    assert loaded.table.name == "office/amazon"
    assert loaded.table.classes == OFFICE.classes
    assert loaded.table.labels.tolist() == np.repeat(np.arange(31), 2).tolist()
    assert loaded.warnings == (
        "office/amazon has 62 images where 2817 were published: results will not compare exactly",
    )


def test_class_folders_are_matched_by_spelling(tmp_path: Path) -> None:
    names = ["Backpack", "touring-bike", "003.calculator", "head-phones", "KEYBOARD", "laptop-101", "monitor", "mug"]
    put(tmp_path, *(f"OfficeCaltech/caltech/{name}/1.jpg" for name in [*names, "tennis-racket"]))
    loaded = load(OFFICE_CALTECH10, "c", [tmp_path])
    counts = loaded.table.counts()
    assert list(counts) == ["backpack", "bike", "calculator", "headphones", "keyboard", "laptop", "monitor", "mug"]
    folder = tmp_path / "OfficeCaltech" / "caltech"
    assert loaded.warnings == (
        f"office_caltech10/caltech10: {folder} has folders that are no class of Office-Caltech10: tennis-racket",
        f"office_caltech10/caltech10: {folder} lacks classes of Office-Caltech10: mouse, projector",
        "office_caltech10/caltech10 has 8 images where 1123 were published: results will not compare exactly",
    )


def test_a_stray_folder_named_like_a_domain_is_not_taken_for_the_data_set(tmp_path: Path) -> None:
    put(tmp_path, "amazon/mug/1.jpg", "amazon/pen/1.jpg")
    with pytest.raises(UserError, match="office/amazon"):
        load(OFFICE, "amazon", [tmp_path])


def test_every_root_is_searched(tmp_path: Path) -> None:
    put(tmp_path / "two", "PACS/kfold/photo/dog/1.jpg", "PACS/kfold/photo/house/1.jpg")
    assert len(load(PACS, "photo", [tmp_path / "one", tmp_path / "two"]).table) == 2


def test_visda_train_is_a_domain_not_a_split(tmp_path: Path) -> None:
    put(tmp_path, *(f"visda/train/{name}/1.png" for name in VISDA2017.classes))
    put(tmp_path, *(f"visda/validation/{name}/1.png" for name in VISDA2017.classes))
    loaded = load(VISDA2017, "train", [tmp_path])
    assert loaded.splits == {}
    assert len(loaded.table) == 12
    assert loaded.table.classes == VISDA2017.classes


def test_splits_above_the_classes_of_a_domain_are_put_together(tmp_path: Path) -> None:
    put(tmp_path, "pacs/photo/train/dog/1.jpg", "pacs/photo/test/dog/2.jpg", "pacs/photo/test/person/2.jpg")
    assert load(PACS, "photo", [tmp_path]).table.counts() == {"dog": 2, "person": 1}


def test_domainnet_lists_leave_images_out(tmp_path: Path) -> None:
    put(tmp_path, *(f"domainnet/clipart/bird/clipart_{i}.jpg" for i in range(4)))
    put(tmp_path, "domainnet/clipart/zigzag/clipart_9.jpg")
    (tmp_path / "domainnet/clipart_train.txt").write_text(
        "clipart/bird/clipart_2.jpg 31\nclipart/bird/clipart_0.jpg 31\n"
    )
    (tmp_path / "domainnet/clipart_test.txt").write_text("clipart/zigzag/clipart_9.jpg 344\n")
    loaded = load(DOMAINNET, "clipart", [tmp_path])
    assert [Path(path).name for path in loaded.table.paths] == ["clipart_0.jpg", "clipart_2.jpg", "clipart_9.jpg"]
    assert {split: len(table) for split, table in loaded.splits.items()} == {"train": 2, "test": 1}
    assert loaded.splits["test"].counts() == {"bird": 0, "zigzag": 1}


@pytest.mark.parametrize("dataset", CATALOG, ids=lambda dataset: dataset.name)
def test_what_is_not_on_disk(tmp_path: Path, dataset) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        load(dataset, dataset.domains[0].name, [tmp_path / "one", tmp_path / "two"])
    message = str(caught.value)
    assert f"looked in {tmp_path / 'one'}, {tmp_path / 'two'} for {dataset.layout}" in message
    assert dataset.by_hand in message
    assert "python run.py --task unida runs without any data" in message
    assert ("add --download" in message) == dataset.downloadable
    assert "\n" not in message


def test_a_data_set_is_fetched_archive_by_archive(tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    for domain in ("train", "validation"):
        put(offered, *(f"{domain}/{name}/1.png" for name in VISDA2017.classes))
        with tarfile.open(offered / f"{domain}.tar", "w") as file:
            file.add(offered / domain, domain)
    handler = functools.partial(QuietHandler, directory=str(offered))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        archives = tuple(Archive(Download(f"{url}/{d.name}.tar"), (d.name,)) for d in VISDA2017.domains)
        dataset = dataclasses.replace(VISDA2017, archives=archives)
        with pytest.raises(UserError, match="is not on disk"):
            load(dataset, "train", [tmp_path / "data"])
        assert len(load(dataset, "train", [tmp_path / "data"], fetch=True).table) == 12
        assert not (tmp_path / "data/visda2017/validation").exists()  # only what was asked for
        assert len(load(dataset, "validation", [tmp_path / "data"], fetch=True).table) == 12
        server.shutdown()
    assert len(load(dataset, "train", [tmp_path / "data"], fetch=True).table) == 12  # from the disk


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def write_npz(path: Path, n: int = 3) -> None:
    images = {}
    for name, size in (("mnist", 28), ("usps", 16)):
        for split in ("train", "test"):
            images[f"{name}_{split}_images"] = np.full((n, size, size), 7 if split == "train" else 9, np.uint8)
            images[f"{name}_{split}_labels"] = np.arange(n, dtype=np.uint8)
    np.savez(path, **images)


def test_digits_from_npz(tmp_path: Path) -> None:
    write_npz(tmp_path / "digits.npz")
    loaded = load(DIGITS, "usps", [tmp_path])
    assert loaded.table.name == "digits/usps"
    assert loaded.table.pixels is not None
    assert loaded.table.pixels.shape == (6, 3, 16, 16)
    assert loaded.table.pixels.dtype == torch.uint8
    assert loaded.table.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert loaded.table.paths[3] == "usps/test/00000"
    assert loaded.splits["test"].pixels.unique().tolist() == [9]  # type: ignore[union-attr]
    assert loaded.warnings == ("digits/usps has 6 images where 9298 were published: results will not compare exactly",)
    with pytest.raises(UserError, match="digits/svhn"):
        load(DIGITS, "svhn", [tmp_path])


def test_digits_that_are_not_digits(tmp_path: Path) -> None:
    (tmp_path / "digits.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"digits\.npz cannot be read"):
        load(DIGITS, "mnist", [tmp_path])
    keys = [f"mnist_{split}_{what}" for split in ("train", "test") for what in ("images", "labels")]
    np.savez(tmp_path / "digits.npz", **dict.fromkeys(keys, np.zeros(3)))
    with pytest.raises(UserError, match=r"mnist_train in .* is no set of digits"):
        load(DIGITS, "mnist", [tmp_path])


@pytest.mark.parametrize("place", ["", "digits"])
def test_digits_as_torchvision_keeps_them(tmp_path: Path, place: str) -> None:
    raw = tmp_path / place / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, n in (("train", 4), ("t10k", 2)):  # the idx format: magic number, sizes, bytes
        images = np.arange(n * 784, dtype=np.uint32).astype(np.uint8)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, n, 28, 28) + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, n) + bytes(range(n)))
    loaded = load(DIGITS, "mnist", [tmp_path])
    assert loaded.table.labels.tolist() == [0, 1, 2, 3, 0, 1]
    assert loaded.table.pixels is not None
    assert loaded.table.pixels[0, 2, 0, :3].tolist() == [0, 1, 2]  # gray in all three channels


def test_the_real_office_caltech10() -> None:
    root = real("office_caltech10")
    counts = {}
    for domain in OFFICE_CALTECH10.domains:
        loaded = load(OFFICE_CALTECH10, domain.name, [root])
        assert loaded.warnings == ()
        assert loaded.table.classes == OFFICE_CALTECH10.classes
        counts[domain.name] = len(loaded.table)
    assert counts == {"amazon": 958, "caltech10": 1123, "dslr": 157, "webcam": 295}


def test_the_real_pacs() -> None:
    root = real("pacs128")
    counts = {domain.name: len(load(PACS, domain.name, [root]).table) for domain in PACS.domains}
    assert counts == {"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929}


def test_the_real_digits() -> None:
    root = real("digits.npz")
    sizes = {s: len(t) for s, t in load(DIGITS, "mnist", [root]).splits.items()}
    assert sizes == {"train": 6000, "test": 2000}
    usps = load(DIGITS, "usps", [root])
    assert {s: len(t) for s, t in usps.splits.items()} == {"train": 5898, "test": 1784}
    assert min(usps.table.counts().values()) > 500
