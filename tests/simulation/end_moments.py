"""Predicates like those of ``moments``: of how requests end, and of ejections."""

from collections.abc import Callable

from balancer.core import events as ev
from balancer.core.events import Reason, Why
from tests.simulation.books import Case, State
from tests.simulation.ledger import Ledger
from tests.simulation.moments import Predicate, worker_of


def causes(action: ev.Answer | ev.Refuse) -> int:
    return len({attempt.why for attempt in action.tried})


def refused(reason: Reason, because: Callable[[Ledger, float, Case], bool]) -> Predicate:
    def predicate(ledger: Ledger, now: float, action: ev.Refuse) -> bool:
        case = ledger.cases.get(action.request)
        return action.reason is reason and case is not None and because(ledger, now, case)

    return predicate


def waits_after_death(ledger: Ledger, now: float, case: Case) -> bool:
    is_queued = case.arrived.request in ledger.queued
    return is_queued and bool(case.failed) and case.failed[-1].why is Why.DIED


def never_tried(ledger: Ledger, now: float, case: Case) -> bool:
    return not case.attempts


def was_tried(ledger: Ledger, now: float, case: Case) -> bool:
    return bool(case.attempts)


def last_in_hand(ledger: Ledger, now: float, case: Case) -> bool:
    """Its last try was cut short by this refusal."""
    return case.arrived.request in ledger.unplaced and bool(case.failed)


def grace_ran_out(ledger: Ledger, now: float, case: Case) -> bool:
    return ledger.event is None and case.grace_ends_at is not None


def others_wait(ledger: Ledger, now: float, case: Case) -> bool:
    return bool(ledger.queued)


def half_is_out(ledger: Ledger, now: float, action: ev.Ejected) -> bool:
    worker = worker_of(ledger, action)
    if worker is None:
        return False
    pool = ledger.roster.slots[worker.pool]
    states = [w.state for slot in pool if (w := ledger.roster.workers.get(slot)) is not None]
    return 2 * (states.count(State.EJECTED) + 1) == len(pool) > 2


def ejected_again(ledger: Ledger, now: float, action: ev.Ejected) -> bool:
    worker = worker_of(ledger, action)
    return worker is not None and worker.ejections > 0
