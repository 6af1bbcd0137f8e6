"""Who waits, for what, and in which order: one line for each pool, and one for the stranded.

A request that comes back from a failed try waits ahead of all that were not tried yet, unless it
is to give way: a suspect waits behind all. The queue's bounds are asked for when a request
joins: who waits is never thrown out because of another.
"""

from collections.abc import Iterable, Iterator, Sequence

from balancer.core.events import RequestId
from balancer.core.lifecycle import Request
from balancer.core.pool import Member, Pool

_PRIORITIES = 3
_PARTS = 2 * _PRIORITIES + 1

Line = tuple[dict[RequestId, Request], ...]
"""By urgency; within it the first come first, as a dict keeps them."""


class Queue:
    """The requests that wait. Each is in one line."""

    def __init__(self) -> None:
        self._lines: dict[str | None, Line] = {}
        self.places: dict[RequestId, dict[RequestId, Request]] = {}
        """Everybody's part of a line, in the order in which they joined the queue: for reading."""
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, request: RequestId) -> bool:
        return request in self.places

    def __iter__(self) -> Iterator[Request]:
        return (part[request] for request, part in self.places.items())

    def add(self, request: Request, pool: Pool | None) -> None:
        """Wait for the pool's next free worker, or with None for somebody to come back."""
        self.add_all((request,), pool)

    def add_all(self, requests: Sequence[Request], pool: Pool | None) -> None:
        """One after the other."""
        name = pool.name if pool is not None else None
        line, places = self._lines.get(name), self.places
        if line is None:
            line = self._lines[name] = tuple({} for _ in range(_PARTS))
        for request in requests:
            id, part = request.id, line[_urgency(request)]
            part[id] = request
            places[id] = part
        self.size_bytes += sum([request.size_bytes for request in requests])

    def remove(self, request: Request) -> None:
        del self.places.pop(request.id)[request.id]
        self.size_bytes -= request.size_bytes

    def remove_all(self, requests: Iterable[Request]) -> None:
        places, size_bytes = self.places, self.size_bytes
        for request in requests:
            del places.pop(request.id)[request.id]
            size_bytes -= request.size_bytes
        self.size_bytes = size_bytes

    def reorder(self, request: Request) -> None:
        """It has become more urgent, or less: it is the last of its kind in its line."""
        part = self.places[request.id]
        line = next(line for line in self._lines.values() if any(part is one for one in line))
        del part[request.id]
        self.places[request.id] = part = line[_urgency(request)]
        part[request.id] = request

    def first_for(self, member: Member) -> Request | None:
        """The request that this worker should take next, or None; it stays in the queue."""
        for part in self._lines.get(member.pool.name, ()):
            if part:
                for request in part.values():
                    if member.slot not in request.excluded:
                        return request
        return None

    def line_of(self, member: Member) -> Iterator[Request]:
        """All that this worker could take, in order."""
        for part in self._lines.get(member.pool.name, ()):
            for request in part.values():
                if member.slot not in request.excluded:
                    yield request

    def line(self, pool: Pool) -> Iterator[Request]:
        """All that wait for the pool's next free worker, in order."""
        for part in self._lines.get(pool.name, ()):
            yield from part.values()

    def waiting(self, pool: Pool) -> int:
        """How many wait for the pool's next free worker."""
        return sum(map(len, self._lines.get(pool.name, ())))

    def take_all(self) -> list[Request]:
        """Empty the queue; the requests come in order, to be placed anew in that order."""
        requests = sorted(self, key=_urgency)
        self._lines.clear()
        self.places.clear()
        self.size_bytes = 0
        return requests


def _urgency(request: Request) -> int:
    """The lower the sooner: patient suspects at the end, else by priority, tried before untried."""
    if request.waits_last:
        return _PARTS - 1
    return 2 * request.priority + (request.attempts == 0)
