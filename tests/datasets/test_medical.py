"""Medical data sets, each laid out as its publisher does, and read with who and where an image is from."""

import functools
import gzip
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.test_catalog import QuietHandler
from tests.shared_data import put
from uda.datasets import medical_arrays
from uda.datasets.catalog import Loaded, find_dataset, load
from uda.datasets.groups import own_groups
from uda.datasets.resolve import resolve
from uda.errors import UserError


def read(name: str, domain: str, root: Path) -> Loaded:
    dataset = find_dataset(name)
    assert dataset is not None
    return load(dataset, domain, [root])


def columns(loaded: Loaded) -> dict[str, list[str]]:
    return {name: values.tolist() for name, values in loaded.table.columns.items()}


def test_breakhis(tmp_path: Path) -> None:
    base = "BreaKHis_v1/histology_slides/breast"
    put(
        tmp_path / "breakhis",
        f"{base}/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png",
        f"{base}/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-002.png",
        f"{base}/benign/SOB/adenosis/SOB_B_A_14-22549AB/100X/SOB_B_A-14-22549AB-100-001.png",
        f"{base}/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-2523/40X/SOB_M_DC-14-2523-40-010.png",
    )
    found = read("breakhis", "40x", tmp_path)
    assert found.table.counts() == {"benign": 2, "malignant": 1}
    assert columns(found) == {"patient": ["14-22549AB", "14-22549AB", "14-2523"], "tumor": ["A", "A", "DC"]}
    assert own_groups(found.table).tolist() == [0, 0, 1]
    assert "has 3 images where 1995 were published" in found.warnings[0]
    assert len(read("breakhis", "100X", tmp_path).table) == 1


def test_nct_crc_he_is_domains_above_classes(tmp_path: Path) -> None:
    for name in ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K"):
        put(tmp_path / "nct_crc_he", *(f"{name}/{c}/{c}-1.tif" for c in ("ADI", "BACK", "TUM")))
    assert len(read("nct_crc_he", "CRC-VAL-HE-7K", tmp_path).table) == 3
    assert read("nct_crc_he", "100k", tmp_path).table.name == "nct_crc_he/100k"


def test_lc25000_says_that_it_leaks(tmp_path: Path) -> None:
    base = "lung_colon_image_set"
    put(tmp_path, *(f"{base}/lung_image_sets/{c}/{c}1.jpeg" for c in ("lung_n", "lung_aca", "lung_scc")))
    put(tmp_path, *(f"{base}/colon_image_sets/{c}/{c}1.jpeg" for c in ("colon_aca", "colon_n")))
    found = read("lc25000", "lung", tmp_path)
    assert found.table.classes == ("lung_aca", "lung_n", "lung_scc")
    assert "data.groups=look-alike keeps copies together" in found.warnings[0]


def test_camelyon17_has_centers_as_domains(tmp_path: Path) -> None:
    root = tmp_path / "camelyon17_v1.0"
    put(
        root,
        "patches/patient_004_node_4/patch_patient_004_node_4_x_3328_y_21792.png",
        "patches/patient_004_node_4/patch_patient_004_node_4_x_3200_y_22272.png",
        "patches/patient_020_node_2/patch_patient_020_node_2_x_10_y_20.png",
    )
    (root / "metadata.csv").write_text(
        ",patient,node,x_coord,y_coord,tumor,slide,center,split\n"
        "0,004,4,3328,21792,1,0,0,0\n1,004,4,3200,22272,0,0,0,0\n2,020,2,10,20,1,10,1,0\n"
    )
    found = read("camelyon17", "center0", tmp_path)
    assert found.table.counts() == {"normal": 1, "tumor": 1}
    assert all(Path(path).is_file() for path in found.table.paths)
    assert columns(found) == {"patient": ["004"] * 2, "slide": ["0"] * 2, "node": ["4"] * 2, "center": ["0"] * 2}
    whole = resolve("camelyon17/center0", "center1", tmp_path)
    assert whole.target.columns["center"].tolist() == ["1"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("patient,node,x_coord,y_coord,tumor,center\n004,4,0,0,1,0\n", "lacks the column 'slide'"),
        (
            "patient,node,x_coord,y_coord,tumor,slide,center\n004,4,0,0,1,0,0\n004,4,0,0,yes,0,0\n",
            "line 3: 'yes' is no number of the column 'tumor'",
        ),
        ("patient,node,x_coord,y_coord,tumor,slide,center\n004,4\n", "line 2: 'None' is no number of the column 'tu"),
    ],
)
def test_a_table_of_camelyon17_that_is_broken_is_named(tmp_path: Path, table: str, said: str) -> None:
    root = tmp_path / "camelyon17_v1.0"
    root.mkdir()
    (root / "metadata.csv").write_text(table)
    with pytest.raises(UserError, match=said):
        read("camelyon17", "center0", tmp_path)


def test_chest_films_in_folders(tmp_path: Path) -> None:
    put(
        tmp_path / "chest_xray",
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0117-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "test/NORMAL/IM-0001-0001.jpeg",
        "test/PNEUMONIA/person1_virus_6.jpeg",
    )
    found = read("chest_xray", "pediatric", tmp_path)
    assert {name: table.counts() for name, table in found.splits.items()} == {
        "train": {"NORMAL": 2, "PNEUMONIA": 2},
        "test": {"NORMAL": 1, "PNEUMONIA": 1},
    }
    assert found.splits["train"].columns["patient"].tolist() == ["study 0115", "study 0117", "person1", "person1"]
    assert found.splits["test"].columns["patient"].tolist() == ["test study 0001", "test person1"]  # another child


