"""Rare situations by name: a run in which one of them never came up has not tried it."""

from collections.abc import Iterable

from balancer.core import events as ev
from balancer.core.events import Reason
from tests.simulation import end_moments as end
from tests.simulation import moments as at
from tests.simulation.batch_moments import BATCHES
from tests.simulation.books import State
from tests.simulation.ledger import Ledger

SITUATIONS: dict[type, dict[str, at.Predicate]] = {
    ev.RequestArrived: {
        "a request came while nobody was up": lambda ledger, _, __: not ledger.roster.workers,
        "a request came during the drain": lambda ledger, _, __: ledger.is_draining,
        "a once name came again while its first was open": at.name_is_open,
    },
    ev.ClientGone: {
        "a client went while its request was tried": at.client_goes_while(is_tried=True),
        "a client went while its request waited": at.client_goes_while(is_tried=False),
    },
    ev.DrainStarted: {
        "a drain began while requests waited": lambda ledger, _, __: bool(ledger.queued),
        "a second drain was less patient": lambda ledger, now, event: (
            ledger.is_draining and now + event.timeout_s < ledger.drain_ends_at
        ),
    },
    ev.Reconfigured: {
        "the order of the pools changed while requests waited": lambda ledger, _, event: (
            bool(ledger.queued) and tuple(ledger.roster.slots) != event.pools
        ),
        "the queue became shorter than what waited": lambda ledger, _, event: (
            event.limits.queue_limit < len(ledger.queued)
        ),
    },
    ev.ReplyArrived: {
        "a late reply won the race": at.late_reply_wins,
        "a late reply answered a request that was back in the queue": at.late_reply_from_queue,
        "a late reply was of no use": at.late_reply_is_no_use,
        "a reply came on the date of its timeout": at.reply_on_the_date,
        "a reply came after its client had gone": at.reply_to_nobody,
        "a reply came twice": at.doubled_reply,
        "a reply came from a worker that is gone": at.old_news,
        "a retired worker answered": lambda ledger, _, event: (
            at.is_answer(event) and at.state_of(ledger, event) is State.DRAINING
        ),
        "the last that served was spared from ejection": at.spared_from_ejection,
    },
    ev.WorkerLost: {
        "a death was told twice": at.old_news,
        "an ejected worker died": at.holds(State.EJECTED),
        "an overdue worker died before it was killed": at.holds(State.OVERDUE),
        "a retired worker died with its request": at.holds(State.DRAINING),
        "a successor died before it was ready": lambda ledger, _, event: (
            event.worker in ledger.roster.aside and at.state_of(ledger, event) is State.CONNECTING
        ),
        "a worker died while its successor was starting": lambda ledger, _, event: (
            event.worker not in ledger.roster.aside
            and at.worker_of(ledger, event) is not None
            and bool(at.beside(ledger, event.worker.slot))
        ),
        "a worker died with a request that was over": at.lost_for_nobody,
        "a request certainly never left": lambda ledger, _, event: (
            event.undelivered and at.held_case(ledger, event) is not None
        ),
    },
    ev.WorkerConnected: {
        "a new process said that a busy one was dead": at.says_older_is_dead,
        "a second successor stood beside": lambda ledger, _, event: (
            event.beside_older and bool(at.beside(ledger, event.worker.slot))
        ),
    },
    ev.WorkerReady: {
        "a successor was ready while the older one was busy": at.ready_beside(is_busy=True),
        "a successor was ready while the older one was idle": at.ready_beside(is_busy=False),
        "a worker was ready twice": at.holds(State.IDLE),
        "a worker came back to those who had waited for it": lambda ledger, _, event: (
            any(case.grace_ends_at is not None for case in ledger.queued.values())
            or (bool(ledger.queued) and len(ledger.roster.workers) == 1)
        ),
    },
    ev.SlotRemoved: {
        "a busy slot was removed": at.slot_holds(State.BUSY),
        "a slot was removed with a successor beside": lambda ledger, _, event: bool(
            at.beside(ledger, event.slot)
        ),
    },
    ev.SlotRetired: {
        "an ejected worker was retired": at.slot_holds(State.EJECTED),
        "an overdue worker was retired": at.slot_holds(State.OVERDUE),
        "the last slot of a pool was retired while requests waited": at.pool_runs_empty,
    },
    ev.Forward: {
        "an ejected worker was the last resort": at.last_resort,
        "a new process got the request that its predecessor died with": at.same_slot_again,
        "a pool with nobody up was passed over": at.passes_over_a_pool,
        "a suspect went before its time to give way was over": at.suspect_goes(in_time=True),
        "a suspect had given way for long enough": at.suspect_goes(in_time=False),
        "a try began with less time than a whole one": at.cut_by_deadline,
        "a request went to a fifth worker": lambda _, __, action: action.attempt == 5,
    },
    ev.Answer: {
        "an answer came after three kinds of failure": lambda _, __, action: end.causes(action) > 2,
        "an answer came in the last moment": lambda ledger, now, action: (
            ledger.cases[action.request].deadline <= now
        ),
    },
    ev.Refuse: {
        "exhausted for three kinds of failure": lambda _, __, action: (
            action.reason is Reason.EXHAUSTED and end.causes(action) > 2
        ),
        "a deadline fell between a death and the next try": end.refused(
            Reason.DEADLINE, end.waits_after_death
        ),
        "a deadline passed while a worker held the request": end.refused(
            Reason.DEADLINE, end.last_in_hand
        ),
        "a failed try found the queue full": end.refused(Reason.QUEUE_FULL, end.was_tried),
        "poison was stopped while others waited": end.refused(Reason.POISONED, end.others_wait),
        "the retry budget was spent": end.refused(Reason.RETRY_BUDGET, end.was_tried),
        "nobody came back in time to a request that was tried": end.refused(
            Reason.EXHAUSTED, end.grace_ran_out
        ),
        "nobody came back in time to a request that was not": end.refused(
            Reason.NO_WORKERS, end.grace_ran_out
        ),
        "a once request ended because it may have run": end.refused(
            Reason.EXHAUSTED, lambda _, __, case: case.is_final
        ),
        "a drain ran out on a request that waited": end.refused(
            Reason.DRAINING, lambda ledger, _, case: case.arrived.request in ledger.queued
        ),
        "a drain ran out on a request that was tried": end.refused(
            Reason.DRAINING, end.last_in_hand
        ),
        "a queue timeout": end.refused(Reason.QUEUE_TIMEOUT, end.never_tried),
        "a duplicate was refused": lambda _, __, action: action.reason is Reason.DUPLICATE,
    },
    ev.Kill: {
        "a worker that never got ready was killed": lambda _, __, action: not action.requests,
        "a worker was killed whose request was over": lambda ledger, _, action: any(
            request not in ledger.cases for request in action.requests
        ),
        "a retired worker was killed": at.holds(State.DRAINING),
    },
    ev.Ejected: {
        "half of a pool was ejected": end.half_is_out,
        "a worker was ejected once more without a good reply between": end.ejected_again,
    },
}


def names() -> Iterable[str]:
    tables = (*SITUATIONS.values(), *BATCHES.values())
    return (name for predicates in tables for name in predicates)


class Observer:
    """Notes which situations one world has reached."""

    def __init__(self, ledger: Ledger) -> None:
        self.reached: set[str] = set()
        self._ledger = ledger
        self._left = {
            kind: [*SITUATIONS.get(kind, {}).items(), *BATCHES.get(kind, {}).items()]
            for kind in (*SITUATIONS, *BATCHES)
        }

    def look(self, now: float, item: ev.Event | ev.Action | None) -> None:
        """Call it before the ledger takes note of the event or the action."""
        left = self._left.get(type(item))
        if not left:
            return
        reached = [name for name, predicate in left if predicate(self._ledger, now, item)]
        if reached:
            self.reached.update(reached)
            self._left[type(item)] = [pair for pair in left if pair[0] not in reached]
