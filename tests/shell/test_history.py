"""Statuses become points: rates, percentiles and gaps."""

from collections.abc import Mapping
from typing import Any

import pytest

from balancer.histogram import Histogram
from balancer.history import POINTS_MAX, History


def status_of(
    by_status: Mapping[str, int], took_s: Mapping[float, int], failovers: int = 0, queued: int = 0
) -> dict[str, Any]:
    histogram = Histogram()
    for duration_s, number in took_s.items():
        for _ in range(number):
            histogram.note(duration_s)
    counts = {str(number): count for number, count in histogram.counts.items()}
    return {
        "totals": {
            "requests": sum(by_status.values()),
            "by_status": dict(by_status),
            "failovers": failovers,
        },
        "pools": [{"latency": {"counts": counts, "sum_s": histogram.sum_s}}],
        "queue": {"length": queued},
    }


def test_a_point_is_what_came_between_two_statuses() -> None:
    history = History()
    history.note(100.0, status_of({"200": 10}, {0.001: 10}, failovers=3))
    took_s = {0.001: 14, 0.02: 15, 0.2: 1}
    history.note(102.0, status_of({"200": 28, "503": 2}, took_s, failovers=7, queued=7))
    (point,) = history.points
    assert point.at == 102.0
    assert point.answers_per_s == 10.0
    assert point.by_status_per_s == {"200": 9.0, "503": 1.0}
    assert point.failovers_per_s == 2.0
    assert point.p50_ms == pytest.approx(20)
    assert point.p99_ms == pytest.approx(200)
    assert point.queued == 7


def test_a_second_without_answers_has_no_statuses_and_no_percentiles() -> None:
    history = History()
    for at in (1.0, 2.0):
        history.note(at, status_of({"200": 10}, {0.001: 10}))
    (point,) = history.points
    assert (point.answers_per_s, point.by_status_per_s) == (0.0, {})
    assert (point.p50_ms, point.p99_ms) == (None, None)


def test_a_clock_that_stands_still_or_goes_back_makes_no_point() -> None:
    history = History()
    for at, answers in ((10.0, 10), (10.0, 20), (5.0, 30), (6.0, 35)):
        history.note(at, status_of({"200": answers}, {0.001: answers}))
    assert [(point.at, point.answers_per_s) for point in history.points] == [(6.0, 5.0)]


def test_a_new_balancer_counts_from_nothing() -> None:
    history = History()
    history.note(1.0, status_of({"200": 1000}, {0.001: 1000}, failovers=9))
    history.note(2.0, status_of({"200": 30}, {0.01: 30}, failovers=3))
    (point,) = history.points
    assert (point.answers_per_s, point.failovers_per_s) == (30.0, 3.0)
    assert point.p50_ms == pytest.approx(10)


def test_a_new_balancer_is_known_even_if_it_has_had_more_requests() -> None:
    history = History()
    history.note(1.0, status_of({"200": 5, "503": 2}, {0.001: 5}))
    history.note(2.0, status_of({"200": 9}, {0.001: 9}))
    history.note(3.0, status_of({"200": 20}, {0.001: 20}, failovers=4))
    history.note(4.0, status_of({"200": 30}, {0.001: 30}, failovers=3))
    first, _, last = history.points
    assert (first.answers_per_s, first.by_status_per_s) == (9.0, {"200": 9.0})
    assert (first.failovers_per_s, last.failovers_per_s) == (0.0, 3.0)
    assert last.answers_per_s == 30.0


def test_a_balancer_that_does_not_answer_leaves_a_gap() -> None:
    history = History()
    history.note(1.0, status_of({"200": 10}, {0.001: 10}))
    history.note(2.0, {"totals": {}, "pools": [], "queue": {"length": 0}})
    history.note(3.0, status_of({"200": 30}, {0.001: 30}))
    assert [(point.at, point.answers_per_s) for point in history.points] == [(3.0, 10.0)]


def test_only_the_last_minutes_are_kept() -> None:
    history = History()
    for second in range(POINTS_MAX + 10):
        history.note(float(second), status_of({"200": second}, {}))
    assert len(history.points) == POINTS_MAX
    assert history.points[-1].at == POINTS_MAX + 9
