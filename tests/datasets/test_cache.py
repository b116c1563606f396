import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uda.datasets import store
from uda.datasets.cache import PackedImages, Unreadable, default_cache_dir, pack
from uda.datasets.decode import decode, shrink
from uda.datasets.table import ImageTable
from uda.errors import UserError

SHAPES = [(20, 30), (30, 20), (16, 16), (8, 40), (50, 50)]


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def table_of(paths: list[Path]) -> ImageTable:
    labels = np.arange(len(paths), dtype=np.int64) % 2
    return ImageTable("pictures", tuple(str(path) for path in paths), labels, ("cat", "dog"))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Five noise images of different sizes."""
    (tmp_path / "data").mkdir()
    found = []
    for i, (height, width) in enumerate(SHAPES):
        path = tmp_path / "data" / f"{i}.png"
        Image.fromarray(noise(height, width, i)).save(path)
        found.append(path)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def packs_in(cache: Path) -> list[Path]:
    return sorted((cache / "packs").iterdir())


def test_images_are_those_of_the_files_shrunk(paths: list[Path], cache: Path) -> None:
    packed, table, unreadable = pack(table_of(paths), 16, cache)
    assert len(packed) == 5
    assert unreadable == []
    assert table.paths == table_of(paths).paths
    # shorter side at most 16: 20 x 30 → 16 x 24; the three smaller or equal ones as they are
    assert packed.sizes.tolist() == [[16, 24], [24, 16], [16, 16], [8, 40], [16, 16]]
    for i, path in enumerate(paths):
        assert (packed.image(i) == shrink(decode(path), 16)).all()
        assert packed.image(i).dtype == np.uint8


def test_images_cannot_be_written_to(paths: list[Path], cache: Path) -> None:
    packed, _, _ = pack(table_of(paths), 16, cache)
    with pytest.raises(ValueError, match="read-only"):
        packed.image(0)[:] = 0


def test_second_start_reads_what_the_first_wrote(paths: list[Path], cache: Path) -> None:
    first, _, _ = pack(table_of(paths), 16, cache)
    (folder,) = packs_in(cache)
    written = (folder / "pixels.bin").stat().st_mtime_ns
    second, _, _ = pack(table_of(paths), 16, cache)
    assert packs_in(cache) == [folder]
    assert (folder / "pixels.bin").stat().st_mtime_ns == written
    assert (first.data == second.data).all()
    assert first.fingerprint == second.fingerprint


def test_unchanged_files_are_not_even_opened(paths: list[Path], cache: Path) -> None:
    first, _, _ = pack(table_of(paths), 16, cache)
    stat = paths[0].stat()
    paths[0].write_bytes(b"x" * stat.st_size)  # other contents behind the same path, size and time
    os.utime(paths[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second, _, unreadable = pack(table_of(paths), 16, cache)
    assert unreadable == []
    assert second.fingerprint == first.fingerprint


def test_touched_and_moved_files_are_not_decoded_again(paths: list[Path], cache: Path) -> None:
    first, _, _ = pack(table_of(paths), 16, cache)
    (folder,) = packs_in(cache)
    for path in paths:
        os.utime(path, (1, 1))
    pack(table_of(paths), 16, cache)
    assert packs_in(cache) == [folder]
    moved = paths[0].parent.rename(paths[0].parent.with_name("elsewhere"))
    second, table, _ = pack(table_of([moved / path.name for path in paths]), 16, cache)
    assert packs_in(cache) == [folder]
    assert second.fingerprint == first.fingerprint
    assert table.paths[0] == str(moved / "0.png")


def test_of_a_changed_table_only_the_changed_files_are_decoded(paths: list[Path], cache: Path) -> None:
    first, _, _ = pack(table_of(paths), 16, cache)
    (folder,) = packs_in(cache)
    mark = np.memmap(folder / "pixels.bin", np.uint8, "r+")
    mark[: first.length[0]] = 77  # what was copied from here can be told from what was decoded anew
    mark.flush()
    Image.fromarray(noise(20, 20, 99)).save(paths[1])
    second, _, _ = pack(table_of(paths), 16, cache)
    assert (second.image(0) == 77).all()
    assert (second.image(1) == shrink(noise(20, 20, 99), 16)).all()
    assert second.fingerprint != first.fingerprint
    # another size shares nothing
    third, _, _ = pack(table_of(paths), 12, cache)
    assert (third.image(0) == shrink(decode(paths[0]), 12)).all()


def test_fingerprint_is_the_hash_of_the_files_hashes(paths: list[Path], cache: Path) -> None:
    packed, _, _ = pack(table_of(paths), 16, cache)
    digests = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)
    assert packed.fingerprint == hashlib.sha256(digests).hexdigest()
    other_order, _, _ = pack(table_of(paths[::-1]), 16, cache)
    assert other_order.fingerprint != packed.fingerprint
    assert other_order.fingerprint == packed.select(np.arange(5)[::-1]).fingerprint


def test_unreadable_files_are_left_out_and_listed(paths: list[Path], cache: Path) -> None:
    paths[1].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    paths.append(paths[0].with_name("missing.png"))
    for _ in range(2):  # the second time from the cache
        packed, table, unreadable = pack(table_of(paths), 16, cache)
        assert [image.path for image in unreadable] == [str(paths[1]), str(paths[3]), str(paths[5])]
        assert unreadable[0] == Unreadable(str(paths[1]), "the file is empty")
        assert "truncated" in unreadable[1].reason
        assert unreadable[2].reason == "there is no such file"
        assert table.paths == (str(paths[0]), str(paths[2]), str(paths[4]))
        assert table.labels.tolist() == [0, 0, 0]
        assert len(packed) == 3
        assert (packed.image(1) == noise(16, 16, 2)).all()
    assert len(packs_in(cache)) == 1
    Image.fromarray(noise(9, 9, 0)).save(paths[5])  # once the file is there it counts
    packed, _, unreadable = pack(table_of(paths), 16, cache)
    assert len(unreadable) == 2
    assert packed.image(3).shape == (9, 9, 3)


def test_strict_refuses_unreadable_files(paths: list[Path], cache: Path) -> None:
    paths[1].write_bytes(b"")
    with pytest.raises(
        UserError, match=r"1 of the 5 images of 'pictures' cannot be read.*1\.png \(the file is empty\)"
    ):
        pack(table_of(paths), 16, cache, strict=True)


def test_nothing_readable_is_refused(paths: list[Path], cache: Path) -> None:
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of the 5 images of 'pictures' can be read.*0\.png \(the file is empty\)"
    ):
        pack(table_of(paths), 16, cache)
    with pytest.raises(UserError, match="none of the 1 image of"):
        pack(table_of([paths[0].with_name("missing.png")]), 16, cache)
    with pytest.raises(UserError, match="'pictures' has no images"):
        pack(table_of([]), 16, cache)
    with pytest.raises(UserError, match="image size is 0"):
        pack(table_of(paths), 0, cache)
    assert packs_in(cache) == []  # nothing half-made stays


@pytest.mark.parametrize("name", ["pixels.bin", "index.npz", "meta.json"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "removed"])
def test_damaged_packs_are_made_again(paths: list[Path], cache: Path, name: str, damage: str) -> None:
    first, _, _ = pack(table_of(paths), 16, cache)
    pixels = np.array(first.data)
    del first
    (folder,) = packs_in(cache)
    whole = (folder / name).read_bytes()
    if damage == "removed":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"")
    second, _, _ = pack(table_of(paths), 16, cache)
    assert (second.data == pixels).all()
    assert packs_in(cache) == [folder]


def test_damaged_hashes_are_made_again(paths: list[Path], cache: Path) -> None:
    first, _, _ = pack(table_of(paths), 16, cache)
    (record,) = (cache / "files").iterdir()
    record.write_bytes(record.read_bytes()[:-1])
    second, _, _ = pack(table_of(paths), 16, cache)
    assert second.fingerprint == first.fingerprint
    assert np.load(record).shape == (5, 32)


def test_several_can_pack_at_the_same_time(paths: list[Path], cache: Path) -> None:
    table = table_of(paths * 20)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: pack(table, 16, cache, progress=False)[0], range(4)))
    assert all((result.data == results[0].data).all() for result in results)
    assert len(packs_in(cache)) == 1


def test_a_killed_process_leaves_no_broken_pack(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "big.png"
    Image.fromarray(noise(700, 700, 0)).save(path)
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from uda.datasets.cache import pack; from uda.datasets.table import ImageTable\n"
        "table = ImageTable('big', (sys.argv[1],) * 3000, np.zeros(3000, np.int64), ('a',))\n"
        "pack(table, 300, Path(sys.argv[2]), progress=False, workers=1)\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", program, str(path), str(cache)], cwd=root)
    try:
        deadline = time.monotonic() + 120
        while not any(file.stat().st_size > 0 for file in cache.glob("packs/.tmp-*/pixels.bin")):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    (left,) = packs_in(cache)
    assert left.name.startswith(".tmp-")
    for file in (left, *left.iterdir()):
        os.utime(file, (1, 1))  # as if it had been killed long ago
    packed, _, _ = pack(table_of([path, path]), 300, cache)
    assert (packed.image(1) == shrink(decode(path), 300)).all()
    assert not left.exists()
    assert len(packs_in(cache)) == 1


def test_where_the_cache_cannot_be_written_images_stay_in_memory(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be written .* UDA_CACHE"):
        packed, _, _ = pack(table_of(paths), 16, tmp_path / "file" / "cache")
    assert (packed.image(2) == noise(16, 16, 2)).all()
    assert packed.square(np.arange(5), 16).shape == (5, 3, 16, 16)
    digests = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)
    assert packed.fingerprint == hashlib.sha256(digests).hexdigest()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, the device on which every write fails")
def test_a_full_disk_says_how_much_is_needed_and_where(
    paths: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PIXELS", "/dev/full")  # joined to a folder an absolute path stays itself
    with pytest.raises(UserError, match=r"disk of the image cache .* is full, about 0 MiB are needed.*UDA_CACHE"):
        pack(table_of(paths), 16, cache)
    assert packs_in(cache) == []


def test_a_disk_that_is_too_small_is_refused_before_decoding(
    paths: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # no disk can be filled here, so its answer is replaced
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 100))
    with pytest.raises(UserError, match="is full"):
        pack(table_of(paths), 16, cache)
    assert packs_in(cache) == []


def test_above_the_budget_jpeg_is_kept(tmp_path: Path, cache: Path) -> None:
    y, x = np.mgrid[0:60, 0:80] * 3
    picture = np.stack([x, y, (x + y) // 2], axis=2).astype(np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.fromarray(np.roll(picture, i)).save(path)
    # shorter side 40: 3 images of 40 x 53 x 3 bytes are 19,080
    raw, _, _ = pack(table_of(paths), 40, tmp_path / "raw", budget_bytes=19_080)
    jpeg, _, _ = pack(table_of(paths), 40, cache, budget_bytes=19_079)
    assert (raw.encoding, jpeg.encoding) == ("raw", "jpeg")
    assert raw.data.nbytes == 19_080
    assert jpeg.data.nbytes < raw.data.nbytes / 3
    assert jpeg.sizes.tolist() == raw.sizes.tolist() == [[40, 53]] * 3
    assert jpeg.fingerprint == raw.fingerprint
    assert np.abs(jpeg.image(0).astype(int) - raw.image(0)).mean() < 3
    difference = jpeg.square(np.arange(3), 32).float() - raw.square(np.arange(3), 32).float()
    assert difference.abs().mean() < 3
    again, _, _ = pack(table_of(paths), 40, cache, budget_bytes=19_079)
    assert again.encoding == "jpeg"
    assert len(packs_in(cache)) == 1
    # a larger budget makes the pack anew; once raw pixels are there they are used
    assert pack(table_of(paths), 40, cache, budget_bytes=19_080)[0].encoding == "raw"
    assert pack(table_of(paths), 40, cache, budget_bytes=1)[0].encoding == "raw"


def test_decoded_pixels_are_wrapped_without_a_disk(cache: Path) -> None:
    pixels = torch.from_numpy(np.stack([noise(12, 10, i) for i in range(4)])).permute(0, 3, 1, 2)
    table = ImageTable("digits", ("a", "b", "c", "d"), np.zeros(4, np.int64), ("x",), pixels=pixels)
    packed, same, unreadable = pack(table, 8, cache, strict=True)
    assert same is table
    assert unreadable == []
    assert packed.sizes.tolist() == [[12, 10]] * 4
    assert (packed.image(3) == noise(12, 10, 3)).all()
    assert not cache.exists()
    other = pixels.clone()
    other[3, 2, 11, 9] ^= 1
    assert PackedImages.from_tensor(other).fingerprint != packed.fingerprint
    assert PackedImages.from_tensor(pixels.clone()).fingerprint == packed.fingerprint
    with pytest.raises(UserError, match=r"torch.float32 of shape \(4, 3, 12, 10\): give uint8"):
        PackedImages.from_tensor(pixels.float())


def test_the_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDA_CACHE", "/somewhere/cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/somewhere/cache")
    monkeypatch.delenv("UDA_CACHE")
    assert default_cache_dir() == Path("/xdg/uda")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache_dir() == Path("/home/someone/.cache/uda")


def test_what_is_written_into_the_bytes_stays_private(paths: list[Path], cache: Path) -> None:
    packed, _, _ = pack(table_of(paths), 16, cache)
    packed.data[:] = 0
    assert (pack(table_of(paths), 16, cache)[0].data != 0).any()
