"""One world played to its end: the real core in it, stepped as the balancer's own loop would.

Everything is decided by one tape: the same seed, or the same tape, gives the same trace, always.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    Action,
    DrainStarted,
    Event,
    Forward,
    ForwardBatch,
    Kill,
    Released,
    RequestArrived,
    RequestsArrived,
)
from tests.simulation.books import Violation
from tests.simulation.checkers import Checkers, Rest
from tests.simulation.clients import Clients
from tests.simulation.launcher import Launcher
from tests.simulation.ledger import arrivals_of
from tests.simulation.scenario import Fault, Scenario, draw
from tests.simulation.tape import Recording, Tape
from tests.simulation.troubles import Links, Troubles
from tests.simulation.world import START_AT, World

_STEPS_MAX = 100_000
"""No seed needs a tenth of them: a world that does not come to rest is a finding."""
_SETTLES_IN_S = 20.0
"""Frozen workers have thawed by then, hanging ones were killed, and restarts are done."""


@dataclass(slots=True, repr=False)
class Result:
    """What came of one tape."""

    scenario: Scenario
    recording: Recording = field(default_factory=dict)
    trace: list[tuple[float, Event | None, list[Action]]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    situations: set[str] = field(default_factory=set)
    """The rare ones that it reached."""
    requests: int = 0
    virtual_s: float = 0.0
    error: Exception | None = None

    def __repr__(self) -> str:
        return f"<{self.error or 'no promise broken'}>"

    def lines(self) -> Iterator[str]:
        """The whole trace; the passing of time is shown where it has led to something."""
        for now, event, actions in self.trace:
            if event is not None or actions:
                yield f"{now - START_AT:9.3f}  {event or 'time passes'}"
            yield from (f"{'':9}    -> {action}" for action in actions)

    def digest(self) -> str:
        return sha256("\n".join(self.lines()).encode()).hexdigest()


def play(seed: int, core: type[Dispatcher] = Dispatcher) -> Result:
    """Run one seed to its end, or to the first broken promise, which is in ``error``."""
    return play_tape(Tape(dice=Random(seed)), core)


def replay(recording: Recording, core: type[Dispatcher] = Dispatcher) -> Result:
    """Run a recorded tape in the same way."""
    return play_tape(Tape(recording), core)


def play_tape(tape: Tape, core: type[Dispatcher] = Dispatcher) -> Result:
    simulation = Simulation(tape, core)
    try:
        simulation.run()
    # A core that crashes is as much a finding as one that breaks a promise.
    except Exception as error:
        simulation.result.error = error
    return simulation.finish()


class Simulation:
    """The loop of the balancer, with a world around it that can be played only once."""

    def __init__(self, tape: Tape, core: type[Dispatcher]) -> None:
        self._tape = tape
        self._scenario = scenario = draw(tape.lane("scenario"))
        self._world = world = World(tape, scenario.grid_s)
        self._launcher = Launcher(world, scenario)
        self._links = Links(world, self._launcher)
        self._clients = Clients(world, scenario)
        self._dispatcher = core(scenario.limits, scenario.pools)
        self._checkers = Checkers(scenario.limits, scenario.pools, world.executions)
        self._pauses: list[tuple[float, float]] = []
        self._slow_step_s = 0.0
        # Everything that the one is told, a second core is told too: it must do the same.
        is_doubled = tape.lane("twin").chance(0.25)
        self._twin = core(scenario.limits, scenario.pools) if is_doubled else None
        self.result = Result(scenario)

    def run(self) -> None:
        self._prepare()
        for _ in range(_STEPS_MAX):
            wake_at = self._next_wake()
            if wake_at is None:
                self._check_at_rest()
                return
            self._world.advance(wake_at)
            self._turn()
        raise RuntimeError("the world does not come to rest")

    def finish(self) -> Result:
        result, world = self.result, self._world
        result.recording = self._tape.taken()
        result.faults = world.faults
        result.outcomes = self._checkers.outcomes
        result.situations = self._checkers.observer.reached
        result.requests = self._clients.sent
        result.virtual_s = world.now - START_AT
        return result

    def _prepare(self) -> None:
        world, scenario = self._world, self._scenario
        self._launcher.start()
        self._clients.start()
        Troubles(world, scenario, self._launcher).start()
        lane = world.lane("loop")
        if Fault.DRAIN in scenario.faults:
            world.later(lane.duration_s(0.0, scenario.period_s), self._drain)
        if Fault.PAUSE in scenario.faults:
            for _ in lane.repeat(0, 3):
                begin = START_AT + lane.duration_s(0.0, scenario.period_s)
                self._pauses.append((begin, begin + lane.duration_s(0.25, 3.0)))
        if Fault.SLOW_STEP in scenario.faults:
            self._slow_step_s = lane.choice((0.0, 0.0001, 0.01))
            world.faults[Fault.SLOW_STEP] += self._slow_step_s > 0
        world.later(scenario.period_s, self._calm_down)

    def _drain(self) -> None:
        world, lane = self._world, self._world.lane("loop")
        world.faults[Fault.DRAIN] += 1
        world.mail.append(DrainStarted(lane.duration_s(0.0, 5.0)))
        if lane.chance(0.3):  # a second signal is less patient
            world.later(lane.duration_s(0.0, 2.0), self._drain)

    def _calm_down(self) -> None:
        self._world.is_quiet = True
        self._launcher.calm_down()
        if Fault.DRAIN not in self._scenario.faults:
            self._world.later(_SETTLES_IN_S, lambda: self._clients.probe(_SETTLES_IN_S))

    def _next_wake(self) -> float | None:
        """When the loop has something to do, were it not pausing; None if never again."""
        world = self._world
        if world.mail:
            return world.now
        dates = (world.next_at(), self._dispatcher.next_deadline())
        wake_at = min((at for at in dates if at is not None), default=None)
        if wake_at is None:
            return None
        for begin, end in self._pauses:
            if begin <= wake_at < end:
                world.faults[Fault.PAUSE] += 1
                return end
        return wake_at

    def _turn(self) -> None:
        """Once round the balancer's loop: the events that came, then the time."""
        mail = self._world.mail
        for _ in range(self._scenario.batch_limit):
            if not mail:
                break
            event = self._together(mail.popleft())
            if self._links.is_heard(event):
                self._step(event)
        self._step(None)

    def _together(self, event: Event) -> Event:
        """Requests that lie one after the other in the mail are told of at once, or are not."""
        mail, arrivals = self._world.mail, arrivals_of(event)
        while arrivals and mail and isinstance(mail[0], RequestArrived) and self._is_together():
            arrivals += arrivals_of(mail.popleft())
        return RequestsArrived(arrivals) if len(arrivals) > 1 else event

    def _is_together(self) -> bool:
        return self._world.lane("mail").chance(0.7)

    def _step(self, event: Event | None) -> None:
        world, dispatcher = self._world, self._dispatcher
        now = world.now
        self.result.trace.append((now, event, []))
        actions = dispatcher.expire(now) if event is None else dispatcher.step(event, now)
        self.result.trace[-1] = (now, event, actions)
        if self._twin is not None:
            again = self._twin.expire(now) if event is None else self._twin.step(event, now)
            if again != actions:
                raise Violation("P10 deterministic", f"{event} at {now} gives {again} elsewhere")
        self._checkers.observe(
            now,
            event,
            actions,
            open_requests=dispatcher.open_requests,
            next_deadline=dispatcher.next_deadline(),
            is_drained=dispatcher.drained,
        )
        for action in actions:
            if isinstance(action, Forward | ForwardBatch):
                self._links.forward(action)
            elif isinstance(action, Kill):
                self._launcher.kill(action)
            elif isinstance(action, Released):
                self._launcher.release(action.worker)
        if self._slow_step_s:
            world.advance(now + self._slow_step_s)

    def _check_at_rest(self) -> None:
        trace = self.result.trace
        self._checkers.check_at_rest(
            Rest(
                next_deadline=self._dispatcher.next_deadline(),
                once=[e.request for _, event, _ in trace for e in arrivals_of(event) if e.once],
                probes={probe.request: probe.sent_at for probe in self._clients.probes},
                is_full=not self._scenario.is_lasting,
            )
        )
