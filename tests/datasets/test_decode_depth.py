"""Images of more than 8 bits a channel."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uda.datasets.decode import decode


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.array([[0, 255, 256, 0x1234, 65535]], dtype=np.uint16)).save(tmp_path / name)
    assert decode(tmp_path / name)[0, :, 0].tolist() == [0, 0, 1, 0x12, 255]


def png_of_16_bits(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, C) uint16 as PNG; Pillow reads color of 16 bits but does not write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    color = {2: 4, 3: 2, 4: 6}[channels]  # PNG's numbers for gray with alpha, RGB, RGBA
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def tiff_of_16_bits(path: Path, pixels: np.ndarray, photometric: int, order: str = "<") -> None:
    """Write (H, W, C) uint16 as an uncompressed TIFF. photometric: 0 white is zero, 1 black is zero, 2 RGB."""
    height, width, channels = pixels.shape
    data, bits = pixels.astype(f"{order}u2").tobytes(), struct.pack(f"{order}{channels}H", *[16] * channels)
    shorts = {256: width, 257: height, 259: 1, 262: photometric, 277: channels, 278: height}
    entries = {tag: struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()}
    after = 8 + 2 + 12 * (len(entries) + 3) + 4  # where the directory ends
    place = struct.pack(f"{order}I", after) if channels > 2 else bits.ljust(4, b"\0")
    entries[258] = struct.pack(f"{order}HHI", 258, 3, channels) + place
    entries[273] = struct.pack(f"{order}HHII", 273, 4, 1, after + len(bits))
    entries[279] = struct.pack(f"{order}HHII", 279, 4, 1, len(data))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    path.write_bytes(start + directory + bytes(4) + bits + data)


DEEP = np.array([[[0x1234, 0x8000, 0xFFFF], [255, 256, 0]]], dtype=np.uint16)


def test_color_of_sixteen_bits_keeps_the_upper_eight(tmp_path: Path) -> None:
    expected = [[[0x12, 0x80, 255], [0, 1, 0]]]
    png_of_16_bits(tmp_path / "a.png", DEEP)
    assert decode(tmp_path / "a.png").tolist() == expected
    for order in "<>":
        tiff_of_16_bits(tmp_path / "a.tif", DEEP, photometric=2, order=order)
        assert decode(tmp_path / "a.tif").tolist() == expected


def test_alpha_of_sixteen_bits_lies_over_white(tmp_path: Path) -> None:
    alpha = np.array([[[0xFFFF], [0x3333]]], dtype=np.uint16)  # whole, and a fifth
    png_of_16_bits(tmp_path / "rgba.png", np.concatenate([DEEP, alpha], axis=2))
    assert decode(tmp_path / "rgba.png").tolist() == [[[0x12, 0x80, 255], [204, 204, 204]]]  # 255 · 4/5 = 204
    png_of_16_bits(tmp_path / "la.png", np.concatenate([DEEP[:, :, :1], alpha], axis=2))
    assert decode(tmp_path / "la.png").tolist() == [[[0x12] * 3, [204] * 3]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 16, 2048, 4095], [0, 1, 128, 255]),  # 12 bits, as cameras and scanners give: 4 are dropped
        ([0, 1, 128, 255], [0, 1, 128, 255]),  # 8 bits in a larger container
        ([0, 16, 2048, 4096], [0, 0, 8, 16]),  # one more bit in use: taken for 16
    ],
)
def test_gray_that_uses_fewer_bits_than_its_container(tmp_path: Path, values: list[int], expected: list[int]) -> None:
    for name, kind in (("a.png", np.uint16), ("b.tif", np.uint16), ("c.tif", np.int32)):
        Image.fromarray(np.array([values], dtype=kind)).save(tmp_path / name)
        assert decode(tmp_path / name)[0, :, 2].tolist() == expected


def test_white_is_zero(tmp_path: Path) -> None:
    tiff_of_16_bits(tmp_path / "black.tif", DEEP[:, :, 1:2], photometric=1)
    tiff_of_16_bits(tmp_path / "white.tif", DEEP[:, :, 1:2], photometric=0)
    assert decode(tmp_path / "black.tif")[0, :, 0].tolist() == [0x80, 1]
    assert decode(tmp_path / "white.tif")[0, :, 0].tolist() == [0x7F, 0xFE]  # 0xffff - 0x8000, 0xffff - 0x0100


def test_sixteen_bits_in_big_endian_order(tmp_path: Path) -> None:
    # a binary PGM of maximum 65535 stores the upper byte first
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + bytes([0x12, 0x34, 0xFF, 0xFF]))
    assert decode(tmp_path / "a.pgm")[0, :, 0].tolist() == [0x12, 255]


def test_thirty_two_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0x1234, 65535, -5]], dtype=np.int32)).save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 0x12, 255, 0]
    # more than 16 bits: scaled by the maximum, half of it is 127
    Image.fromarray(np.array([[0, 1_000_000, 500_000]], dtype=np.int32)).save(tmp_path / "b.tif")
    assert decode(tmp_path / "b.tif")[0, :, 0].tolist() == [0, 255, 127]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),  # in [0, 1]: times 255
        ([0.0, 51.4, 255.0], [0, 51, 255]),  # in [0, 255]: as it is, rounded
        ([-1.0, 0.0, 1.0], [0, 128, 255]),  # stretched: 0 is in the middle, 127.5 is rounded to even
        ([0.0, 500.0, 1000.0], [0, 128, 255]),
        ([0.2, float("nan"), 1.0], [51, 51, 255]),  # no number: the least
        ([-3.0, -3.0, -3.0], [0, 0, 0]),
        ([float("nan")] * 3, [0, 0, 0]),
    ],
)
def test_float_tiff(tmp_path: Path, values: list[float], expected: list[int]) -> None:
    Image.fromarray(np.array([values], dtype=np.float32)).save(tmp_path / "a.tif")
    assert decode(tmp_path / "a.tif")[0, :, 1].tolist() == expected
