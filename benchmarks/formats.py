"""How figures stand in the tables."""

from typing import Any


def percent(value: float | None) -> str:
    """Return a fraction in percent with one digit."""
    return "null" if value is None else f"{100 * value:.1f}"


def interval(difference: dict[str, Any] | None) -> str:
    """Return a paired difference with its interval, in points."""
    if difference is None:
        return ""
    if difference["ci95"] is None:
        return f"{100 * difference['mean']:+.1f}"
    low, high = difference["ci95"]
    return f"{100 * difference['mean']:+.1f} ({100 * low:+.1f} … {100 * high:+.1f})"


def listed(values: list[int]) -> str:
    """Return numbers separated by commas."""
    return ", ".join(map(str, values))
