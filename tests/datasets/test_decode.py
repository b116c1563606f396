import io
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from uda.datasets.decode import LARGEST_PIXELS, UnreadableImage, decode, resize_planes, shrink, size_at


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture without symmetry, which JPEG keeps well."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return (255 * np.stack([x, y, (x + 2 * y) / 3], axis=2)).astype(np.uint8)


def test_rgb_png_comes_back_exactly(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    image = decode(tmp_path / "a.png")
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert (image == scene()).all()


def test_cmyk_jpeg(tmp_path: Path) -> None:
    Image.fromarray(scene()).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    image = decode(tmp_path / "a.jpg")
    assert np.abs(image.astype(int) - scene()).mean() < 2  # not inverted, not in four channels


def without_adobe_marker(jpeg: bytes) -> bytes:
    """Cut out the APP14 segment, by which Adobe says that the four inks are stored inverted."""
    start = jpeg.index(b"\xff\xee\x00\x0eAdobe")
    return jpeg[:start] + jpeg[start + 16 :]


def test_cmyk_jpeg_without_adobes_marker(tmp_path: Path) -> None:
    # The inks are stored inverted all the same, as browsers take them.
    Image.fromarray(scene()).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    bare = without_adobe_marker((tmp_path / "a.jpg").read_bytes())
    (tmp_path / "bare.jpg").write_bytes(bare)
    assert b"Adobe" not in bare
    assert (decode(tmp_path / "bare.jpg") == decode(tmp_path / "a.jpg")).all()


def test_cmyk_tiff_is_not_inverted(tmp_path: Path) -> None:
    Image.fromarray(scene()).convert("CMYK").save(tmp_path / "a.tif")
    assert np.abs(decode(tmp_path / "a.tif").astype(int) - scene()).max() <= 1


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_color_spaces(tmp_path: Path, mode: str) -> None:
    Image.fromarray(scene()).convert(mode).save(tmp_path / "a.tif")
    assert np.abs(decode(tmp_path / "a.tif").astype(int) - scene()).mean() < 3


def test_progressive_jpeg(tmp_path: Path) -> None:
    for name, progressive in (("a.jpg", False), ("b.jpg", True)):
        Image.fromarray(scene()).save(tmp_path / name, quality=95, progressive=progressive)
    assert (decode(tmp_path / "a.jpg") == decode(tmp_path / "b.jpg")).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_a_wrong_extension_does_not_matter(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    Image.new("RGB", (5, 3), (200, 30, 60)).save(tmp_path / "a.JPG", kind, **options)
    assert (decode(tmp_path / "a.JPG", shorter=2) == [200, 30, 60]).all()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems write such names in their own way")
def test_names_in_other_scripts(tmp_path: Path) -> None:
    for name in ("猫 №1.png", "žluťoučký.PNG", "a\nb.png"):
        Image.fromarray(scene()).save(tmp_path / name)
        assert (decode(tmp_path / name) == scene()).all()


def test_a_pixel_wide_and_5000_long(tmp_path: Path) -> None:
    Image.new("RGB", (1, 5000), (9, 8, 7)).save(tmp_path / "thin.png")
    thin = decode(tmp_path / "thin.png", shorter=32)
    assert thin.shape == (5000, 1, 3)
    assert resize_planes(thin, 16, 16).permute(1, 2, 0).unique(dim=0).tolist() == [[[9, 8, 7]] * 16]


def test_a_large_photograph_is_decoded_smaller(tmp_path: Path) -> None:
    Image.fromarray(scene(50, 50)).resize((5000, 5000)).save(tmp_path / "a.jpg", quality=80)
    # 5000 // (2 · 36) = 69, of which JPEG offers 8
    assert decode(tmp_path / "a.jpg", shorter=36).shape == (625, 625, 3)


def test_palette_with_transparency_lies_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 0, 0, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    assert decode(tmp_path / "a.png").tolist() == [[[200, 10, 20], [255, 255, 255]]]


def test_palette_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 0, 0, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").tolist() == [[[200, 10, 20], [0, 0, 0]]]


def test_alpha_lies_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[100, 0, 50, 255], [100, 0, 50, 0], [100, 0, 50, 51]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    # alpha 51 is a fifth: 100/5 + 255·4/5 = 224, 0 + 204 = 204, 10 + 204 = 214
    expected = [[[100, 0, 50], [255, 255, 255], [224, 204, 214]]]
    assert decode(tmp_path / "rgba.png").tolist() == expected
    Image.fromarray(pixels[:, :, [0, 3]], "LA").save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png").tolist() == [[[100] * 3, [255] * 3, [224] * 3]]


def test_transparent_color_of_rgb_lies_over_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], dtype=np.uint8)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert decode(tmp_path / "a.png").tolist() == [[[255] * 3, [9] * 3]]


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").tolist() == [[[255] * 3, [0] * 3, [255] * 3]]


