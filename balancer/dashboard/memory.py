"""What the dashboard remembers: the last status, the last minutes, the last events and stacks."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from balancer.control import Message
from balancer.dashboard.shown import shown_event, shown_status, shown_text
from balancer.history import History, Point

FEED_MAX = 500
EVENTS_OF_WORKER_MAX = 50
REPLAYED_MAX = 1000
WORKERS_MAX = 5000
"""More than a cluster can have; those that were retired go first."""
POINT_EVERY_S = 0.9
"""Points are a second apart, however often the status is asked for; a little is left for delays."""
FRESH_S = 3.0


class Memory:
    def __init__(self, clock: Callable[[], float], date: Callable[[], float]) -> None:
        """``clock`` never jumps, ``date`` is what points of the history are dated by."""
        self._clock = clock
        self._date = date
        self._status: Message | None = None
        self._answered_at = 0.0
        self._is_silent = True
        self._history = History()
        self._noted_at = float("-inf")
        self.feed: deque[Message] = deque(maxlen=FEED_MAX)
        self._keys: deque[tuple[str, str, str]] = deque(maxlen=REPLAYED_MAX)
        self._replayed: frozenset[tuple[str, str, str]] = frozenset()
        self._workers: dict[str, _WorkerMemory] = {}

    @property
    def status(self) -> Message | None:
        """The last one; None once it is old."""
        return self._status if self.answers else None

    @property
    def answers(self) -> bool:
        """Whether the launcher does; its balancer may still be down."""
        return not self._is_silent and self._clock() - self._answered_at < FRESH_S

    @property
    def last_known(self) -> Message | None:
        """The last status, however old it is."""
        return self._status

    @property
    def points(self) -> list[dict[str, Any]]:
        return [asdict(point) for point in self._history.points]

    def note_status(self, status: Mapping[str, Any]) -> Point | None:
        """Returns the point that it adds to the history, if it adds one."""
        self._status = shown_status(status)
        self._answered_at = self._clock()
        self._is_silent = False
        for worker in status["workers"]:
            if worker.get("stack"):
                self._of(worker["name"]).stack = shown_text(worker["stack"])
        if self._clock() - self._noted_at < POINT_EVERY_S:
            return None
        self._noted_at = self._clock()
        points = self._history.points
        last = points[-1] if points else None
        self._history.note(self._date(), status)
        return points[-1] if points and points[-1] is not last else None

    def note_silence(self) -> None:
        self._is_silent = True

    def note_replay(self) -> None:
        """From now on events are told from the beginning: those that we know are not news."""
        self._replayed = frozenset(self._keys)

    def note_event(self, record: Mapping[str, Any]) -> Message | None:
        """Returns what there is to show, or None if it is known already."""
        event = shown_event(record)
        key = (str(event.get("time")), str(event.get("source")), str(event.get("text")))
        if key in self._replayed:
            return None
        self._keys.append(key)
        self.feed.append(event)
        if name := event.get("worker"):
            memory = self._of(name)
            if event.get("why") != "empty":  # which says nothing about the worker
                memory.events.append(event)
            if record.get("event") == "stack" or record.get("stack"):
                memory.stack = shown_text(record.get("stack") or record.get("text", ""))
        return event

    def worker(self, name: str) -> Message | None:
        """All that there is to tell about a worker; None if there is no such worker."""
        status = self._status or {"workers": []}
        row = next((one for one in status["workers"] if one["name"] == name), None)
        memory = self._workers.get(name)
        if row is None and memory is None:
            return None
        memory = memory or _WorkerMemory()
        return {"worker": row, "events": list(memory.events), "stack": memory.stack}

    def _of(self, name: str) -> "_WorkerMemory":
        if name not in self._workers:
            if len(self._workers) >= WORKERS_MAX:
                del self._workers[next(iter(self._workers))]
            self._workers[name] = _WorkerMemory()
        return self._workers[name]


class _WorkerMemory:
    __slots__ = ("events", "stack")

    def __init__(self) -> None:
        self.events: deque[Message] = deque(maxlen=EVENTS_OF_WORKER_MAX)
        self.stack = ""
