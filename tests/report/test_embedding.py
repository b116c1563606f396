import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.reading import count, pixels
from uda.report import canvas, embedding

RNG = np.random.default_rng(0)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(1, 120), st.integers(0, 3))
def test_a_sample_holds_the_same_share_of_every_group(groups, size, seed):
    labels = np.array(groups)
    rows = embedding.stratified_rows(labels, size, seed)
    assert len(rows) == min(size, len(labels))
    assert (np.diff(rows) > 0).all()
    for group in np.unique(labels):
        n, taken = (labels == group).sum(), (labels[rows] == group).sum()
        assert abs(taken - n * len(rows) / len(labels)) <= len(np.unique(labels)) + 1
        assert taken >= 1 or size < len(np.unique(labels))


def test_which_rows_are_sampled_depends_on_the_seed_alone():
    groups = np.zeros(1000, dtype=int)
    first = embedding.stratified_rows(groups, 50, 1)
    assert np.array_equal(first, embedding.stratified_rows(groups, 50, 1))
    assert not np.array_equal(first, embedding.stratified_rows(groups, 50, 2))


def test_tsne_is_deterministic_and_keeps_clusters_apart():
    labels = np.arange(150) % 3
    x = RNG.normal(size=(3, 20))[labels] * 10 + RNG.normal(size=(150, 20))
    points, rows = embedding.tsne(x, 3, max_points=120, groups=labels)
    again, same_rows = embedding.tsne(x.copy(), 3, max_points=120, groups=labels)
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
    points, rows = embedding.tsne(RNG.normal(size=(n, d)).astype(np.float32), 0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert rows.tolist() == list(range(n))


def test_tsne_of_equal_points_and_of_broken_ones():
    points, _ = embedding.tsne(np.ones((20, 4)), 0)
    assert (points == 0).all()
    x = RNG.normal(size=(10, 4))
    x[3, 1] = np.nan
    points, rows = embedding.tsne(x, 0)
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert np.isfinite(points).all()


def test_an_embedding_shows_unknown_in_black_and_unlabelled_in_gray():
    points = RNG.normal(size=(60, 2))
    png = embedding.embedding(points, np.arange(60) >= 30, np.array([0] * 30 + [1] * 15 + [-1] * 15), ["cat"])
    assert count(png, canvas.GRAY) > 300
    assert count(png, "#8CBFDC") > 100  # the source: blue at 45 % on white, .45 · (0, 114, 178) + .55 · 255
    bare = embedding.embedding(points[:30], np.zeros(30, dtype=bool), np.zeros(30, dtype=int), ["cat"])
    assert count(png, "#000000", 60) > count(bare, "#000000", 60) + 300


@pytest.mark.parametrize("k", [1, 25, 40, 345])
def test_embeddings_of_any_number_of_classes(k):
    labels = np.arange(400) % (k + 1)
    is_target = np.arange(400) % 2 == 0
    labels[~is_target] %= k
    pixels(embedding.embedding(RNG.normal(size=(400, 2)), is_target, labels, [f"c{i}" for i in range(k)]))
    pixels(embedding.embedding(np.zeros((0, 2)), np.zeros(0, dtype=bool), np.zeros(0, dtype=int), ["a"]))


def test_colors_of_the_first_21_classes_differ():
    assert len({embedding._class_color(i) for i in range(21)}) == 21
    assert embedding._class_color(21) == embedding._class_color(0)
