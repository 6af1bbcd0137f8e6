"""When what is due: a heap of dates, each with the event that it brings.

The deadlines of requests have a heap of their own. Each request has one and almost none comes due,
so it is to cost as little as can be: no alarm that is made and cancelled, but a date that is passed
over once its request is no longer open.
"""

from collections.abc import Container
from heapq import heapify, heappop, heappush

from balancer.core.events import DeadlinePassed, RequestId, Timer

_TIDY_FROM = 512
"""So many dates of requests that are over are no trouble."""


class Alarm:
    """One date in the heap; cancelling it costs nothing until the heap is tidied."""

    __slots__ = ("event", "when")

    def __init__(self, when: float, event: Timer) -> None:
        self.when = when
        self.event: Timer | None = event

    @property
    def is_set(self) -> bool:
        """Neither cancelled nor fired."""
        return self.event is not None


class Deadlines:
    """Dates come out in order of time, equal ones in the order in which they were set, and the
    deadlines of requests ahead of them."""

    def __init__(self, open_requests: Container[RequestId]) -> None:
        """``open_requests`` are those that are open at any time: only their deadlines come out."""
        # Tuples are compared without a line of Python, and no two have the same number.
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = 0
        self._cancelled = 0
        self._open_requests = open_requests
        self._requests: list[tuple[float, RequestId]] = []
        self._tidy_at = _TIDY_FROM

    def __len__(self) -> int:
        """How many alarms are set."""
        return len(self._heap) - self._cancelled

    def set_deadline(self, request: RequestId, when: float) -> None:
        """DeadlinePassed if the request is open then."""
        heappush(self._requests, (when, request))
        if len(self._requests) > self._tidy_at:
            is_open = self._open_requests.__contains__
            self._requests = [entry for entry in self._requests if is_open(entry[1])]
            heapify(self._requests)
            self._tidy_at = max(_TIDY_FROM, 2 * len(self._requests))

    def set(self, when: float, event: Timer) -> Alarm:
        self._order += 1
        alarm = Alarm(when, event)
        heappush(self._heap, (when, self._order, alarm))
        return alarm

    def cancel(self, alarm: Alarm | None) -> None:
        """Cancelling twice, or an alarm that has fired, or none, is harmless."""
        if alarm is None or alarm.event is None:
            return
        alarm.event = None
        self._cancelled += 1
        # Most alarms are cancelled long before they are due, and are not to pile up until then.
        if self._cancelled > 256 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].event is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next(self) -> float | None:
        """The nearest date, or None."""
        alarms, requests = self._heap, self._requests
        while alarms and alarms[0][2].event is None:
            heappop(alarms)
            self._cancelled -= 1
        while requests and requests[0][1] not in self._open_requests:
            heappop(requests)
        if requests and (not alarms or requests[0][0] <= alarms[0][0]):
            return requests[0][0]
        return alarms[0][0] if alarms else None

    def pop_due(self, now: float) -> Timer | None:
        """The earliest event that is due, or None. One at a time: it may cancel the next."""
        when = self.next()
        if when is None or when > now:
            return None
        if self._requests and self._requests[0][0] == when:
            return DeadlinePassed(heappop(self._requests)[1])
        alarm = heappop(self._heap)[2]
        event, alarm.event = alarm.event, None
        return event
