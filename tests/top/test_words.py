"""Numbers and durations in few characters, and bars."""

import pytest

from balancer.history import Point
from balancer.top.sparkline import bars, values_of
from balancer.top.words import age, count, harmless, rate, time_of_day, took


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (12_345, "12,345"),
        (99_999, "99,999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (1_234_567, "1.2M"),
        (45_000_000, "45M"),
        (7.2e9, "7.2G"),
    ],
)
def test_counts_take_six_characters_at_most(number: int, text: str) -> None:
    assert count(number) == text
    assert len(text) <= 6


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (None, "·"),
        (0.1, "0.10ms"),
        (1.0, "1.0ms"),
        (9.94, "9.9ms"),
        (12.5, "12ms"),
        (999.0, "999ms"),
        (1000.0, "1.0s"),
        (12_300.0, "12s"),
        (315_000.0, "5m 15s"),
    ],
)
def test_durations_of_requests_take_six_characters_at_most(
    duration_ms: float | None, text: str
) -> None:
    assert took(duration_ms) == text
    assert len(text) <= 6


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0.0, "0ms"),
        (0.0401, "40ms"),
        (9.96, "10s"),
        (59.7, "1m 0s"),
        (3_725.0, "1h 2m"),
        (200_000.0, "2d 7h"),
    ],
)
def test_ages_have_two_units_at_most(duration_s: float, text: str) -> None:
    assert age(duration_s) == text


def test_slow_rates_have_a_fraction() -> None:
    assert [rate(number) for number in (0, 0.25, 9.94, 9.96, 1234.5)] == [
        "0/s",
        "0.2/s",
        "9.9/s",
        "10/s",
        "1,234/s",
    ]


def test_what_peers_wrote_is_one_line_that_commands_nothing() -> None:
    assert harmless("a\x1b[31mb\tc") == r"a\u001b[31mb\tc"
    assert harmless("its stack:\n  one\n  two") == "its stack: (and 2 lines)"
    assert harmless("") == ""


def test_a_date_that_is_none_takes_as_much_room() -> None:
    assert len(time_of_day("2026-01-02T03:04:05.678+00:00")) == 8
    assert time_of_day("once") == " " * 8


# --- bars -----------------------------------------------------------------------------------------


def points(*values: tuple[float, float]) -> list[Point]:
    return [Point(at, value, {}, 0.0, None, None, 0) for at, value in values]


def test_the_highest_bar_is_full_and_only_nothing_is_an_eighth() -> None:
    assert bars([0.0, 0.001, 4.0, 8.0, None], lines=1) == ["▁▂▄█ "]
    assert bars([0.0, 0.0], lines=1) == ["▁▁"]
    assert bars([], lines=1) == [""]
    assert bars([0.0, 2.0, 3.0, 4.0, None], lines=2) == ["  ▄█ ", "▁███ "]


def test_the_latest_values_are_taken() -> None:
    many = points(*((float(second), float(second)) for second in range(100)))
    assert values_of(many, lambda point: point.answers_per_s, 1.0, 3) == [97.0, 98.0, 99.0]


def test_a_while_without_points_is_a_gap_as_long_as_it_was() -> None:
    some = points((1.0, 1.0), (2.1, 2.0), (5.9, 3.0), (7.0, 4.0))
    values = values_of(some, lambda point: point.answers_per_s, 1.0, 10)
    assert values == [1.0, 2.0, None, None, None, 3.0, 4.0]
    assert values_of(some, lambda point: point.answers_per_s, 1.0, 4) == [None, None, 3.0, 4.0]
    assert len(values_of(points((0.0, 1.0), (9e9, 2.0)), lambda _: 1.0, 1.0, 50)) == 50
