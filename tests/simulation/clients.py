"""The clients of a simulated world: bursts of requests, odd wishes, and sudden farewells."""

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


class Clients:
    """They send what the scenario asks for, several at the same instant more often than not."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._names = [ClientId(b"client-%d" % n) for n in range(scenario.clients)]
        self.sent = 0

    def start(self) -> None:
        world, scenario = self._world, self._scenario
        planned = 0
        while planned < scenario.requests:
            burst = min(world.dice.choice(scenario.bursts), scenario.requests - planned)
            planned += burst
            world.later(world.duration_s(0.0, scenario.period_s), partial(self._send, burst))
        if Fault.CLIENT_GONE in scenario.faults:
            for _ in range(world.dice.randint(1, 4)):
                world.later(world.duration_s(0.0, scenario.period_s), self._leave)

    def _send(self, burst: int) -> None:
        client = self._world.dice.choice(self._names)
        for _ in range(burst):
            self.sent += 1
            self._world.mail.append(self._request(RequestId(self.sent), client))

    def _request(self, request: RequestId, client: ClientId) -> RequestArrived | RequestUnreadable:
        world, limits = self._world, self._scenario.limits
        if self._is_drawn(Fault.UNREADABLE, 0.05):
            return RequestUnreadable(request, client, "nonsense")
        is_large = self._is_drawn(Fault.TOO_LARGE, 0.05)
        timeout_s = try_timeout_s = None
        if self._is_drawn(Fault.OWN_TIMEOUT, 0.3):
            timeout_s = world.duration_s(0.0, 15.0)
            if world.chance(0.5):
                try_timeout_s = world.duration_s(0.0, 2.0)
        return RequestArrived(
            request,
            client,
            size_bytes=limits.max_body_bytes + 1 if is_large else world.dice.randint(0, 100),
            timeout_s=timeout_s,
            try_timeout_s=try_timeout_s,
            once=self._is_drawn(Fault.ONCE, 0.3),
            priority=world.dice.randint(0, 2) if self._is_drawn(Fault.PRIORITY, 0.5) else 1,
        )

    def _is_drawn(self, fault: Fault, probability: float) -> bool:
        if fault not in self._scenario.faults or not self._world.chance(probability):
            return False
        self._world.faults[fault] += 1
        return True

    def _leave(self) -> None:
        """A client may leave before it ever sent, while it waits, or after; and may come back."""
        self._world.faults[Fault.CLIENT_GONE] += 1
        self._world.mail.append(ClientGone(self._world.dice.choice(self._names)))
