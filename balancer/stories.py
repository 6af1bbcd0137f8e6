"""How the latest requests went: whom they were given to, how each try ended, how long it took.

Of two lists one is for requests with some trouble, so that thousands of good ones do not wash them
away. Times are the balancer's own; who asks for a story brings the date that belongs to them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from heapq import nlargest
from typing import Any, NamedTuple

from balancer.core.events import RequestId
from balancer.figures import Answered
from balancer.lines import ms

STORIES_MAX = 1000
"""Of each kind."""


class OneTry(NamedTuple):
    worker: str
    attempt: int
    started_at: float
    ended_at: float | None
    """None while it goes on."""
    ended: str


class Story(NamedTuple):
    request: RequestId
    state: str
    arrived_at: float
    ended_at: float | None
    tries: Sequence[OneTry]
    status: int | None = None
    reason: str = ""
    error: str = ""
    """The handler's own words, if it raised."""


class Stories:
    def __init__(self, request_name: Callable[[int], str]) -> None:
        self._request_name = request_name
        self._good: deque[Answered | Story] = deque(maxlen=STORIES_MAX)
        """Most become stories only if somebody asks."""
        self._troubled: deque[Story] = deque(maxlen=STORIES_MAX)

    def keep(self, story: Story, *, is_troubled: bool = True) -> None:
        """Of a request that is over, not with its first try or without an answer."""
        (self._troubled if is_troubled else self._good).append(story)

    def keep_answers(self, answers: Iterable[Answered]) -> None:
        """Of requests whose first try ended with a good answer; others are told by ``keep``."""
        self._good.extend(answers)

    def named(self, name: str) -> Iterator[Story]:
        """Of a request that is over, if it is still known."""
        return (story for story in self._all() if self._request_name(story.request) == name)

    def latest(self, number: int, *, is_troubled: bool) -> list[Story]:
        """The last comes last; of all, or of those with some trouble."""
        known = self._troubled if is_troubled else self._all()
        return nlargest(number, known, key=lambda story: story.ended_at or 0.0)[::-1]

    def _all(self) -> Iterator[Story]:
        yield from self._troubled
        yield from map(_story, self._good)

    def tell(self, story: Story, now: float, date_s: float) -> dict[str, Any]:
        """The story for people and machines; ``date_s`` is the date of ``now``, since 1970."""
        arrived_at = story.arrived_at
        date = datetime.fromtimestamp(date_s - (now - arrived_at), UTC)
        first = story.tries[0].started_at if story.tries else None
        return {
            "request": self._request_name(story.request),
            "arrived_at": date.isoformat(timespec="milliseconds"),
            "state": story.state,
            "status": story.status,
            "reason": story.reason,
            "error": story.error,
            "queued_ms": None if first is None else ms(first - arrived_at),
            "took_ms": ms((now if story.ended_at is None else story.ended_at) - arrived_at),
            "tries": [
                {
                    "worker": one.worker,
                    "attempt": one.attempt,
                    "after_ms": ms(one.started_at - arrived_at),
                    "took_ms": ms((now if one.ended_at is None else one.ended_at) - one.started_at),
                    "ended": one.ended,
                }
                for one in story.tries
            ],
        }


def _story(answer: Answered | Story) -> Story:
    if isinstance(answer, Story):
        return answer
    request, worker, arrived_at, started_at, ended_at = answer
    tries = (OneTry(worker.slot, 1, started_at, ended_at, "answer"),)
    return Story(request, "answered", arrived_at, ended_at, tries, 200)
