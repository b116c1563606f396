"""The page of generated images: grids pixel for pixel, curves of the probe, what figures are of."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from tests.report.reading import read
from uda.report.gan import GanReport, forgetting_section, write_gan_report
from uda.report.grid import grid

PNG = b"\x89PNG\r\n\x1a\n"


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_grid_has_every_pixel_and_white_between() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 3, 4, 4), dtype=np.uint8)
    sheet = opened(grid(images, 3))
    assert sheet.shape == (4 + 2 + 4, 3 * 4 + 2 * 2, 3)
    assert np.array_equal(sheet[6:10, 6:10], np.moveaxis(images[4], 0, -1))
    assert (sheet[4:6] == 255).all()
    assert (sheet[6:, 12:] == 255).all()  # no sixth image
    large = opened(grid(images, 3, enlarge=2))
    assert np.array_equal(large[::2, ::2], sheet)
    assert opened(grid(images[:1], 9)).shape == (4, 4, 3)


def test_a_curve_needs_classes() -> None:
    history = pd.DataFrame({"step": [1, 2, 3], "probe_accuracy": [np.nan, np.nan, np.nan]})
    section = forgetting_section([("a", history)])
    assert not section.figures
    assert "no classes" in section.text
    history["probe_accuracy"] = [np.nan, 0.5, 0.6]
    one = forgetting_section([("a", history)]).figures[0].png
    two = forgetting_section([("a", history), ("b", history.assign(probe_accuracy=0.3))]).figures[0].png
    assert one.startswith(PNG)
    assert one != two


def test_the_page_says_what_its_figures_are_of(tmp_path: Path) -> None:
    images = np.zeros((4, 3, 8, 8), np.uint8)
    report = GanReport(
        title="a run",
        recipe={"task": "gan"},
        metrics={"kid": 0.25, "fid": 12.0, "precision": None, "recall": 0.5, "probe_accuracy": 0.75},
        ci95={"kid": [0.2, 0.3]},
        class_names=("ant", "<bee>"),
        history=pd.DataFrame({"step": [1, 2], "discriminator": [2.0, 1.0], "probe_accuracy": [np.nan, 0.75]}),
        samples=images,
        real=images,
        strips=images,
        n_real=120,
        n_fake=60,
        extractor="means & more",
        classifier_accuracy=0.9,
        labels=np.array([0, 1, 1]),
        confidences=np.array([0.5, 0.75, 1.0]),
    )
    write_gan_report(tmp_path / "page.html", report)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = " ".join(read(html).text)
    assert "120 real images and 60 generated ones, by the features of means & more" in text
    assert "names 90.0 % of the rest right" in text
    assert "66.7 %" in text
    assert "0.2 … 0.3" in text
    assert "<bee>" not in html
    assert html.count("data:image/png") == 5  # generated, real, between, the probe, the curves
