"""The clock, the dice and the mail of one simulated world: nothing happens but by them."""

from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from balancer.core.events import Event, RequestId

START_AT = 1_000.0


class World:
    """Time moves from one happening to the next. What the balancer gets to know goes by mail."""

    def __init__(self, dice: Random, grid_s: float) -> None:
        self.now = START_AT
        self.dice = dice
        self.mail: deque[Event] = deque()
        """What the balancer will be told next time it looks, in this order."""
        self.is_quiet = False
        """The faults are over: whoever is asked from now on does as he should."""
        self.faults: Counter[str] = Counter()
        self.executions: Counter[RequestId] = Counter()
        """How often a handler really began with a request that it did not decline."""
        self._grid_s = grid_s
        self._happenings: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

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

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def duration_s(self, low_s: float, high_s: float) -> float:
        """Some duration on the grid. The grid is coarse so that much happens at the same time."""
        low, high = round(low_s / self._grid_s), round(high_s / self._grid_s)
        return (low + int(self.dice.random() * (high - low + 1))) * self._grid_s

    def steps_s(self, low: int, high: int) -> float:
        """Some steps of the grid."""
        return (low + int(self.dice.random() * (high - low + 1))) * self._grid_s
