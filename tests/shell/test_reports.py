"""What a worker says to its launcher, whole, in pieces, and what it should not have said."""

import json

import pytest

from workers.reports import REPORT_BYTES_MAX, Reports

READY = {"event": "ready", "endpoint": "ipc:///somewhere"}
FAILED = {"event": "boot_error", "error": "ValueError: no", "traceback": "…"}
WORN = {"event": "worn", "why": "served 50 requests"}


def lines(*reports: object) -> bytes:
    return b"".join(json.dumps(report).encode() + b"\n" for report in reports)


def test_reports_are_read_however_they_arrive() -> None:
    assert list(Reports().take(lines(READY, WORN, FAILED))) == [READY, WORN, FAILED]
    reports = Reports()
    in_pieces = [list(reports.take(bytes((byte,)))) for byte in lines(READY, FAILED)]
    assert [report for some in in_pieces for report in some] == [READY, FAILED]


@pytest.mark.parametrize(
    "line",
    [
        b"junk",
        b"",
        b"7",
        b"[]",
        b"{}",
        b'{"event": "left"}',
        b'{"event": "worn"}',
        b'{"event": 1, "error": 2}',
        b"\xff",
    ],
)
def test_nonsense_is_told_from_reports(line: bytes) -> None:
    assert list(Reports().take(line + b"\n")) == [None]


def test_a_line_without_end_is_nonsense_before_it_fills_the_memory() -> None:
    reports = Reports()
    assert list(reports.take(b"x" * REPORT_BYTES_MAX)) == []
    assert list(reports.take(b"x")) == [None]
    assert list(reports.take(lines(READY))) == [READY]
