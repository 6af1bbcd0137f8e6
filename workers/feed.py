"""What has happened lately, and whoever wants to hear what happens next."""

from collections import deque
from collections.abc import Callable
from typing import Any

EVENTS_MAX = 1000

Record = dict[str, Any]


class Feed:
    """A follower that is slow or gone is nobody's trouble: ``tell`` must not wait for it."""

    def __init__(self) -> None:
        self.on_watched: Callable[[], None] = lambda: None
        """Called when the first follower has come or the last one has gone."""
        self._events: deque[Record] = deque(maxlen=EVENTS_MAX)
        self._followers: list[Callable[[Record], None]] = []

    @property
    def is_watched(self) -> bool:
        return bool(self._followers)

    def publish(self, record: Record) -> None:
        self._events.append(record)
        for tell in list(self._followers):
            tell(record)

    def latest(self, number: int) -> list[Record]:
        """The last comes last."""
        return list(self._events)[-number:] if number > 0 else []

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
