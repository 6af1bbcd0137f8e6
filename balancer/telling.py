"""Events and the stories of requests as lines for people."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from balancer.printable import printable_line


def event_line(record: Mapping[str, Any]) -> str:
    """As the log has it; of an event with several lines, such as a stack, each is indented."""
    first, *rest = str(record["text"]).splitlines() or [""]
    head = f"{_time(record['time'])} {printable_line(str(record['source'])):<11} "
    lines = [head + printable_line(first), *(f"    {printable_line(line)}" for line in rest)]
    return "\n".join(lines)


def story_lines(story: Mapping[str, Any]) -> Iterator[str]:
    """What became of a request, and below it each of its tries with its start and its length."""
    yield f"{_time(story['arrived_at'])} request {printable_line(story['request'])}  {_end(story)}"
    if story["queued_ms"] is not None:
        yield f"    {0:8.1f} ms  queued for {story['queued_ms']:g} ms"
    for one in story["tries"]:
        worker, ended = printable_line(one["worker"]), _ENDED.get(one["ended"], one["ended"])
        yield (
            f"    {one['after_ms']:8.1f} ms  attempt {one['attempt']}: {worker} {ended} "
            f"after {one['took_ms']:g} ms"
        )


_ENDED = {
    "answer": "answered",
    "error": "raised an error",
    "empty": "had nothing to say",
    "timeout": "let its time pass",
    "died": "died",
    "garbled": "wrote nonsense",
    "undelivered": "was not reached",
    "running": "still works",
}


def _end(story: Mapping[str, Any]) -> str:
    took = f"{story['took_ms']:g} ms"
    match story["state"]:
        case "open":
            return f"open for {took}"
        case "gone":
            return f"dropped after {took}: its client is gone"
    reason = f" {story['reason']}" if story["reason"] else ""
    error = f": {printable_line(story['error'])}" if story["error"] else ""
    return f"answered {story['status']}{reason} after {took}{error}"


def _time(date: str) -> str:
    """The time of day here, as the log has it."""
    return datetime.fromisoformat(date).astimezone().strftime("%H:%M:%S.%f")[:-3]
