"""The clients of a simulated world: bursts of requests, odd wishes, and sudden farewells."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from balancer.core.events import (
    ClientGone,
    ClientId,
    RequestArrived,
    RequestId,
    RequestUnreadable,
)
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.world import World

_BURSTS_MAX = 30
_PROBES = 4
_PROBE_TIMEOUT_S = 1000.0
_PROBE_TRY_TIMEOUT_S = 2.0

Letter = Callable[[RequestId, ClientId], RequestArrived | RequestUnreadable]
"""What a client sends, but for its number."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A request of the time when no new faults begin: whoever can serve it must do so."""

    request: RequestId
    sent_at: float


class Clients:
    """They send what the tape says, several at the same instant more often than not."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._lane = world.lane("clients")
        self._names = [ClientId(b"client-%d" % n) for n in range(scenario.clients)]
        self.sent = 0
        self.probes: list[Probe] = []

    def start(self) -> None:
        world, lane, period_s = self._world, self._lane, self._scenario.period_s
        for _ in lane.repeat(1, _BURSTS_MAX):
            delay_s = lane.duration_s(0.0, period_s)
            client, size = lane.choice(self._names), lane.choice(self._scenario.bursts)
            self._world.faults[Fault.LARGE_BURST] += size > 8
            letters = [self._letter() for _ in lane.repeat(1, size)]
            world.later(delay_s, partial(self._send, client, letters))
            if self._is_drawn(Fault.RESENT, 0.3):
                # Tired of waiting, or on a new connection.
                another = client if lane.chance(0.5) else lane.choice(self._names)
                delay_s += lane.duration_s(0.0, 3.0)
                world.later(delay_s, partial(self._send, another, letters))
        if Fault.CLIENT_GONE in self._scenario.faults:
            for _ in lane.repeat(0, 5):
                client = lane.choice(self._names)
                world.later(lane.duration_s(0.0, period_s), partial(self._leave, client))

    def probe(self, gap_s: float) -> None:
        """One request after another, each given as much time as it may need."""
        for number in range(_PROBES):
            self._world.later(number * gap_s, self._send_probe)

    def _send_probe(self) -> None:
        self.sent += 1
        while self.sent % 7 == 0:  # poison, where there is any
            self.sent += 1
        request, client = RequestId(self.sent), ClientId(b"probe-%d" % self.sent)
        self.probes.append(Probe(request, self._world.now))
        self._world.mail.append(
            RequestArrived(
                request, client, 0, timeout_s=_PROBE_TIMEOUT_S, try_timeout_s=_PROBE_TRY_TIMEOUT_S
            )
        )

    def _send(self, client: ClientId, letters: list[Letter]) -> None:
        for letter in letters:
            self.sent += 1
            self._world.mail.append(letter(RequestId(self.sent), client))

    def _letter(self) -> Letter:
        lane = self._lane
        if self._is_drawn(Fault.UNREADABLE, 0.05):
            return partial(RequestUnreadable, error="nonsense")
        timeout_s = try_timeout_s = None
        if self._is_drawn(Fault.OWN_TIMEOUT, 0.3):
            timeout_s = lane.duration_s(0.0, 15.0)
            if lane.chance(0.5):
                try_timeout_s = lane.duration_s(0.0, 2.0)
        return partial(
            RequestArrived,
            size_bytes=self._size_bytes(),
            timeout_s=timeout_s,
            try_timeout_s=try_timeout_s,
            once=self._is_drawn(Fault.ONCE, 0.3),
            id=b"name-%d" % lane.below(9) if self._is_drawn(Fault.NAMED, 0.7) else None,
            priority=lane.choice((1, 0, 2)) if self._is_drawn(Fault.PRIORITY, 0.5) else 1,
        )

    def _size_bytes(self) -> int:
        if self._is_drawn(Fault.TOO_LARGE, 0.05):
            return self._scenario.limits.max_body_bytes + 1
        return self._lane.choice((0, 1, 50, 100))

    def _is_drawn(self, fault: Fault, probability: float) -> bool:
        if fault not in self._scenario.faults or not self._lane.chance(probability):
            return False
        self._world.faults[fault] += 1
        return True

    def _leave(self, client: ClientId) -> None:
        """A client may leave before it ever sent, while it waits, or after; and may come back."""
        self._world.faults[Fault.CLIENT_GONE] += 1
        self._world.mail.append(ClientGone(client))
