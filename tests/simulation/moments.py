"""What makes a situation a rare one: predicates of an event or an action and the ledger.

Each is asked just before the ledger takes note of the event or the action.
"""

from collections.abc import Callable
from typing import Any

from balancer.core import events as ev
from balancer.core.events import Outcome
from tests.simulation.books import NEVER, Attempt, Case, State, Worker
from tests.simulation.ledger import Ledger

Predicate = Callable[[Ledger, float, Any], bool]


def worker_of(ledger: Ledger, item: Any) -> Worker | None:
    return ledger.roster.find(item.worker)


def state_of(ledger: Ledger, item: Any) -> State | None:
    worker = worker_of(ledger, item)
    return worker.state if worker is not None else None


def attempt_of(ledger: Ledger, item: Any) -> Attempt | None:
    worker = worker_of(ledger, item)
    return worker.attempt if worker is not None else None


def held_case(ledger: Ledger, item: Any) -> Case | None:
    """The open request that the worker holds; of a batch the first."""
    attempt = attempt_of(ledger, item)
    return ledger.cases.get(attempt.requests[0]) if attempt is not None else None


def is_over_for_all(ledger: Ledger, attempt: Attempt) -> bool:
    return not any(request in ledger.cases for request in attempt.requests)


def beside(ledger: Ledger, slot: str) -> list[Worker]:
    return [
        worker
        for worker in ledger.roster.aside.values()
        if worker.id.slot == slot and worker.state is State.CONNECTING
    ]


def is_late(ledger: Ledger, item: Any) -> bool:
    attempt = attempt_of(ledger, item)
    return attempt is not None and attempt.is_over


def is_answer(item: ev.ReplyArrived) -> bool:
    return item.reply.outcome is Outcome.ANSWER


# --- requests come, clients go -----------------------------------------------------------------


def name_is_open(ledger: Ledger, now: float, event: ev.RequestArrived) -> bool:
    if not event.once or event.id is None:
        return False
    arrived = (case.arrived for case in ledger.cases.values())
    return any(other.once and other.id == event.id for other in arrived)


def client_goes_while(is_tried: bool) -> Predicate:
    def predicate(ledger: Ledger, now: float, event: ev.ClientGone) -> bool:
        return any(
            case.arrived.client == event.client and (case.holder is not None) is is_tried
            for case in ledger.cases.values()
        )

    return predicate


# --- replies -----------------------------------------------------------------------------------


def late_reply_wins(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    case = held_case(ledger, event)
    is_race = case is not None and case.holder is not None and is_late(ledger, event)
    return is_race and is_answer(event)


def late_reply_from_queue(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    case = held_case(ledger, event)
    return case is not None and case.holder is None and is_answer(event)


def late_reply_is_no_use(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    is_open = held_case(ledger, event) is not None
    return is_open and is_late(ledger, event) and not is_answer(event)


def reply_on_the_date(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    attempt = attempt_of(ledger, event)
    return attempt is not None and not attempt.is_over and attempt.times_out_at <= now


def reply_to_nobody(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    attempt = attempt_of(ledger, event)
    return attempt is not None and not attempt.is_over and is_over_for_all(ledger, attempt)


def doubled_reply(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    worker = worker_of(ledger, event)
    return worker is not None and worker.attempt is None


def spared_from_ejection(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    worker = worker_of(ledger, event)
    if worker is None or event.reply.outcome is not Outcome.GARBLED or worker.attempt is None:
        return False
    serving = [other for other in ledger.roster.workers.values() if other.pool == worker.pool]
    return worker.bad_tries + 1 >= ledger.limits.ejection_tries and len(serving) == 1


# --- workers come and go -----------------------------------------------------------------------


def old_news(ledger: Ledger, now: float, event: ev.WorkerLost | ev.ReplyArrived) -> bool:
    return worker_of(ledger, event) is None


def lost_for_nobody(ledger: Ledger, now: float, event: ev.WorkerLost) -> bool:
    attempt = attempt_of(ledger, event)
    return attempt is not None and is_over_for_all(ledger, attempt)


def says_older_is_dead(ledger: Ledger, now: float, event: ev.WorkerConnected) -> bool:
    older = ledger.roster.workers.get(event.worker.slot)
    is_newer = older is not None and older.id.incarnation < event.worker.incarnation
    return is_newer and older is not None and older.attempt is not None and not event.beside_older


def ready_beside(is_busy: bool) -> Predicate:
    def predicate(ledger: Ledger, now: float, event: ev.WorkerReady) -> bool:
        older = ledger.roster.workers.get(event.worker.slot)
        if event.worker not in ledger.roster.aside or older is None:
            return False
        return (older.attempt is not None) is is_busy

    return predicate


def pool_runs_empty(ledger: Ledger, now: float, event: ev.SlotRetired) -> bool:
    pools = [slots for slots in ledger.roster.slots.values() if event.slot in slots]
    return bool(ledger.queued) and any(len(slots) == 1 for slots in pools)


def holds(state: State) -> Predicate:
    return lambda ledger, now, item: state_of(ledger, item) is state


def slot_holds(state: State) -> Predicate:
    def predicate(ledger: Ledger, now: float, event: ev.SlotRemoved | ev.SlotRetired) -> bool:
        worker = ledger.roster.workers.get(event.slot)
        return worker is not None and worker.state is state

    return predicate


# --- tries -------------------------------------------------------------------------------------


def last_resort(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    worker = worker_of(ledger, action)
    return worker is not None and now < worker.ejected_until < NEVER


def same_slot_again(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    attempts = ledger.cases[action.request].attempts
    return any(attempt.worker.slot == action.worker.slot for attempt in attempts)


def passes_over_a_pool(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    worker = worker_of(ledger, action)
    for pool, slots in ledger.roster.slots.items():
        if worker is None or pool == worker.pool:
            return False
        if slots and not any(slot in ledger.roster.workers for slot in slots):
            return True
    return False


def suspect_goes(in_time: bool) -> Predicate:
    def predicate(ledger: Ledger, now: float, action: ev.Forward) -> bool:
        until = ledger.cases[action.request].gives_way_until
        is_waiting = action.request in ledger.queued
        return is_waiting and until is not None and (now < until) is in_time

    return predicate


def cut_by_deadline(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    case = ledger.cases[action.request]
    return case.deadline < now + case.try_timeout_s
