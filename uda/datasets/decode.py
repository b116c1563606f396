"""From an image file, whatever its mode, to (H, W, 3) uint8."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

# Pillow's own limit is a process-wide variable that other libraries like to switch off; 180 Mpx are 540 MB decoded.
LARGEST_PIXELS = 180_000_000

_ORIENTATION_TAG = 0x0112
_PHOTOMETRIC_TAG = 262


class UnreadableImage(Exception):  # noqa: N818 - it says what the image is, not what the program did wrong
    """An image file that cannot be decoded; `reason` is half a sentence for people."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = str(path)
        self.reason = reason


def decode(path: str | Path, shorter: int | None = None) -> np.ndarray:
    """Return the image in a file as (H, W, 3) uint8 RGB, upright.

    The EXIF orientation is applied. Transparency is laid over white. Of an animation the first frame counts.
    Gray in a 16- or 32-bit container keeps the upper 8 of the bits that the image uses: 8, 12 (as many cameras and
    scanners do) or 16, whichever holds its maximum; more are scaled by the maximum.
    Gray in floats is read as [0, 1] or [0, 255] if it lies therein, else stretched from its minimum to its maximum.

    shorter: if given, a JPEG may be decoded at ½, ¼ or ⅛ of its size as long as its shorter side stays at least
    twice this: the difference vanishes when it is shrunk afterward, and photographs decode several times faster.

    Raises UnreadableImage for anything that is missing, empty, truncated, no image, or larger than LARGEST_PIXELS.
    """
    try:
        if Path(path).stat().st_size == 0:
            raise UnreadableImage(path, "the file is empty")
        with Image.open(path) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise UnreadableImage(path, f"{image.width} x {image.height} pixels are more than {LARGEST_PIXELS:,}")
            if shorter is not None:
                _draft(image, shorter)
            image.load()
            pixels = _to_rgb(image)
            return np.ascontiguousarray(_upright(pixels, _orientation(image)))
    except (UnreadableImage, MemoryError):
        raise
    except FileNotFoundError:
        raise UnreadableImage(path, "there is no such file") from None
    except UnidentifiedImageError:
        raise UnreadableImage(path, "not an image in a format that Pillow reads") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(path, "more pixels than Pillow's limit allows") from None
    except Exception as error:  # a decoder that is fed garbage raises anything: SyntaxError, struct.error, ...
        text = " ".join(str(error).split())
        raise UnreadableImage(path, text or type(error).__name__) from error


def resize_planes(image: np.ndarray, height: int, width: int) -> Tensor:
    """Return (H, W, 3) uint8 at another size, as (3, height, width), by antialiased bilinear interpolation.

    Torch's uint8 kernel rather than Pillow's: on one thread (AVX2) .20 against .77 ms from 341 x 256 to 224 x 224, and
    .05 against .32 ms to 32 x 32; the two differ by at most one gray level, in 6 of 10,000 values.
    """
    planes = torch.from_numpy(image).permute(2, 0, 1)
    if image.shape[:2] == (height, width):
        return planes
    return F.interpolate(planes[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0]


def size_at(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Return (height, width) with the shorter side brought to `shorter`, the longer one cut to an integer."""
    if height <= width:
        return shorter, max(1, shorter * width // height)
    return max(1, shorter * height // width), shorter


def shrink(image: np.ndarray, shorter: int) -> np.ndarray:
    """Return (H, W, 3) uint8 with its shorter side at most `shorter`; smaller images come back as they are."""
    height, width = image.shape[:2]
    if min(height, width) <= shorter:
        return image
    return resize_planes(image, *size_at(height, width, shorter)).permute(1, 2, 0).contiguous().numpy()


def _draft(image: Image.Image, shorter: int) -> None:
    """Let a JPEG be decoded smaller, its shorter side no less than 2 · shorter (no effect on other formats)."""
    factor = min(image.width, image.height) // (2 * shorter)
    if factor >= 2:
        image.draft(None, (-(-image.width // factor), -(-image.height // factor)))  # rounded up: never below


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        # Pillow turns gray of 8 bits round where a TIFF says that white is zero, but not gray of 16.
        inverted = image.mode != "I" and getattr(image, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == 0
        return _gray(_from_integers(65535 - values if inverted else values))
    if image.mode == "F":
        return _gray(_from_floats(np.asarray(image)))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        colors = image.convert("RGBA")
        white = Image.new("RGBA", colors.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, colors).convert("RGB"))
    return np.array(image.convert("RGB"))


def _gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[:, :, None], 3, axis=2)


def _from_integers(values: np.ndarray) -> np.ndarray:
    values = values.clip(0)
    highest = int(values.max())
    for bits in (8, 12, 16):
        if highest < 1 << bits:
            return values >> (bits - 8)
    return values * 255 // highest


def _from_floats(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if low < 0 or high > 255:
        values = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    elif high <= 1:
        values = values * 255
    return np.rint(values)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; asked for after loading, as Pillow turns TIFFs itself and drops the tag."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken metadata does not make the pixels unreadable
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation; the eight cases are those of `PIL.ImageOps.exif_transpose`."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels, 1)
        case _:
            return pixels
