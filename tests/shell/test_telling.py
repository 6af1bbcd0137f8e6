"""Events and stories as lines for people, harmless whatever is in them."""

import re
from typing import Any

import pytest

from balancer.core.events import Why
from balancer.telling import event_line, story_lines

EVIL = "\x1b[2J\nfake"


def test_an_event_is_a_line_and_nothing_in_it_moves_the_cursor() -> None:
    record = {"time": "2030-01-02T03:04:05+00:00", "source": EVIL, "text": "all \x1b[2J well"}
    line = event_line(record)
    assert "\x1b" not in line
    assert "\n" not in line
    assert line.endswith("all \\u001b[2J well")


def test_the_lines_of_a_stack_are_indented() -> None:
    record = {"time": "2030-01-02T03:04:05+00:00", "source": "a-1", "text": "one\n  two\x1b"}
    first, second = event_line(record).splitlines()
    assert first.endswith("a-1         one")
    assert second == "      two\\u001b"


def test_an_event_without_a_text_is_a_line_all_the_same() -> None:
    record = {"time": "2030-01-02T03:04:05+00:00", "source": "a-1", "text": ""}
    assert event_line(record).split(maxsplit=1)[1].strip() == "a-1"


def test_the_time_of_day_is_told_to_the_millisecond() -> None:
    record = {"time": "2030-01-02T03:04:05.678+00:00", "source": "a-1", "text": "well"}
    assert re.fullmatch(r"\d\d:\d\d:05\.678 a-1         well", event_line(record))


def told(**fields: Any) -> list[str]:
    """The lines about a request that is answered at once, unless other fields say otherwise,
    without the time of day."""
    story = {
        "request": "7f-1",
        "arrived_at": "2030-01-02T03:04:05+00:00",
        "state": "answered",
        "status": 200,
        "reason": "",
        "error": "",
        "queued_ms": None,
        "took_ms": 320.0,
        "tries": [],
    }
    first, *rest = story_lines(story | fields)
    return [first.partition(" ")[2], *rest]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "request 7f-1  answered 200 after 320 ms"),
        (
            {"status": 503, "reason": "exhausted"},
            "request 7f-1  answered 503 exhausted after 320 ms",
        ),
        ({"state": "open", "status": None}, "request 7f-1  open for 320 ms"),
        (
            {"state": "gone", "status": None},
            "request 7f-1  dropped after 320 ms: its client is gone",
        ),
    ],
)
def test_a_request_that_nobody_was_asked_for_is_one_line(fields: dict[str, Any], line: str) -> None:
    assert told(**fields) == [line]


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ("answer", "answered"),
        ("error", "raised an error"),
        ("running", "still works"),
        (Why.EMPTY, "had nothing to say"),
        (Why.TIMEOUT, "let its time pass"),
        (Why.DIED, "died"),
        (Why.GARBLED, "wrote nonsense"),
        (Why.UNDELIVERED, "was not reached"),
    ],
)
def test_a_try_is_told_by_when_it_began_and_how_it_ended(ended: str, words: str) -> None:
    one = {"worker": "a-1", "attempt": 1, "after_ms": 0.2, "took_ms": 312.0, "ended": ended}
    assert told(queued_ms=0.2, tries=[one])[1:] == [
        "         0.0 ms  queued for 0.2 ms",
        f"         0.2 ms  attempt 1: a-1 {words} after 312 ms",
    ]


def test_a_story_is_told_with_each_of_its_tries() -> None:
    tried = {"worker": EVIL, "attempt": 1, "after_ms": 0.2, "took_ms": 312.0, "ended": "died"}
    story = {
        "request": EVIL,
        "arrived_at": "2030-01-02T03:04:05+00:00",
        "state": "answered",
        "status": 500,
        "reason": "handler_error",
        "error": f"ValueError: {EVIL}",
        "queued_ms": 0.2,
        "took_ms": 320.0,
        "tries": [tried, {**tried, "worker": "b-1", "attempt": 2, "ended": "error"}],
    }
    lines = list(story_lines(story))
    assert "\x1b" not in "".join(lines)
    assert len(lines) == 4
    assert "answered 500 handler_error after 320 ms: ValueError: " in lines[0]
    assert lines[1].endswith("queued for 0.2 ms")
    assert lines[2].endswith("died after 312 ms")
    assert lines[3].endswith("attempt 2: b-1 raised an error after 312 ms")
