"""The worker processes of a simulated world: what each does with a try, frozen and cut off too."""

from collections.abc import Callable
from functools import partial

from balancer.core.events import (
    Batching,
    Forward,
    ForwardBatch,
    Outcome,
    ReplyArrived,
    RequestId,
    WorkerId,
    WorkerReply,
)
from tests.simulation.batch_work import BatchWork
from tests.simulation.books import Violation
from tests.simulation.scenario import Behaviour, Fault, Scenario
from tests.simulation.tasks import Reply, Task, tries_of, value_of
from tests.simulation.world import World

_NO_ANSWER = {Behaviour.EMPTY, Behaviour.GARBLED, Behaviour.EXPIRED}
_EXECUTES_NOTHING = {Behaviour.DIES_BEFORE, Behaviour.EMPTY, Behaviour.EXPIRED}


class Process:
    """One process behind one link after another. ``on_death`` is told when it has died."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        worker: WorkerId,
        pool: str,
        habit: Behaviour | None,
        is_static: bool,
        batching: Batching,
        on_death: Callable[["Process"], None],
    ) -> None:
        self.worker = worker
        """The incarnation as which the balancer knows it, or will."""
        self.pool = pool
        self.habit = habit
        """What it does with every try; None for one that has good and bad moments."""
        self.batching = batching
        """What it does with several requests in one message."""
        self.is_alive = True
        self.is_ready = False
        self.is_cut_off = False
        """Its link is gone and not made anew: nobody hears it."""
        self._world = world
        self._scenario = scenario
        self._lane = world.lane(worker.slot)
        self._is_static = is_static
        self._on_death = on_death
        self._task: Task | None = None
        self._thaws_at = world.now
        self._is_leaving = False
        self._when_free: Callable[[], None] | None = None

    @property
    def is_frozen(self) -> bool:
        return self._world.now < self._thaws_at

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    def hears(self, worker: WorkerId) -> bool:
        """Whether what is sent to this incarnation reaches the process."""
        return self.is_alive and not self.is_cut_off and self.worker == worker

    # --- what others do to it -----------------------------------------------------------------

    def deliver(self, task: Task) -> None:
        """The bytes are here. A process that has died meanwhile never sees them."""
        if not self.is_alive or self.waits_for_thaw(partial(self.deliver, task)):
            return
        if not self.hears(task.worker):
            # The link has gone with the bytes; or they were read before, and run for nobody.
            for one in tries_of(task):
                self._world.executions[one.request] += self._lane.chance(0.5)
            return
        if self._task is not None:
            raise Violation("P3 one at a time", f"{self.worker} got {task} on top of {self._task}")
        self._task = task
        if isinstance(task, ForwardBatch):
            BatchWork(self, task, self._world).begin()
        elif self._world.now > task.expires_at:
            self._note_fault(Behaviour.EXPIRED)
            self._reply(task, Behaviour.EXPIRED)
        else:
            self._begin(task, self.take_up(task))

    def freeze(self, duration_s: float) -> None:
        self._thaws_at = self._world.now + duration_s

    def relink(self, worker: WorkerId) -> None:
        """Its link is lost, with the reply to what it has in hand; the next will be this one."""
        self.worker = worker
        self.is_ready = False
        self.is_cut_off = True

    def answer_ping(self, when_free: Callable[[], None]) -> None:
        """The new link is there; the ping is read once the task in hand is done."""
        self.is_cut_off = False
        self._when_free = when_free
        self._look_for_ping()

    def leave(self) -> None:
        """Finish the task in hand, then stop."""
        self._is_leaving = True
        if self._task is None:
            self.die()

    def die(self) -> None:
        if self.is_alive:
            self.is_alive = False
            self._on_death(self)

    # --- what it does -------------------------------------------------------------------------

    def has_in_hand(self, task: Task) -> bool:
        return self.is_alive and self._task is task

    def waits_for_thaw(self, happening: Callable[[], None]) -> bool:
        if self.is_frozen:
            self._world.later(self._thaws_at - self._world.now, happening)
        return self.is_frozen

    def _look_for_ping(self) -> None:
        if not self.is_alive or self.waits_for_thaw(self._look_for_ping):
            return
        if self._task is None and self._when_free is not None:
            when_free, self._when_free = self._when_free, None
            when_free()

    def _note_fault(self, behaviour: Behaviour) -> None:
        self._world.faults[behaviour] += 1

    def take_up(self, task: Forward) -> Behaviour:
        """What it does with this request, and the execution if there is one."""
        behaviour = self._behaviour(task.request)
        if behaviour is not Behaviour.QUICK:
            self._note_fault(behaviour)
        if behaviour not in _EXECUTES_NOTHING:
            self._world.executions[task.request] += 1
        return behaviour

    def _behaviour(self, request: RequestId) -> Behaviour:
        scenario, lane = self._scenario, self._lane
        rank = scenario.pools.index(self.pool)
        if scenario.is_sorted and request % len(scenario.pools) != rank:
            return Behaviour.EMPTY
        if Fault.POISON in scenario.faults and request % 7 == 0:
            self._world.faults[Fault.POISON] += 1
            return Behaviour.HANGS if request % 2 and not self._is_static else Behaviour.DIES_DURING
        if self.habit is not None:
            return self.habit
        is_good = self._world.is_quiet or not scenario.behaviours
        if is_good or not lane.chance(1 - scenario.quick_share):
            return Behaviour.QUICK
        return lane.choice(scenario.behaviours)

    def _begin(self, task: Forward, behaviour: Behaviour) -> None:
        takes_s = self.takes_s(task, behaviour)
        match behaviour:
            case Behaviour.HANGS:
                pass
            case Behaviour.DIES_BEFORE | Behaviour.DIES_DURING:
                self._world.later(takes_s, self.die)
            case _:
                self._world.later(takes_s, partial(self._reply, task, behaviour))

    def takes_s(self, task: Forward, behaviour: Behaviour) -> float:
        """How long it is busy with the request, if it ever comes to an end with it."""
        world, lane = self._world, self._lane
        soon_s, expires_in_s = lane.steps_s(0, 2), task.expires_at - world.now
        match behaviour:
            case Behaviour.NEAR_TIMEOUT:
                return max(0.0, expires_in_s + lane.choice((0, -1, 1)) * lane.steps_s(1, 1))
            case Behaviour.LATE:
                return expires_in_s + lane.duration_s(0.0, 1.5)
            case Behaviour.EMPTY if world.is_quiet:
                return 0.0  # who declines decides at once: the time is for those who do not
            case Behaviour.EMPTY | Behaviour.GARBLED | Behaviour.EXPIRED:
                if not world.is_quiet and lane.chance(0.2):  # even these may come late
                    return expires_in_s + lane.duration_s(0.0, 0.5)
        return soon_s

    def outcome_of(self, behaviour: Behaviour) -> tuple[Outcome, int]:
        """What it replies, and with which status."""
        if behaviour in _NO_ANSWER:
            return Outcome(behaviour.value), 200
        return Outcome.ANSWER, 500 if behaviour is Behaviour.ERROR else 200

    def _reply(self, task: Forward, behaviour: Behaviour) -> None:
        if not self.has_in_hand(task) or self.waits_for_thaw(partial(self._reply, task, behaviour)):
            return
        outcome, status = self.outcome_of(behaviour)
        reply = WorkerReply(outcome, status, value_of(task.request, self.worker))
        took_s = None
        if task.wants_time:
            # Not every worker knows the question, or tells the truth.
            took_s = self._lane.choice((None, 0.0, max(0.0, self.takes_s(task, behaviour))))
        event = ReplyArrived(self.worker, reply, took_s)
        if behaviour is Behaviour.DIES_AFTER:
            self.reply_and_die(task, event)
        else:
            self.finish(task, event)

    def finish(self, task: Task, event: Reply) -> None:
        """The task is done. If its link is another by now, nobody hears of it."""
        self._task = None
        if self.hears(task.worker):
            self._tell(event)
        if self._is_leaving:
            self.die()
        else:
            self._look_for_ping()

    def reply_and_die(self, task: Task, event: Reply) -> None:
        if self.is_drawn(Fault.LOST_REPLY, 0.5):
            self._task = None
        else:
            self.finish(task, event)
        self.die()

    def _tell(self, event: Reply) -> None:
        self._world.mail.append(event)
        if self.is_drawn(Fault.DOUBLED_REPLY, 0.3):
            again = partial(self._repeat, event)
            self._world.later(self._lane.steps_s(0, 2), again)

    def _repeat(self, event: Reply) -> None:
        if self.hears(event.worker):
            self._world.mail.append(event)

    def is_drawn(self, fault: Fault, probability: float) -> bool:
        if fault not in self._scenario.faults or not self._lane.chance(probability):
            return False
        self._world.faults[fault] += 1
        return True
