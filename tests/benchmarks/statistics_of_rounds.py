"""Percentiles of latencies, and medians over rounds: the only statistics the tables are made of."""

import math
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_or_none(values: Sequence[float | None]) -> float | None:
    """Of the rounds that gave a value; None if none did."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def median_of_ratios(
    numerators: Sequence[float | None], denominators: Sequence[float | None]
) -> float | None:
    """Each round's own ratio, and their median: what a noisy minute does to both cancels out.

    A round in which one of the two has no value, or the denominator is 0, does not count.
    """
    ratios = [
        above / below
        for above, below in zip(numerators, denominators, strict=True)
        if above is not None and below
    ]
    return median(ratios) if ratios else None
