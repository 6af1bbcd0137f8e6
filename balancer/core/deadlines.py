"""When what is due: a heap of dates, each with the event that it brings."""

from heapq import heapify, heappop, heappush

from balancer.core.events import Timer


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
    """Dates come out in order of time, equal ones in the order in which they were set."""

    def __init__(self) -> None:
        # Tuples are compared without a line of Python, and no two have the same number.
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap) - self._cancelled

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
        # Most dates are cancelled long before they are due: without tidying, a fast balancer
        # would keep the dates of the last thirty seconds' answered requests.
        if self._cancelled > 256 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].event is not None]
            heapify(self._heap)
            self._cancelled = 0

    def next(self) -> float | None:
        """The nearest date, or None."""
        heap = self._heap
        while heap:
            if heap[0][2].event is not None:
                return heap[0][0]
            heappop(heap)
            self._cancelled -= 1
        return None

    def pop_due(self, now: float) -> Timer | None:
        """The earliest event that is due, or None. One at a time: it may cancel the next."""
        when = self.next()
        if when is None or when > now:
            return None
        alarm = heappop(self._heap)[2]
        event, alarm.event = alarm.event, None
        return event