def test_gray(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").tolist() == [[[0] * 3, [7] * 3, [255] * 3]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_exif_orientation(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(scene()).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == ((64, 48, 3) if orientation > 4 else (48, 64, 3))
    assert (decode(tmp_path / name) == expected).all()


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    for name in ("a.gif", "a.webp", "a.tif"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        assert decode(tmp_path / name)[0, 0].tolist() == [255, 0, 0]


def reason_of(path: Path) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(path)
    assert caught.value.path == str(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_what_is_no_image_says_why(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    assert reason_of(tmp_path / "empty.jpg") == "the file is empty"
    assert reason_of(tmp_path / "missing.jpg") == "there is no such file"
    (tmp_path / "text.png").write_text("not a picture")
    assert reason_of(tmp_path / "text.png") == "not an image in a format that Pillow reads"
    (tmp_path / "folder.png").mkdir()
    assert "directory" in reason_of(tmp_path / "folder.png").lower()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_files_are_unreadable(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    assert reason_of(tmp_path / name)


def test_decompression_bombs_are_refused_even_without_pillows_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.pgm").write_bytes(b"P5 14000 14000 255\n")  # 196 million pixels, 588 MB decoded
    assert reason_of(tmp_path / "bomb.pgm") == "more pixels than Pillow's limit allows"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason_of(tmp_path / "bomb.pgm") == "14000 x 14000 pixels are more than 180,000,000"


def test_broken_metadata_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.jpg", exif=b"Exif\0\0broken")
    assert decode(tmp_path / "a.jpg").shape == (48, 64, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged tags
@given(data=st.binary(max_size=200), kind=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "BMP"]), at=st.integers(0, 80))
def test_damaged_files_give_an_image_or_unreadable(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, kind: str, at: int
) -> None:
    stream = io.BytesIO()
    Image.fromarray(scene(8, 8)).save(stream, kind)
    whole = stream.getvalue()
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    try:
        image = decode(path)
    except UnreadableImage:  # anything else fails the test
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3


def test_draft_decoding_stays_close(tmp_path: Path) -> None:
    big = Image.fromarray(scene(120, 160)).resize((1600, 1200), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    big.save(tmp_path / "a.jpg", quality=95, exif=exif)
    # 1200 // (2 · 100) = 6, of which JPEG offers 4: 300 x 400, turned upright 400 x 300
    reduced = decode(tmp_path / "a.jpg", shorter=100)
    assert reduced.shape == (400, 300, 3)
    whole = decode(tmp_path / "a.jpg")
    assert whole.shape == (1600, 1200, 3)
    difference = np.abs(shrink(reduced, 100).astype(int) - shrink(whole, 100))
    assert difference.mean() < 0.5
    assert decode(tmp_path / "a.jpg", shorter=301).shape == whole.shape  # half would be below twice 301


@given(height=st.integers(1, 90), width=st.integers(1, 90), shorter=st.integers(1, 60))
def test_shrink_bounds_the_shorter_side_and_never_enlarges(height: int, width: int, shorter: int) -> None:
    image = np.full((height, width, 3), 77, dtype=np.uint8)
    small = shrink(image, shorter)
    assert small.dtype == np.uint8
    assert min(small.shape[:2]) == min(height, width, shorter)
    assert small.shape[0] <= height
    assert small.shape[1] <= width
    assert (small == 77).all()  # a constant stays constant
    if min(height, width) > shorter:  # the aspect ratio is kept to a pixel
        assert abs(small.shape[0] * width - small.shape[1] * height) <= max(height, width)


def test_size_at() -> None:
    assert size_at(480, 640, 256) == (256, 341)  # 256 · 640/480 = 341.3
    assert size_at(640, 480, 256) == (341, 256)
    assert size_at(100, 100, 7) == (7, 7)


def test_resize_is_antialiased() -> None:
    # a checkerboard of single pixels shrunk eightfold is gray; without antialiasing it would be black or white
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = resize_planes(np.repeat(board[:, :, None], 3, axis=2), 8, 8)
    assert small.shape == (3, 8, 8)
    assert (small.int() - 127).abs().max() <= 2


def test_resize_agrees_with_pillow() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    for height, width in [(40, 40), (90, 20), (200, 150)]:
        ours = resize_planes(noise, height, width).permute(1, 2, 0).numpy().astype(int)
        pillow = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BILINEAR))
        assert np.abs(ours - pillow).max() <= 1


def test_the_limit_is_near_pillows_own() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert 1.99 < LARGEST_PIXELS / Image.MAX_IMAGE_PIXELS < 2.02  # Pillow raises at twice its variable
