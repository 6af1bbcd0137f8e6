"""Rare situations of batches by name. Each is asked before the ledger takes note."""

from balancer.core import events as ev
from balancer.core.events import Batching, Outcome, Reason, Why
from tests.simulation.books import Attempt, Case, State
from tests.simulation.company import fill_until, up_for
from tests.simulation.end_moments import last_in_hand, refused
from tests.simulation.ledger import Ledger, arrivals_of
from tests.simulation.moments import (
    Predicate,
    attempt_of,
    is_late,
    state_of,
    worker_of,
)


def held_batch(ledger: Ledger, item: ev.BatchReplied | ev.ReplyArrived | ev.WorkerLost) -> bool:
    attempt = attempt_of(ledger, item)
    return attempt is not None and attempt.is_batch


# --- batches begin -----------------------------------------------------------------------------


def goes_to(batching: Batching) -> Predicate:
    def predicate(ledger: Ledger, now: float, action: ev.ForwardBatch) -> bool:
        worker = worker_of(ledger, action)
        return worker is not None and worker.batching is batching

    return predicate


def had_waited(ledger: Ledger, now: float, action: ev.ForwardBatch) -> bool:
    """Somebody in it was made to wait though a worker was idle, and that is over by the clock."""
    cases = [ledger.cases[one.request] for one in action.tries]
    until = [fill_until(ledger.limits, case) for case in cases]
    return ledger.event is None and any(0 < at <= now for at in until)


def was_filled_up(ledger: Ledger, now: float, action: ev.ForwardBatch) -> bool:
    return bool(arrivals_of(ledger.event)) and len(action.tries) == ledger.limits.batch_max


def some_were_declined(ledger: Ledger, now: float, action: ev.ForwardBatch) -> bool:
    return any(ledger.cases[one.request].failed for one in action.tries)


def is_cut_short(ledger: Ledger, now: float, action: ev.ForwardBatch) -> bool:
    """The next in line must go alone, and there was room for more."""
    taken = {one.request for one in action.tries}
    left = [case for request, case in ledger.queued.items() if request not in taken]
    is_full = len(taken) == ledger.limits.batch_max
    return not is_full and any(case.must_go_alone and not case.is_suspect for case in left)


