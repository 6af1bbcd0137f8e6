"""What has happened lately, and whoever wants to hear what happens next."""

from collections import deque
from collections.abc import Callable
from heapq import merge
from operator import itemgetter
from typing import Any

EVENTS_MAX = 1000
"""Of requests, and of everything else."""
_OF_REQUESTS = {"try_failed", "failed_over", "refused", "handler_error", "malformed", "left_out"}

Record = dict[str, Any]


class Feed:
    """A follower that is slow or gone is nobody's trouble: ``tell`` must not wait for it."""

    def __init__(self) -> None:
        self.on_watched: Callable[[], None] = lambda: None
        """Called when the first follower has come or the last one has gone."""
        self._of_requests: deque[tuple[int, Record]] = deque(maxlen=EVENTS_MAX)
        self._others: deque[tuple[int, Record]] = deque(maxlen=EVENTS_MAX)
        """Apart, so that thousands of requests do not wash away what happened to workers."""
        self._number = 0
        self._followers: list[Callable[[Record], None]] = []

    @property
    def is_watched(self) -> bool:
        return bool(self._followers)

    def publish(self, record: Record) -> None:
        self._number += 1
        # Whatever a balancer says, its launcher must not fail for it: it may lack a name.
        kept = self._of_requests if record.get("event") in _OF_REQUESTS else self._others
        kept.append((self._number, record))
        for tell in list(self._followers):
            tell(record)

    def latest(self, number: int) -> list[Record]:
        """The last comes last."""
        both = merge(self._of_requests, self._others, key=itemgetter(0))
        return [record for _, record in both][-number:] if number > 0 else []

    def follow(self, tell: Callable[[Record], None]) -> None:
        self._followers.append(tell)
        if len(self._followers) == 1:
            self.on_watched()

    def leave(self, tell: Callable[[Record], None]) -> None:
        """Idempotent."""
        if tell in self._followers:
            self._followers.remove(tell)
            if not self._followers:
                self.on_watched()
