import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tests.report.reading import count, pixels
from uda.report import canvas, embedding, plots

RNG = np.random.default_rng(0)


def test_pyplot_is_never_loaded():
    code = "import sys, uda.report.unida; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_known_and_unknown_scores_have_their_own_colors():
    scores = np.concatenate([RNG.normal(0, 1, 50), RNG.normal(4, 1, 20)])
    labelled = plots.score_histogram(scores, np.arange(70) >= 50, 2.0, 1.0)
    assert count(labelled, canvas.BLUE) > 200
    assert count(labelled, canvas.ORANGE) > 200
    assert count(plots.score_histogram(scores, None, 2.0), canvas.ORANGE) == 0


@pytest.mark.parametrize("threshold", [0.5, float("inf"), float("-inf"), float("nan"), 1e9])
@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0], [0.1, np.nan, np.inf, 0.7]])
def test_any_scores_and_thresholds_can_be_drawn(scores, threshold):
    pixels(plots.score_histogram(np.array(scores), None, threshold, threshold))
    pixels(plots.score_histogram(np.array(scores), np.zeros(len(scores), dtype=bool), threshold))


@pytest.mark.parametrize("k", [1, 2, 15, 16, 66, 67, 346])
def test_confusion_matrices_stay_within_the_page(k):
    y = RNG.integers(0, k, 300)
    names = [f"class {i}" for i in range(k)]
    shape = pixels(plots.confusion_matrix(y, RNG.integers(0, k, 300), names)).shape
    assert max(shape) <= 1.5 * 1200


def test_a_confusion_matrix_is_dark_where_the_share_is_high():
    # Two classes, all right: the diagonal is the darkest blue; all wrong: the other two cells are.
    y = np.array([0, 1] * 10)
    right, wrong = (pixels(plots.confusion_matrix(y, p, ["a", "b"])) for p in (y, 1 - y))
    assert right.shape == wrong.shape
    assert (np.abs(right - wrong).max(axis=2) > 200).mean() > 0.05


def test_names_are_taken_literally_and_shortened():
    assert canvas.plain("$\\frac{$") == r"\$\frac{\$"
    assert canvas.plain("_hidden").lstrip() == "_hidden"
    assert canvas.plain("_hidden")[0] == " "
    assert canvas.plain("two\nlines\t") == "two lines"
    assert canvas.plain("x" * 100, 9) == "xxxx…xxxx"
    assert canvas.plain("\udce9") == "?"
    names = ["$\\frac{$", "_a", "自行车", "<script>", "\udce9\x00"]
    pixels(plots.confusion_matrix(np.arange(5), np.arange(5), names))
    pixels(embedding.embedding(RNG.normal(size=(5, 2)), np.zeros(5, dtype=bool), np.arange(5), names))
    pixels(plots.bars_with_ci(names, [1.0] * 5, [None] * 5, "x"))


def test_a_gallery_shows_the_images_their_frames_and_white_paper():
    images = np.zeros((2, 3, 8, 8), dtype=np.uint8)
    images[0, 0] = 255  # a red image
    png = plots.gallery(images, ["a\nb\nc", "d"], [plots.RIGHT, plots.WRONG])
    assert count(png, "#ff0000") > 10_000
    assert count(png, plots.RIGHT) > 1_000
    assert count(png, plots.WRONG) > 1_000
    assert (pixels(png)[0, 0] == 255).all()
    assert plots.gallery(images, ["a\nb\nc", "d"], [plots.RIGHT, plots.WRONG]) == png


def test_a_gallery_keeps_the_shape_of_its_images():
    wide = np.zeros((1, 3, 8, 16), dtype=np.uint8)
    wide[0, 0] = 255
    rows, columns = np.nonzero((pixels(plots.gallery(wide, ["a"], ["white"])) == [255, 0, 0]).all(axis=2))
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(2, rel=0.05)


def test_a_gallery_needs_a_caption_for_each_image():
    with pytest.raises(ValueError, match="2 images, 1 captions and 2 colors"):
        plots.gallery(np.zeros((2, 3, 4, 4), dtype=np.uint8), ["a"], ["red", "red"])


def test_a_gallery_of_photographs_stays_small():
    images = RNG.integers(0, 255, (12, 3, 128, 128), dtype=np.uint8)  # noise: nothing compresses worse
    assert len(plots.gallery(images, ["a"] * 12, [canvas.GRAY] * 12)) < 700_000


def test_curves_take_gaps_and_infinities_and_skip_what_is_no_measurement():
    steps = np.arange(200)
    history = pd.DataFrame(
        {
            "step": steps,
            "seconds": steps * 0.1,
            "loss": np.where(steps % 7 == 0, np.nan, 1.0 / (1 + steps)),
            "other_loss": np.where(steps == 5, np.inf, 0.5),
            "h_score": np.where(steps % 50 == 49, 0.5, np.nan),
            "never": np.full(200, np.nan),
            "text": ["a"] * 200,
        }
    )
    three = pixels(plots.curves(history))
    one = pixels(plots.curves(history[["step", "loss"]]))
    assert three.shape[1] > one.shape[1]  # three panels in a row, against one
    assert pixels(plots.curves(history[["loss", "text"]])).shape[1] == one.shape[1]


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"step": [1, 2]}), pd.DataFrame({"a": [np.nan]})])
def test_a_history_without_numbers_has_no_curves(frame):
    assert plots.curves(frame) is None


def test_a_history_of_one_row_has_curves():
    pixels(plots.curves(pd.DataFrame({"step": [1], "loss": [0.5]})))


def test_bars_take_missing_means_intervals_and_seeds():
    labels, seeds = ["with", "without", "none"], [[0.79, None, 0.81], [], [None]]
    png = plots.bars_with_ci(labels, [0.8, 0.7, None], [(0.77, 0.83), None, None], "H-score", seeds)
    assert count(png, "#AAD9F4", 8) > 20_000  # two bars, in half transparent sky blue
    assert count(plots.bars_with_ci(["a"], [None], [None], "x"), "#AAD9F4", 8) == 0
