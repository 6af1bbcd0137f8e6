"""The worker processes of a simulated world: one incarnation each, and what it does with a try."""

from collections.abc import Callable
from functools import partial

from balancer.core.events import Forward, Outcome, ReplyArrived, RequestId, WorkerId, WorkerReply
from tests.simulation.books import Violation
from tests.simulation.scenario import Behaviour, Fault, Scenario
from tests.simulation.world import World

_EXECUTES_NOTHING = {Behaviour.DIES_BEFORE, Behaviour.EMPTY, Behaviour.EXPIRED}


class Process:
    """One incarnation of a worker. ``on_death`` is told when it has died, whatever the cause."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        worker: WorkerId,
        pool: str,
        habit: Behaviour | None,
        on_death: Callable[["Process"], None],
    ) -> None:
        self.worker = worker
        self.is_alive = True
        self.is_ready = False
        self._world = world
        self._scenario = scenario
        self._rank = scenario.pools.index(pool)
        self._habit = habit
        """What it does with every try; None for one that has good and bad moments."""
        self._on_death = on_death
        self._task: Forward | None = None
        self._is_leaving = False

    def deliver(self, task: Forward) -> None:
        """The bytes are here. A process that has died meanwhile never sees them."""
        if not self.is_alive:
            return
        if self._task is not None:
            raise Violation("P3 one at a time", f"{self.worker} got {task} on top of {self._task}")
        self._task = task
        if self._world.now > task.expires_at:
            self._note_fault(Behaviour.EXPIRED)
            self._reply(Outcome.EXPIRED)
            return
        behaviour = self._behaviour(task.request)
        if behaviour is not Behaviour.QUICK:
            self._note_fault(behaviour)
        if behaviour not in _EXECUTES_NOTHING:
            self._world.executions[task.request] += 1
        self._begin(task, behaviour)

    def leave(self) -> None:
        """Finish the task in hand, then stop."""
        self._is_leaving = True
        if self._task is None:
            self.die()

    def die(self) -> None:
        if self.is_alive:
            self.is_alive = False
            self._on_death(self)

    def _note_fault(self, behaviour: Behaviour) -> None:
        self._world.faults[behaviour] += 1

    def _behaviour(self, request: RequestId) -> Behaviour:
        scenario, dice = self._scenario, self._world.dice
        if scenario.is_sorted and request % len(scenario.pools) != self._rank:
            return Behaviour.EMPTY
        if Fault.POISON in scenario.faults and request % 7 == 0:
            self._world.faults[Fault.POISON] += 1
            return Behaviour.HANGS if request % 2 else Behaviour.DIES_DURING
        if self._world.is_quiet:
            return Behaviour.QUICK
        if self._habit is not None:
            return self._habit
        if not scenario.behaviours or dice.random() < scenario.quick_share:
            return Behaviour.QUICK
        return dice.choice(scenario.behaviours)

    def _begin(self, task: Forward, behaviour: Behaviour) -> None:
        world = self._world
        soon_s, expires_in_s = world.steps_s(0, 2), task.expires_at - world.now
        match behaviour:
            case Behaviour.HANGS:
                pass
            case Behaviour.DIES_BEFORE | Behaviour.DIES_DURING:
                world.later(soon_s, self.die)
            case Behaviour.DIES_AFTER:
                world.later(soon_s, self._reply_and_die)
            case Behaviour.NEAR_TIMEOUT:
                near_s = max(0.0, expires_in_s + world.steps_s(-1, 1))
                world.later(near_s, partial(self._reply, Outcome.ANSWER))
            case Behaviour.LATE:
                late_s = expires_in_s + world.duration_s(0.0, 1.5)
                world.later(late_s, partial(self._reply, Outcome.ANSWER))
            case Behaviour.EMPTY | Behaviour.GARBLED | Behaviour.EXPIRED:
                if world.chance(0.2):  # even these may come late
                    soon_s = expires_in_s + world.duration_s(0.0, 0.5)
                world.later(soon_s, partial(self._reply, Outcome(behaviour.value)))
            case Behaviour.ERROR:
                world.later(soon_s, partial(self._reply, Outcome.ANSWER, 500))
            case Behaviour.QUICK:
                world.later(soon_s, partial(self._reply, Outcome.ANSWER))

    def _reply(self, outcome: Outcome, status: int = 200) -> None:
        if not self.is_alive or self._task is None:
            return
        task, self._task = self._task, None
        reply = WorkerReply(outcome, status, value_of(task.request, self.worker))
        self._world.mail.append(ReplyArrived(self.worker, reply))
        if self._is_leaving:
            self.die()

    def _reply_and_die(self) -> None:
        if Fault.LOST_REPLY not in self._scenario.faults or self._world.chance(0.5):
            self._reply(Outcome.ANSWER)
        else:
            self._world.faults[Fault.LOST_REPLY] += 1
        self.die()


def value_of(request: RequestId, worker: WorkerId) -> bytes:
    """What a worker makes of a request: nobody else's answer looks the same."""
    return b"%d by %s#%d" % (request, worker.slot.encode(), worker.incarnation)