def test_chestxray14_is_any_finding_or_none(tmp_path: Path) -> None:
    root = tmp_path / "CXR8"
    names = ["00000001_000.png", "00000001_001.png", "00000002_000.png"]
    put(root, f"images_001/images/{names[0]}", f"images_001/images/{names[1]}", f"images_002/images/{names[2]}")
    lines = [f"{n},{f},0,{int(n[:8])},58,M" for n, f in zip(names, ["Mass|Edema", "Mass", "No Finding"], strict=True)]
    header = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender"
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([header, *lines, "00000003_000.png,Mass,0,3,1,F"]))
    (root / "train_val_list.txt").write_text("\n".join(names[:2]))
    (root / "test_list.txt").write_text(names[2])
    found = read("chestxray14", "nih", tmp_path)
    assert found.table.counts() == {"finding": 2, "no finding": 1}
    assert columns(found) == {"patient": ["1", "1", "2"]}
    assert {name: len(table) for name, table in found.splits.items()} == {"train": 2, "test": 1}


def pcam(root: Path, split: str, n: int) -> dict[str, bytes]:
    h5py = pytest.importorskip("h5py")
    stem = f"camelyonpatch_level_2_split_{split}"
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / f"{stem}_x.h5", "w") as file:
        file["x"] = np.full((n, 96, 96, 3), n, np.uint8)
    with h5py.File(root / f"{stem}_y.h5", "w") as file:
        file["y"] = (np.arange(n) % 2).astype(np.uint8).reshape(n, 1, 1, 1)
    rows = [f"{i},0,0,{i % 2 == 1},True,camelyon16_train_normal_{i // 2:03d}" for i in range(n)]
    (root / f"{stem}_meta.csv").write_text(
        "\n".join([",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi", *rows]) + "\n"
    )
    return {file.name: file.read_bytes() for file in root.iterdir()}


def test_pcam(tmp_path: Path) -> None:
    for split, n in (("train", 4), ("valid", 2), ("test", 2)):
        pcam(tmp_path / "pcam", split, n)
    found = read("pcam", "patches", tmp_path)
    assert {name: len(table) for name, table in found.splits.items()} == {"train": 4, "val": 2, "test": 2}
    assert found.splits["train"].counts() == {"normal": 2, "tumor": 2}
    assert found.splits["train"].pixels.shape == (4, 3, 96, 96)
    assert own_groups(found.splits["train"]).tolist() == [0, 0, 1, 1]


def test_pcam_is_fetched_and_unzipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    for split, n in (("train", 4), ("valid", 2), ("test", 2)):
        for name, content in pcam(tmp_path / split, split, n).items():
            packed = name if name.endswith(".csv") else f"{name}.gz"
            (offered / packed).write_bytes(content if name.endswith(".csv") else gzip.compress(content))
    handler = functools.partial(QuietHandler, directory=str(offered))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(medical_arrays, "_PCAM_URL", f"http://127.0.0.1:{server.server_port}")
        dataset = find_dataset("pcam")
        assert dataset is not None
        assert len(load(dataset, "patches", [tmp_path / "data"], fetch=True).table) == 8
        server.shutdown()
    assert sorted(path.suffix for path in (tmp_path / "data/pcam").iterdir()) == [".csv"] * 3 + [".h5"] * 6


def medmnist(root: Path, name: str, shape: tuple[int, ...], labels: np.ndarray) -> None:
    root.mkdir(parents=True, exist_ok=True)
    arrays = {f"{s}_images": np.zeros((len(labels), *shape), np.uint8) for s in ("train", "val", "test")}
    arrays |= {f"{s}_labels": labels for s in ("train", "val", "test")}
    np.savez(root / f"{name}.npz", **arrays)


def test_medmnist(tmp_path: Path) -> None:
    medmnist(tmp_path / "medmnist", "pneumoniamnist", (28, 28), np.array([[0], [1], [1]], np.uint8))
    found = read("medmnist", "pneumoniamnist", tmp_path)
    assert found.splits["train"].pixels.shape == (3, 3, 28, 28)
    assert list(found.splits["test"].counts().values()) == [1, 2]
    medmnist(tmp_path / "medmnist", "pathmnist_64", (64, 64, 3), np.array([[0], [8], [3]], np.uint8))
    assert read("medmnist", "pathmnist_64", tmp_path).splits["val"].pixels.shape == (3, 3, 64, 64)
    medmnist(tmp_path / "medmnist", "chestmnist", (28, 28), np.array([[0] * 14, [1] * 14], np.uint8))
    assert read("medmnist", "chestmnist", tmp_path).splits["val"].counts() == {"finding": 1, "no finding": 1}
    (tmp_path / "medmnist/bloodmnist.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"bloodmnist.npz cannot be read"):
        read("medmnist", "bloodmnist", tmp_path)


def test_classes_of_medmnist_are_named_by_its_package(tmp_path: Path) -> None:
    pytest.importorskip("medmnist.info")
    medmnist(tmp_path / "medmnist", "pathmnist", (28, 28, 3), np.array([[0], [8]], np.uint8))
    assert read("medmnist", "pathmnist", tmp_path).table.classes[0] == "adipose"
