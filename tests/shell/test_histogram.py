"""Durations in classes: what a quantile says, and what a while has brought."""

import json
from itertools import pairwise

import pytest

from balancer.histogram import (
    LIMITS_S,
    Histogram,
    difference,
    from_json,
    quantile_s,
    total,
)


def histogram_of(*durations_s: float) -> Histogram:
    histogram = Histogram()
    for duration_s in durations_s:
        histogram.note(duration_s)
    return histogram


def test_the_limits_rise_by_a_quarter() -> None:
    ratios = [after / before for before, after in pairwise(LIMITS_S)]
    assert all(1.19 < ratio < 1.29 for ratio in ratios)
    assert len({f"{limit_s:.2e}".partition("e")[0] for limit_s in LIMITS_S}) == 10
    assert LIMITS_S[0] == 0.0001
    assert LIMITS_S[-1] > 300


@pytest.mark.parametrize("limit_s", LIMITS_S)
def test_a_limit_belongs_to_its_class_and_what_is_above_to_the_next(limit_s: float) -> None:
    number = LIMITS_S.index(limit_s)
    assert histogram_of(limit_s, limit_s * 1.001).counts == {number: 1, number + 1: 1}


def test_a_quantile_is_the_limit_of_its_class() -> None:
    counts = histogram_of(*[0.005] * 99, 0.09).counts
    assert quantile_s(counts, 0.5) == 0.005
    assert quantile_s(counts, 0.99) == 0.005
    assert quantile_s(counts, 0.999) == 0.1


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile_s({}, 0.5) is None


def test_what_is_longer_than_all_classes_is_counted() -> None:
    histogram = histogram_of(1000.0)
    assert quantile_s(histogram.counts, 0.5) == LIMITS_S[-1]
    assert histogram.sum_s == 1000.0


def test_the_difference_is_what_came_between() -> None:
    histogram = histogram_of(0.001, 1.0)
    earlier = dict(histogram.counts)
    histogram.note(1.0)
    histogram.note(20.0)
    brought = difference(histogram.counts, earlier)
    assert brought == histogram_of(1.0, 20.0).counts


def test_a_new_count_that_is_lower_begins_anew() -> None:
    assert difference({3: 1}, {3: 5, 7: 1}) == {3: 1}
    assert difference({3: 6}, {3: 5, 7: 1}) == {3: 6}


def test_counts_come_back_from_json() -> None:
    counts = total([histogram_of(0.001).counts, histogram_of(0.001, 2.0).counts])
    assert from_json(json.loads(json.dumps(counts))) == counts
