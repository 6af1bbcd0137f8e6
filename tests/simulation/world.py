"""The clock, the tape and the mail of one simulated world: nothing happens but by them."""

from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush

from balancer.core.events import Event, RequestId
from tests.simulation.tape import Lane, Tape

START_AT = 1_000.0


class World:
    """Time moves from one happening to the next. What the balancer gets to know goes by mail."""

    def __init__(self, tape: Tape, grid_s: float) -> None:
        self.now = START_AT
        self.mail: deque[Event] = deque()
        """What the balancer will be told next time it looks, in this order."""
        self.is_quiet = False
        """No new faults from now on."""
        self.faults: Counter[str] = Counter()
        self.executions: Counter[RequestId] = Counter()
        """How often a handler really began with a request that it did not decline."""
        self._tape = tape
        self._grid_s = grid_s
        self._happenings: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    def lane(self, name: str) -> Lane:
        return self._tape.lane(name, self._grid_s)

    def later(self, delay_s: float, happening: Callable[[], None]) -> None:
        self._order += 1
        heappush(self._happenings, (self.now + delay_s, self._order, happening))

    def next_at(self) -> float | None:
        return self._happenings[0][0] if self._happenings else None

    def advance(self, until: float) -> None:
        """Let everything happen that happens until then, each at its own time."""
        while self._happenings and self._happenings[0][0] <= until:
            at, _, happening = heappop(self._happenings)
            self.now = max(self.now, at)
            happening()
        self.now = max(self.now, until)
