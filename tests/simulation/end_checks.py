"""Checks of how requests end: Answer, Refuse and Forget."""

from balancer.core import events as ev
from balancer.core.events import Outcome, Reason
from tests.simulation.books import AT_ONCE, TINY_S, Case, Prospect, State, Violation
from tests.simulation.ledger import Ledger, arrivals_of, costs_budget
from tests.simulation.tasks import value_of


def check_answer(ledger: Ledger, now: float, action: ev.Answer) -> None:
    case, event = ledger.cases.get(action.request), ledger.event
    if case is None:
        raise Violation("P1 one answer", f"{action} of a request that is over")
    if not isinstance(event, ev.ReplyArrived | ev.BatchReplied) or event.worker != action.worker:
        raise Violation("P2 its own answer", f"{action} because of {event}")
    reply = ledger.roster.replies.get(action.request)
    if action.reply is not reply or reply.outcome is not Outcome.ANSWER:
        raise Violation("P2 its own answer", f"{action} is not what {event} brought")
    if action.reply.value != value_of(action.request, action.worker):
        raise Violation("P2 its own answer", f"{action.request} gets {action.reply.value!r}")
    _check_tries(case, action)


def _check_tries(case: Case, action: ev.Answer | ev.Refuse) -> None:
    if action.attempts != len(case.attempts) or action.tried != tuple(case.failed):
        raise Violation("P5 list of tries", f"{action}, but it is {case.failed}")


def check_refuse(ledger: Ledger, now: float, action: ev.Refuse) -> None:
    if action.request == ledger.unreadable:
        if action.reason is not Reason.MALFORMED or action.attempts or action.may_have_run:
            raise Violation("P5 honest", f"{action} of what cannot be read")
        return
    case = ledger.cases.get(action.request)
    if case is None:
        raise Violation("P1 one answer", f"{action} of a request that is over")
    if case.holder is not None:
        raise Violation("P5 list of tries", f"{action} leaves out {case.holder}")
    _check_tries(case, action)
    if action.may_have_run != (case.may_have_run or action.reason is Reason.DUPLICATE):
        raise Violation("P5 honest", f"{action}, but may_have_run is {case.may_have_run}")
    if action.retry_after_s is not None and not 0 <= action.retry_after_s < 1_000_000:
        raise Violation("P5 honest", f"{action}: retry_after_s makes no sense")
    if not _is_honest(ledger, now, case, action.reason):
        raise Violation("P5 honest", f"{action} is not true: {case}, {ledger.prospect(case)}")


def _is_honest(ledger: Ledger, now: float, case: Case, reason: Reason) -> bool:
    """Whether that is why the request cannot be answered, at this moment."""
    limits, arrived = ledger.limits, case.arrived
    is_new = any(arrived is one for one in arrivals_of(ledger.event))
    match reason:
        case Reason.TOO_LARGE:
            return is_new and arrived.size_bytes > limits.max_body_bytes
        case Reason.CLIENT_LIMIT:
            return is_new and ledger.of_client[arrived.client] > limits.client_limit
        case Reason.DUPLICATE:
            return is_new and case.arrived.request in ledger.known_names
        case Reason.QUEUE_FULL:
            return _is_queue_full(ledger, case)
        case Reason.DRAINING:
            is_over = ledger.event is None and now >= ledger.drain_ends_at
            return ledger.is_draining and (is_new or is_over)
        case Reason.DEADLINE:
            free = (State.IDLE, State.EJECTED)
            is_startable = any(w.state in free for w in ledger.roster.workers.values())
            early_s = limits.try_start_min_s if is_startable else 0.0
            return now > case.deadline - early_s - TINY_S
        case Reason.QUEUE_TIMEOUT:
            ends_at = case.patience_ends_at
            return not case.attempts and ends_at is not None and now >= ends_at - TINY_S
        case Reason.POISONED:
            is_hopeless = ledger.prospect(case) is Prospect.NOBODY
            return case.is_poison and not is_hopeless
        case Reason.RETRY_BUDGET:
            return _is_budget_spent(ledger, now, case)
        case Reason.EXHAUSTED:
            return bool(case.attempts) and _is_nobody_left(ledger, now, case)
        case Reason.NO_WORKERS:
            return not case.attempts and _is_nobody_left(ledger, now, case)
        case Reason.MALFORMED:
            return False


def _is_queue_full(ledger: Ledger, case: Case) -> bool:
    """For a newcomer at the limit, for a failed try at the limit and a batch for each worker."""
    limits = ledger.limits
    extra = ledger.roster.slot_count() * limits.batch_max if case.attempts else 0
    if ledger.prospect(case) in AT_ONCE or case.arrived.request in ledger.queued:
        return False
    joining = ledger.unplaced.values()
    waiting = len(ledger.queued) + len(joining) - 1
    size_bytes = ledger.queued_bytes + sum(other.arrived.size_bytes for other in joining)
    limit_bytes = limits.queue_limit_bytes + extra * limits.max_body_bytes
    return waiting >= limits.queue_limit + extra or size_bytes > limit_bytes


def _is_budget_spent(ledger: Ledger, now: float, case: Case) -> bool:
    if not case.failed or not costs_budget(case):
        return False
    if ledger.prospect(case) is Prospect.NOBODY:
        return False
    limits, retries = ledger.limits, ledger.retries
    allowed = limits.retry_budget * retries.within_window(retries.first, now)
    allowed += limits.retry_budget_per_worker * ledger.roster.slot_count()
    # The failed try of this very request is counted already, as if it were followed by another.
    spent = retries.within_window(retries.again, now)
    return spent + retries.within_window(retries.unused, now) > allowed


def _is_nobody_left(ledger: Ledger, now: float, case: Case) -> bool:
    prospect, grace_s = ledger.prospect(case), ledger.limits.revive_grace_s
    if prospect is Prospect.NOBODY:
        return True
    if prospect is not Prospect.DOWN:
        return False
    # In the very step in which the last one went, there is no grace if it is 0.
    ends_at = case.grace_ends_at if case.grace_ends_at is not None else now + grace_s
    return now >= ends_at - TINY_S


def check_forget(ledger: Ledger, now: float, action: ev.Forget) -> None:
    case, event = ledger.cases.get(action.request), ledger.event
    if case is None:
        raise Violation("P1 one answer", f"{action} of a request that is over")
    if not isinstance(event, ev.ClientGone) or event.client != case.arrived.client:
        raise Violation("P1 one answer", f"{action} because of {event}")
