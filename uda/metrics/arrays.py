"""What every metric does to its arguments first: one type, one shape, nothing that silently spoils a mean."""

import numpy as np
from numpy.typing import ArrayLike


def as_scores(values: ArrayLike, name: str) -> np.ndarray:
    """Return `values` as (N,) float64; ValueError for another shape or a NaN (infinite scores can be ranked)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not the shape {array.shape}")
    if np.isnan(array).any():
        raise ValueError(f"{name} holds NaN; find where it arose before measuring")
    return array


def as_labels(values: ArrayLike, name: str) -> np.ndarray:
    """Return `values` as (N,) int64; ValueError for another shape or for numbers that are not whole."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not the shape {array.shape}")
    whole = array.astype(np.int64) if array.dtype.kind in "biu" or np.isfinite(array.astype(np.float64)).all() else None
    if whole is None or not np.array_equal(whole, array):
        raise ValueError(f"{name} must hold whole numbers (class indices)")
    return whole


def as_matrix(values: ArrayLike, name: str) -> np.ndarray:
    """Return `values` as (N, D) float64; ValueError for another shape or for a number that is not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"{name} must have two dimensions (N, D), not the shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a number that is not finite; find where it arose before measuring")
    return array


def check_lengths(**arrays: np.ndarray) -> None:
    """Raise ValueError unless all arrays have as many rows; the keyword names them in the message."""
    if len({len(array) for array in arrays.values()}) > 1:
        listed = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise ValueError(f"arrays differ in length: {listed}")
