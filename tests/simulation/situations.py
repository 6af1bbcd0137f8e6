"""Rare situations by name: a run in which one of them never came up has not tried it.

Each predicate is shown an event or an action just before the ledger takes note of it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from balancer.core import events as ev
from balancer.core.events import Outcome, Reason, Why
from tests.simulation.books import Attempt, Case, State, Worker
from tests.simulation.ledger import Ledger

Predicate = Callable[[Ledger, float, Any], bool]


def _worker(ledger: Ledger, item: Any) -> Worker | None:
    return ledger.roster.find(item.worker)


def _state(ledger: Ledger, item: Any) -> State | None:
    worker = _worker(ledger, item)
    return worker.state if worker is not None else None


def _attempt(ledger: Ledger, item: Any) -> Attempt | None:
    worker = _worker(ledger, item)
    return worker.attempt if worker is not None else None


def _held_case(ledger: Ledger, item: Any) -> Case | None:
    """The open request of what the worker holds."""
    attempt = _attempt(ledger, item)
    return ledger.cases.get(attempt.request) if attempt is not None else None


def _beside(ledger: Ledger, slot: str) -> list[Worker]:
    return [
        worker
        for worker in ledger.roster.aside.values()
        if worker.id.slot == slot and worker.state is State.CONNECTING
    ]


def _is_late(ledger: Ledger, item: Any) -> bool:
    attempt = _attempt(ledger, item)
    return attempt is not None and attempt.is_over


def _is_answer(item: ev.ReplyArrived) -> bool:
    return item.reply.outcome is Outcome.ANSWER


# --- requests come, clients go -----------------------------------------------------------------


def _name_is_open(ledger: Ledger, now: float, event: ev.RequestArrived) -> bool:
    if not event.once or event.id is None:
        return False
    arrived = (case.arrived for case in ledger.cases.values())
    return any(other.once and other.id == event.id for other in arrived)


def _client_goes_while(is_tried: bool) -> Predicate:
    def predicate(ledger: Ledger, now: float, event: ev.ClientGone) -> bool:
        return any(
            case.arrived.client == event.client and (case.holder is not None) is is_tried
            for case in ledger.cases.values()
        )

    return predicate


# --- replies -----------------------------------------------------------------------------------


def _late_reply_wins(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    case = _held_case(ledger, event)
    is_race = case is not None and case.holder is not None and _is_late(ledger, event)
    return is_race and _is_answer(event)


def _late_reply_from_queue(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    case = _held_case(ledger, event)
    return case is not None and case.holder is None and _is_answer(event)


def _late_reply_is_no_use(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    is_open = _held_case(ledger, event) is not None
    return is_open and _is_late(ledger, event) and not _is_answer(event)


def _reply_on_the_date(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    attempt = _attempt(ledger, event)
    return attempt is not None and not attempt.is_over and attempt.times_out_at <= now


def _reply_to_nobody(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    attempt = _attempt(ledger, event)
    return attempt is not None and not attempt.is_over and attempt.request not in ledger.cases


def _doubled_reply(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    worker = _worker(ledger, event)
    return worker is not None and worker.attempt is None


def _spared_from_ejection(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    worker = _worker(ledger, event)
    if worker is None or event.reply.outcome is not Outcome.GARBLED or worker.attempt is None:
        return False
    serving = [other for other in ledger.roster.workers.values() if other.pool == worker.pool]
    return worker.bad_tries + 1 >= ledger.limits.ejection_tries and len(serving) == 1


# --- workers come and go -----------------------------------------------------------------------


def _old_news(ledger: Ledger, now: float, event: ev.WorkerLost | ev.ReplyArrived) -> bool:
    return _worker(ledger, event) is None


def _lost_for_nobody(ledger: Ledger, now: float, event: ev.WorkerLost) -> bool:
    attempt = _attempt(ledger, event)
    return attempt is not None and attempt.request not in ledger.cases


def _says_older_is_dead(ledger: Ledger, now: float, event: ev.WorkerConnected) -> bool:
    older = ledger.roster.workers.get(event.worker.slot)
    is_newer = older is not None and older.id.incarnation < event.worker.incarnation
    return is_newer and older is not None and older.attempt is not None and not event.beside_older


def _ready_beside(is_busy: bool) -> Predicate:
    def predicate(ledger: Ledger, now: float, event: ev.WorkerReady) -> bool:
        older = ledger.roster.workers.get(event.worker.slot)
        if event.worker not in ledger.roster.aside or older is None:
            return False
        return (older.attempt is not None) is is_busy

    return predicate


def _pool_runs_empty(ledger: Ledger, now: float, event: ev.SlotRetired) -> bool:
    pools = [slots for slots in ledger.roster.slots.values() if event.slot in slots]
    return bool(ledger.queued) and any(len(slots) == 1 for slots in pools)


def _holds(state: State) -> Predicate:
    return lambda ledger, now, item: _state(ledger, item) is state


def _slot_holds(state: State) -> Predicate:
    def predicate(ledger: Ledger, now: float, event: ev.SlotRemoved | ev.SlotRetired) -> bool:
        worker = ledger.roster.workers.get(event.slot)
        return worker is not None and worker.state is state

    return predicate


# --- tries -------------------------------------------------------------------------------------


def _last_resort(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    worker = _worker(ledger, action)
    return worker is not None and worker.ejected_until < float("inf")


def _same_slot_again(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    attempts = ledger.cases[action.request].attempts
    return any(attempt.worker.slot == action.worker.slot for attempt in attempts)


def _passes_over_a_pool(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    worker = _worker(ledger, action)
    for pool, slots in ledger.roster.slots.items():
        if worker is None or pool == worker.pool:
            return False
        if slots and not any(slot in ledger.roster.workers for slot in slots):
            return True
    return False


def _suspect_goes(in_time: bool) -> Predicate:
    def predicate(ledger: Ledger, now: float, action: ev.Forward) -> bool:
        until = ledger.cases[action.request].gives_way_until
        is_waiting = action.request in ledger.queued
        return is_waiting and until is not None and (now < until) is in_time

    return predicate


def _cut_by_deadline(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    case = ledger.cases[action.request]
    return case.deadline < now + case.try_timeout_s


# --- ends --------------------------------------------------------------------------------------


def _causes(action: ev.Answer | ev.Refuse) -> int:
    return len({attempt.why for attempt in action.tried})


def _refused(reason: Reason, because: Callable[[Ledger, float, Case], bool]) -> Predicate:
    def predicate(ledger: Ledger, now: float, action: ev.Refuse) -> bool:
        case = ledger.cases.get(action.request)
        return action.reason is reason and case is not None and because(ledger, now, case)

    return predicate


def _waits_after_death(ledger: Ledger, now: float, case: Case) -> bool:
    is_queued = case.arrived.request in ledger.queued
    return is_queued and bool(case.failed) and case.failed[-1].why is Why.DIED


def _never_tried(ledger: Ledger, now: float, case: Case) -> bool:
    return not case.attempts


def _was_tried(ledger: Ledger, now: float, case: Case) -> bool:
    return bool(case.attempts)


def _last_in_hand(ledger: Ledger, now: float, case: Case) -> bool:
    """Its last try was cut short by this refusal."""
    return case.arrived.request in ledger.unplaced and bool(case.failed)


def _grace_ran_out(ledger: Ledger, now: float, case: Case) -> bool:
    return ledger.event is None and case.grace_ends_at is not None


def _others_wait(ledger: Ledger, now: float, case: Case) -> bool:
    return bool(ledger.queued)


def _half_is_out(ledger: Ledger, now: float, action: ev.Ejected) -> bool:
    worker = _worker(ledger, action)
    if worker is None:
        return False
    pool = ledger.roster.slots[worker.pool]
    states = [w.state for slot in pool if (w := ledger.roster.workers.get(slot)) is not None]
    return 2 * (states.count(State.EJECTED) + 1) == len(pool) > 2


def _ejected_again(ledger: Ledger, now: float, action: ev.Ejected) -> bool:
    worker = _worker(ledger, action)
    return worker is not None and worker.ejections > 0


SITUATIONS: dict[type, dict[str, Predicate]] = {
    ev.RequestArrived: {
        "a request came while nobody was up": lambda ledger, _, __: not ledger.roster.workers,
        "a request came during the drain": lambda ledger, _, __: ledger.is_draining,
        "a once name came again while its first was open": _name_is_open,
    },
    ev.ClientGone: {
        "a client went while its request was tried": _client_goes_while(is_tried=True),
        "a client went while its request waited": _client_goes_while(is_tried=False),
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
        "a late reply won the race": _late_reply_wins,
        "a late reply answered a request that was back in the queue": _late_reply_from_queue,
        "a late reply was of no use": _late_reply_is_no_use,
        "a reply came on the date of its timeout": _reply_on_the_date,
        "a reply came after its client had gone": _reply_to_nobody,
        "a reply came twice": _doubled_reply,
        "a reply came from a worker that is gone": _old_news,
        "a retired worker answered": lambda ledger, _, event: (
            _is_answer(event) and _state(ledger, event) is State.DRAINING
        ),
        "the last that served was spared from ejection": _spared_from_ejection,
    },
    ev.WorkerLost: {
        "a death was told twice": _old_news,
        "an ejected worker died": _holds(State.EJECTED),
        "an overdue worker died before it was killed": _holds(State.OVERDUE),
        "a retired worker died with its request": _holds(State.DRAINING),
        "a successor died before it was ready": lambda ledger, _, event: (
            event.worker in ledger.roster.aside and _state(ledger, event) is State.CONNECTING
        ),
        "a worker died while its successor was starting": lambda ledger, _, event: (
            event.worker not in ledger.roster.aside
            and _worker(ledger, event) is not None
            and bool(_beside(ledger, event.worker.slot))
        ),
        "a worker died with a request that was over": _lost_for_nobody,
        "a request certainly never left": lambda ledger, _, event: (
            event.undelivered and _held_case(ledger, event) is not None
        ),
    },
    ev.WorkerConnected: {
        "a new process said that a busy one was dead": _says_older_is_dead,
        "a second successor stood beside": lambda ledger, _, event: (
            event.beside_older and bool(_beside(ledger, event.worker.slot))
        ),
    },
    ev.WorkerReady: {
        "a successor was ready while the older one was busy": _ready_beside(is_busy=True),
        "a successor was ready while the older one was idle": _ready_beside(is_busy=False),
        "a worker was ready twice": _holds(State.IDLE),
        "a worker came back to those who had waited for it": lambda ledger, _, event: (
            any(case.grace_ends_at is not None for case in ledger.queued.values())
            or (bool(ledger.queued) and len(ledger.roster.workers) == 1)
        ),
    },
    ev.SlotRemoved: {
        "a busy slot was removed": _slot_holds(State.BUSY),
        "a slot was removed with a successor beside": lambda ledger, _, event: bool(
            _beside(ledger, event.slot)
        ),
    },
    ev.SlotRetired: {
        "an ejected worker was retired": _slot_holds(State.EJECTED),
        "an overdue worker was retired": _slot_holds(State.OVERDUE),
        "the last slot of a pool was retired while requests waited": _pool_runs_empty,
    },
    ev.Forward: {
        "an ejected worker was the last resort": _last_resort,
        "a new process got the request that its predecessor died with": _same_slot_again,
        "a pool with nobody up was passed over": _passes_over_a_pool,
        "a suspect went before its time to give way was over": _suspect_goes(in_time=True),
        "a suspect had given way for long enough": _suspect_goes(in_time=False),
        "a try began with less time than a whole one": _cut_by_deadline,
        "a request went to a fifth worker": lambda _, __, action: action.attempt == 5,
    },
    ev.Answer: {
        "an answer came after three kinds of failure": lambda _, __, action: _causes(action) > 2,
        "an answer came in the last moment": lambda ledger, now, action: (
            ledger.cases[action.request].deadline <= now
        ),
    },
    ev.Refuse: {
        "exhausted for three kinds of failure": lambda _, __, action: (
            action.reason is Reason.EXHAUSTED and _causes(action) > 2
        ),
        "a deadline fell between a death and the next try": _refused(
            Reason.DEADLINE, _waits_after_death
        ),
        "a deadline passed while a worker held the request": _refused(
            Reason.DEADLINE, _last_in_hand
        ),
        "a failed try found the queue full": _refused(Reason.QUEUE_FULL, _was_tried),
        "poison was stopped while others waited": _refused(Reason.POISONED, _others_wait),
        "the retry budget was spent": _refused(Reason.RETRY_BUDGET, _was_tried),
        "nobody came back in time to a request that was tried": _refused(
            Reason.EXHAUSTED, _grace_ran_out
        ),
        "nobody came back in time to a request that was not": _refused(
            Reason.NO_WORKERS, _grace_ran_out
        ),
        "a once request ended because it may have run": _refused(
            Reason.EXHAUSTED, lambda _, __, case: case.is_final
        ),
        "a drain ran out on a request that waited": _refused(
            Reason.DRAINING, lambda ledger, _, case: case.arrived.request in ledger.queued
        ),
        "a drain ran out on a request that was tried": _refused(Reason.DRAINING, _last_in_hand),
        "a queue timeout": _refused(Reason.QUEUE_TIMEOUT, _never_tried),
        "a duplicate was refused": lambda _, __, action: action.reason is Reason.DUPLICATE,
    },
    ev.Kill: {
        "a worker that never got ready was killed": lambda _, __, action: action.request is None,
        "a worker was killed whose request was over": lambda ledger, _, action: (
            action.request is not None and action.request not in ledger.cases
        ),
        "a retired worker was killed": _holds(State.DRAINING),
    },
    ev.Ejected: {
        "half of a pool was ejected": _half_is_out,
        "a worker was ejected once more without a good reply between": _ejected_again,
    },
}


def names() -> Iterable[str]:
    return (name for predicates in SITUATIONS.values() for name in predicates)


class Observer:
    """Notes which situations one world has reached."""

    def __init__(self, ledger: Ledger) -> None:
        self.reached: set[str] = set()
        self._ledger = ledger
        self._left = {kind: list(table.items()) for kind, table in SITUATIONS.items()}

    def look(self, now: float, item: ev.Event | ev.Action | None) -> None:
        """Call it before the ledger takes note of the event or the action."""
        left = self._left.get(type(item))
        if not left:
            return
        reached = [name for name, predicate in left if predicate(self._ledger, now, item)]
        if reached:
            self.reached.update(reached)
            self._left[type(item)] = [pair for pair in left if pair[0] not in reached]
