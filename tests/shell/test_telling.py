"""Events and stories as lines for people, harmless whatever is in them."""

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
