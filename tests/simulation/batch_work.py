"""What a worker process does with a batch: one request after another, or all of them at once."""

from collections import deque
from typing import TYPE_CHECKING

from balancer.core.events import (
    Batching,
    BatchReplied,
    Forward,
    ForwardBatch,
    Outcome,
    ReplyArrived,
    WorkerReply,
)
from tests.simulation.scenario import Behaviour, Fault
from tests.simulation.tasks import Reply, value_of
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.processes import Process

_DEADLY = (Behaviour.DIES_BEFORE, Behaviour.DIES_DURING, Behaviour.DIES_AFTER)


class BatchWork:
    """One batch in the hands of one process. Each request has its own behaviour."""

    def __init__(self, process: "Process", task: ForwardBatch, world: World) -> None:
        self._process = process
        self._task = task
        self._world = world
        self._lane = world.lane(task.worker.slot)
        self._left = deque(task.tries)
        self._begun_at = world.now
        self._replies: list[WorkerReply] = []
        self._is_garbled = False
        self._dies_after = False

    def begin(self) -> None:
        if self._process.batching is Batching.WHOLE:
            self._do_all()
        else:
            self._do_next()

    # --- one after another --------------------------------------------------------------------

    def _do_next(self) -> None:
        """Begin with the next request, or reply when there is none left."""
        if not self._process.has_in_hand(self._task) or self._process.waits_for_thaw(self._do_next):
            return
        while self._left and self._world.now > self._left[0].expires_at:
            self._refuse(self._left.popleft())
        if not self._left:
            self._reply()
            return
        one = self._left.popleft()
        behaviour = self._process.take_up(one)
        if behaviour is Behaviour.HANGS:
            return
        if behaviour in _DEADLY and (behaviour is not Behaviour.DIES_AFTER or self._left):
            self._world.later(self._lane.steps_s(0, 2), self._process.die)
            return
        self._note(one, behaviour)
        self._world.later(self._takes_s(one, behaviour), self._do_next)

    # --- all at once --------------------------------------------------------------------------

    def _do_all(self) -> None:
        behaviours: list[Behaviour] = []
        takes_s = 0.0
        for one in self._task.tries:
            if self._world.now > one.expires_at:
                self._refuse(one)
                continue
            behaviour = self._process.take_up(one)
            behaviours.append(behaviour)
            self._note(one, behaviour)
            takes_s = max(takes_s, self._takes_s(one, behaviour))
        if Behaviour.HANGS in behaviours:
            return
        if Behaviour.DIES_BEFORE in behaviours or Behaviour.DIES_DURING in behaviours:
            self._world.later(self._lane.steps_s(0, 2), self._process.die)
        else:
            self._world.later(takes_s, self._reply)

    # --- replies ------------------------------------------------------------------------------

    def _takes_s(self, one: Forward, behaviour: Behaviour) -> float:
        """Most are done at once: only so are there whole batches that are done in time."""
        is_usual = behaviour not in (Behaviour.NEAR_TIMEOUT, Behaviour.LATE)
        if is_usual and (self._world.is_quiet or not self._lane.chance(0.3)):
            return 0.0
        return self._process.takes_s(one, behaviour)

    def _refuse(self, one: Forward) -> None:
        self._note(one, Behaviour.EXPIRED)
        self._world.faults[Behaviour.EXPIRED] += 1

    def _note(self, one: Forward, behaviour: Behaviour) -> None:
        """The reply to this request, if it comes to that."""
        outcome, status = self._process.outcome_of(behaviour)
        if outcome is Outcome.GARBLED and self._lane.chance(0.5):
            self._is_garbled = True
        self._dies_after = self._dies_after or behaviour is Behaviour.DIES_AFTER
        value = value_of(one.request, self._process.worker)
        self._replies.append(WorkerReply(outcome, status, value))

    def _reply(self) -> None:
        if not self._process.has_in_hand(self._task) or self._process.waits_for_thaw(self._reply):
            return
        if self._is_garbled:
            garbled = [reply.value for reply in self._replies]
            self._replies = [WorkerReply(Outcome.GARBLED, value=value) for value in garbled]
        if self._dies_after:
            self._process.reply_and_die(self._task, self._event())
        else:
            self._process.finish(self._task, self._event())

    def _event(self) -> Reply:
        """What the balancer makes of it. Now and then the number of replies is wrong."""
        worker, replies = self._process.worker, tuple(self._replies)
        if not self._world.is_quiet and self._process.is_drawn(Fault.MISCOUNTED, 0.6):
            odd: tuple[Reply, ...] = (
                BatchReplied(worker, replies[:-1]),
                BatchReplied(worker, (*replies, replies[-1])),
                ReplyArrived(worker, replies[0]),
            )
            return self._lane.choice(odd)
        took_s = self._lane.choice((None, self._world.now - self._begun_at, 0.0))
        return BatchReplied(worker, replies, took_s)