def waited_in_vain(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    case = ledger.cases[action.request]
    return ledger.event is None and not case.attempts and 0 < fill_until(ledger.limits, case) <= now


def overtakes_who_waits(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    case, worker = ledger.cases[action.request], worker_of(ledger, action)
    if worker is None or worker.batching is not Batching.WHOLE or not case.must_go_alone:
        return False
    return any(
        now < fill_until(ledger.limits, other) and up_for(ledger, other)[0] == worker.pool
        for other in ledger.queued.values()
    )


def each_goes_alone(ledger: Ledger, now: float, action: ev.Forward) -> bool:
    """All of a batch that died are open, and this is the last of them that goes on."""
    case = ledger.cases[action.request]
    if not case.was_in_company or case.failed[-1].why is not Why.DIED:
        return False
    batch = case.attempts[-1]
    others = [ledger.cases.get(request) for request in batch.requests if request != action.request]
    return all(other is not None and other.attempts[-1] is not batch for other in others)


# --- batches end -------------------------------------------------------------------------------


def is_mixed(ledger: Ledger, now: float, event: ev.BatchReplied) -> bool:
    outcomes = {reply.outcome for reply in event.replies}
    return held_batch(ledger, event) and Outcome.ANSWER in outcomes and len(outcomes) > 1


def is_late_and_mixed(ledger: Ledger, now: float, event: ev.BatchReplied) -> bool:
    """It answers somebody who had moved on, and is no use to another who had."""
    attempt = attempt_of(ledger, event)
    if not is_late(ledger, event) or attempt is None or len(event.replies) != len(attempt.requests):
        return False
    pairs = zip(attempt.requests, event.replies, strict=True)
    return len({r.outcome is Outcome.ANSWER for one, r in pairs if one in ledger.cases}) > 1


def is_miscounted(ledger: Ledger, now: float, event: ev.BatchReplied | ev.ReplyArrived) -> bool:
    attempt = attempt_of(ledger, event)
    count = len(event.replies) if isinstance(event, ev.BatchReplied) else 1
    return attempt is not None and attempt.is_batch and count != len(attempt.requests)


def is_all_garbled(ledger: Ledger, now: float, event: ev.BatchReplied) -> bool:
    return held_batch(ledger, event) and {r.outcome for r in event.replies} == {Outcome.GARBLED}


def retired_one_finishes(ledger: Ledger, now: float, event: ev.BatchReplied) -> bool:
    return held_batch(ledger, event) and state_of(ledger, event) is State.DRAINING


def never_left(ledger: Ledger, now: float, event: ev.WorkerLost) -> bool:
    return event.undelivered and held_batch(ledger, event)


def died_for_some(ledger: Ledger, now: float, event: ev.WorkerLost) -> bool:
    """Not all who were in the batch still waited for it."""
    attempt = attempt_of(ledger, event)
    if attempt is None or not attempt.is_batch or attempt.is_over:
        return False
    return len({_waits_for(ledger, attempt, request) for request in attempt.requests}) > 1


def tells_of_little(ledger: Ledger, now: float, event: ev.ReplyArrived) -> bool:
    """What seemed too slow for a batch fits into one."""
    attempt = attempt_of(ledger, event)
    if attempt is None or attempt.is_batch or event.took_s is None:
        return False
    return event.took_s < ledger.limits.batch_budget_s < now - attempt.started_at


def client_goes(ledger: Ledger, now: float, event: ev.ClientGone) -> bool:
    return any(
        case.holder is not None and case.holder.is_batch
        for case in ledger.cases.values()
        if case.arrived.client == event.client
    )


def _waits_for(ledger: Ledger, attempt: Attempt, request: ev.RequestId) -> bool:
    case = ledger.cases.get(request)
    return case is not None and case.holder is attempt


def was_in_batch(ledger: Ledger, now: float, case: Case) -> bool:
    return last_in_hand(ledger, now, case) and case.was_in_company


def was_poison_in_company(ledger: Ledger, now: float, case: Case) -> bool:
    """It has harmed one more than may be told by its strikes."""
    harmed = sum(one.why in (Why.DIED, Why.TIMEOUT) for one in case.failed)
    return harmed > case.strikes


BATCHES: dict[type, dict[str, Predicate]] = {
    ev.ForwardBatch: {
        "a batch went to a worker that takes one after another": goes_to(Batching.EACH),
        "a batch went to a worker that takes it whole": goes_to(Batching.WHOLE),
        "a batch had waited to be filled": had_waited,
        "a batch was filled by a newcomer": was_filled_up,
        "a batch held one that others had declined": some_were_declined,
        "a batch ended before one that must go alone": is_cut_short,
    },
    ev.Forward: {
        "a request waited for company in vain": waited_in_vain,
        "one that must go alone overtook those that waited for company": overtakes_who_waits,
        "a batch died and each went again alone": each_goes_alone,
    },
    ev.BatchReplied: {
        "a batch was answered in part": is_mixed,
        "a late batch answered some and not others": is_late_and_mixed,
        "a batch with the wrong number of replies": is_miscounted,
        "a batch was garbled as a whole": is_all_garbled,
        "a retired worker finished its batch": retired_one_finishes,
    },
    ev.ReplyArrived: {
        "a batch with one reply for all": is_miscounted,
        "a worker told that its work took little of the time": tells_of_little,
    },
    ev.WorkerLost: {
        "a batch certainly never left": never_left,
        "a batch died that some waited for no more": died_for_some,
    },
    ev.ClientGone: {"a client went while its request was in a batch": client_goes},
    ev.Refuse: {
        "a deadline passed within a batch": refused(Reason.DEADLINE, was_in_batch),
        "a drain ran out on a batch": refused(Reason.DRAINING, was_in_batch),
        "a failed batch found the queue full": refused(
            Reason.QUEUE_FULL, lambda _, __, case: case.was_in_company
        ),
        "a request in company was poison": refused(Reason.POISONED, was_poison_in_company),
    },
    ev.Kill: {
        "a worker was killed with a batch": lambda _, __, action: len(action.requests) > 1,
    },
}
