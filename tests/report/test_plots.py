import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from uda.report import plots

RNG = np.random.default_rng(0)


def pixels(png: bytes) -> np.ndarray:
    """Decode a figure; fails where it is not a PNG that can be read to its end."""
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def count(png: bytes, color: str, tolerance: int = 12) -> int:
    """Return how many pixels have a color, given as #rrggbb."""
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(pixels(png) - wanted).max(axis=2) <= tolerance).sum())


def test_pyplot_is_never_loaded():
    code = "import sys, uda.report.unida; print('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_known_and_unknown_scores_have_their_own_colors():
    scores = np.concatenate([RNG.normal(0, 1, 50), RNG.normal(4, 1, 20)])
    labelled = plots.score_histogram(scores, np.arange(70) >= 50, 2.0, 1.0)
    assert count(labelled, plots.BLUE) > 200
    assert count(labelled, plots.ORANGE) > 200
    assert count(plots.score_histogram(scores, None, 2.0), plots.ORANGE) == 0


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
    assert plots._plain("$\\frac{$") == r"\$\frac{\$"
    assert plots._plain("_hidden").lstrip() == "_hidden"
    assert plots._plain("_hidden")[0] == " "
    assert plots._plain("two\nlines\t") == "two lines"
    assert plots._plain("x" * 100, 9) == "xxxx…xxxx"
    assert plots._plain("\udce9") == "?"
    names = ["$\\frac{$", "_a", "自行车", "<script>", "\udce9\x00"]
    pixels(plots.confusion_matrix(np.arange(5), np.arange(5), names))
    pixels(plots.embedding(RNG.normal(size=(5, 2)), np.zeros(5, dtype=bool), np.arange(5), names))
    pixels(plots.bars_with_ci(names, [1.0] * 5, [None] * 5, "x"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(1, 120), st.integers(0, 3))
def test_a_sample_holds_the_same_share_of_every_group(groups, size, seed):
    labels = np.array(groups)
    rows = plots.stratified_rows(labels, size, seed)
    assert len(rows) == min(size, len(labels))
    assert (np.diff(rows) > 0).all()
    for group in np.unique(labels):
        n, taken = (labels == group).sum(), (labels[rows] == group).sum()
        assert abs(taken - n * len(rows) / len(labels)) <= len(np.unique(labels)) + 1
        assert taken >= 1 or size < len(np.unique(labels))


def test_which_rows_are_sampled_depends_on_the_seed_alone():
    groups = np.zeros(1000, dtype=int)
    first = plots.stratified_rows(groups, 50, 1)
    assert np.array_equal(first, plots.stratified_rows(groups, 50, 1))
    assert not np.array_equal(first, plots.stratified_rows(groups, 50, 2))


def test_tsne_is_deterministic_and_keeps_clusters_apart():
    labels = np.arange(150) % 3
    x = RNG.normal(size=(3, 20))[labels] * 10 + RNG.normal(size=(150, 20))
    points, rows = plots.tsne(x, 3, max_points=120, groups=labels)
    again, same_rows = plots.tsne(x.copy(), 3, max_points=120, groups=labels)
    assert np.array_equal(points, again)
    assert np.array_equal(rows, same_rows)
    assert points.shape == (120, 2)
    assert np.bincount(labels[rows]).tolist() == [40, 40, 40]
    # Each point's nearest neighbor is of its own cluster.
    distance = ((points[:, None] - points[None]) ** 2).sum(-1) + np.diag(np.full(120, np.inf))
    assert (labels[rows][distance.argmin(1)] == labels[rows]).all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6, 11])
@pytest.mark.parametrize("d", [1, 2, 30])
def test_tsne_of_few_points(n, d):
    points, rows = plots.tsne(RNG.normal(size=(n, d)).astype(np.float32), 0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert rows.tolist() == list(range(n))


def test_tsne_of_equal_points_and_of_broken_ones():
    points, _ = plots.tsne(np.ones((20, 4)), 0)
    assert (points == 0).all()
    x = RNG.normal(size=(10, 4))
    x[3, 1] = np.nan
    points, rows = plots.tsne(x, 0)
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert np.isfinite(points).all()


def test_an_embedding_shows_unknown_in_black_and_unlabelled_in_gray():
    points = RNG.normal(size=(60, 2))
    png = plots.embedding(points, np.arange(60) >= 30, np.array([0] * 30 + [1] * 15 + [-1] * 15), ["cat"])
    assert count(png, plots.GRAY) > 300
    assert count(png, "#8CBFDC") > 100  # the source: blue at 45 % on white, .45 · (0, 114, 178) + .55 · 255
    bare = plots.embedding(points[:30], np.zeros(30, dtype=bool), np.zeros(30, dtype=int), ["cat"])
    assert count(png, "#000000", 60) > count(bare, "#000000", 60) + 300


@pytest.mark.parametrize("k", [1, 25, 40, 345])
def test_embeddings_of_any_number_of_classes(k):
    labels = np.arange(400) % (k + 1)
    is_target = np.arange(400) % 2 == 0
    labels[~is_target] %= k
    pixels(plots.embedding(RNG.normal(size=(400, 2)), is_target, labels, [f"c{i}" for i in range(k)]))
    pixels(plots.embedding(np.zeros((0, 2)), np.zeros(0, dtype=bool), np.zeros(0, dtype=int), ["a"]))


def test_colors_of_the_first_21_classes_differ():
    assert len({plots._class_color(i) for i in range(21)}) == 21
    assert plots._class_color(21) == plots._class_color(0)


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
    assert len(plots.gallery(images, ["a"] * 12, [plots.GRAY] * 12)) < 700_000


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
    png = plots.bars_with_ci(labels, [0.8, 0.7, None], [0.03, None, None], "H-score", seeds)
    assert count(png, "#AAD9F4", 8) > 20_000  # two bars, in half transparent sky blue
    assert count(plots.bars_with_ci(["a"], [None], [None], "x"), "#AAD9F4", 8) == 0
