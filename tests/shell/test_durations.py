"""Durations and sizes as people write them."""

import pytest

from balancer.durations import (
    format_duration_s,
    format_size_bytes,
    parse_duration_s,
    parse_size_bytes,
)


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1.5s", 1.5),
        ("0", 0.0),
        (" 30 s ", 30.0),
        ("0.1ms", 0.0001),
    ],
)
def test_a_duration_is_read_into_seconds(text: str, duration_s: float) -> None:
    assert parse_duration_s(text) == duration_s


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1", "-1s", "1e3", "nan", "inf", "5M", "1 0", "30 sec", "1,5s", "٣", "9" * 400, "."],
)
def test_what_is_no_duration_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 30, 30s, 500ms, 5m or 2h"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1000000", 1_000_000),
        ("16MiB", 16 * 1024 * 1024),
        ("64 KiB", 65_536),
        ("64kib", 65_536),
        ("1GiB", 1024**3),
        ("1MB", 1_000_000),
        ("1.5KiB", 1536),
        ("999999999999999999", 999_999_999_999_999_999),
    ],
)
def test_a_size_is_read_into_bytes(text: str, size_bytes: int) -> None:
    assert parse_size_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5", "1M", "1 TiB", "many", "9" * 5000])
def test_what_is_no_size_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 1000000, 64 KiB, 16MiB or 1GiB"):
        parse_size_bytes(text)


@pytest.mark.parametrize("duration_s", [0.0, 0.0002, 0.001, 0.1, 0.5, 5 / 3, 1 / 3, 30.0, 604800.0])
def test_a_written_duration_reads_as_exactly_the_same(duration_s: float) -> None:
    assert parse_duration_s(format_duration_s(duration_s)) == duration_s


def test_durations_are_written_in_seconds_and_below_one_in_milliseconds() -> None:
    assert format_duration_s(60.0) == "60s"
    assert format_duration_s(0.5) == "500ms"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0"),
        (1000, "1000"),
        (1025, "1025"),
        (1024, "1KiB"),
        (64 << 20, "64MiB"),
        (3 << 30, "3GiB"),
    ],
)
def test_sizes_are_written_in_the_largest_unit_that_fits(size_bytes: int, text: str) -> None:
    assert format_size_bytes(size_bytes) == text
    assert parse_size_bytes(text) == size_bytes
