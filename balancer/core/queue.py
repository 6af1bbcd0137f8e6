"""Who waits, for what, and in which order: one line for each pool, and one for the stranded.

A request that comes back from a failed try goes to the head of its line. The queue's bounds are
asked for when a request joins: who waits is never thrown out because of another.
"""

from collections import OrderedDict
from collections.abc import Iterator

from balancer.core.events import RequestId
from balancer.core.lifecycle import Request
from balancer.core.pool import Member, Pool

_PRIORITIES = 3

Line = tuple[OrderedDict[RequestId, Request], ...]


def _line() -> Line:
    return tuple(OrderedDict() for _ in range(_PRIORITIES))


class Queue:
    """The requests that wait. Each is in one line, the most urgent of a line first."""

    def __init__(self) -> None:
        self._lines: dict[str | None, Line] = {}
        self._place: dict[RequestId, OrderedDict[RequestId, Request]] = {}
        self._turns: dict[RequestId, int] = {}
        """By which the lines can be joined: who went to the head has a turn below zero."""
        self._joined = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, request: RequestId) -> bool:
        return request in self._place

    def __iter__(self) -> Iterator[Request]:
        for priority in range(_PRIORITIES):
            for line in self._lines.values():
                yield from line[priority].values()

    def add(self, request: Request, pool: Pool | None, *, at_head: bool) -> None:
        """Wait for the pool's next free worker, or with None for somebody to come back."""
        name = pool.name if pool is not None else None
        line = self._lines.setdefault(name, _line())[request.priority]
        line[request.id] = request
        if at_head:
            line.move_to_end(request.id, last=False)
        self._place[request.id] = line
        self._joined += 1
        self._turns[request.id] = -self._joined if at_head else self._joined
        self.size_bytes += request.size_bytes

    def remove(self, request: Request) -> None:
        del self._place.pop(request.id)[request.id]
        del self._turns[request.id]
        self.size_bytes -= request.size_bytes

    def first_for(self, member: Member) -> Request | None:
        """The request that this worker should take next, or None; it stays in the queue."""
        for line in self._lines.get(member.pool.name, ()):
            for request in line.values():
                if member.slot not in request.excluded:
                    return request
        return None

    def take_all(self) -> list[Request]:
        """Empty the queue; the requests come in order, to be placed anew in that order."""
        requests = sorted(self, key=lambda request: (request.priority, self._turns[request.id]))
        self._lines.clear()
        self._place.clear()
        self._turns.clear()
        self.size_bytes = 0
        return requests
