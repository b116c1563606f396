"""How fast images are decoded and read back, and how soon the first batch is there."""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.speed.measure import Row
from benchmarks.speed.steps import Stored
from uda.datasets.cache import pack
from uda.datasets.folders import class_table
from uda.datasets.packed import SquareImages
from uda.datasets.tree import scan


def data_row(n: int = 512, size: int = 256, batch_size: int = 64) -> Row:
    """Return images a second decoded and read back, and the seconds to the first batch on two starts.

    The images are n JPEG files of that size, written for this. The operating system has just written them, so that no
    disk is waited for.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        for number, image in enumerate(Stored(n, size, torch.device("cpu")).images):
            label = root / f"class {number % 4}"
            label.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(label / f"{number}.jpg", quality=90)
        starts, squares = [], None
        for _ in range(2):
            started = time.perf_counter()
            table = class_table(scan(root), "images", root)
            packed, _, _ = pack(table, size, Path(folder) / "cache", progress=False)
            squares = SquareImages(packed, size)
            squares.batch(np.arange(batch_size))
            starts.append(time.perf_counter() - started)
        assert squares is not None
        squares.fill()
        generator, rounds = np.random.default_rng(0), 50
        started = time.perf_counter()
        for _ in range(rounds):
            squares.batch(generator.integers(0, n, batch_size))
        read = rounds * batch_size / (time.perf_counter() - started)
    return (
        {"row": "data", "images": n, "size": size}
        | {"decoded_and_packed_per_second": round(n / starts[0]), "read_per_second": round(read)}
        | {"seconds_to_first_batch": {"first start": round(starts[0], 3), "second start": round(starts[1], 3)}}
    )
