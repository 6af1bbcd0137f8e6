"""What requests marked ``once`` are called, so that none of them is taken in twice."""

from collections.abc import Iterable

from balancer.core.events import RequestArrived, RequestId
from balancer.core.lifecycle import Request
from balancer.core.limits import Limits


class OnceNames:
    """The latest names, each with the request that has it, unless that certainly did not run.

    Whoever keeps names for our successor need not hear of those that are forgotten here: it would
    only refuse what we would have taken in.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._names: dict[bytes | str, RequestId | None] = {}
        """None for a request of our predecessors, which nobody can forget."""

    def learn(self, names: Iterable[bytes | str]) -> None:
        """Requests of these names may have run; the oldest first."""
        for name in names:
            self._note(name, None)

    def has(self, event: RequestArrived) -> bool:
        """Whether the request came before: over another connection, say."""
        return event.once and event.id is not None and event.id in self._names

    def add(self, request: Request) -> None:
        if request.once and request.name is not None:
            self._note(request.name, request.id)

    def _note(self, name: bytes | str, request: RequestId | None) -> None:
        self._names[name] = request
        if len(self._names) > self.limits.once_ids_limit:
            del self._names[next(iter(self._names))]

    def forget(self, request: Request) -> None:
        """It is over and did not run: it may come again."""
        # Another request may have the name: this one may not be marked, or be long forgotten.
        if request.name is not None and self._names.get(request.name) == request.id:
            del self._names[request.name]
