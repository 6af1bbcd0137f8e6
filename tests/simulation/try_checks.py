"""Checks of what the balancer does with workers: Forward, TryFailed, Kill, ReplyDropped."""

from collections.abc import Collection

from balancer.core import events as ev
from balancer.core.events import Outcome, RequestId, Why
from tests.simulation.books import NEVER, TINY_S, Case, State, Violation, Worker
from tests.simulation.ledger import Ledger
from tests.simulation.order_checks import check_last_resort, check_sweep, check_turn, check_way

_MAY_GET_A_TRY = {State.IDLE, State.EJECTED}


def check_forward(
    ledger: Ledger, now: float, action: ev.Forward, earlier: Collection[RequestId] = ()
) -> None:
    """With others before it in the same batch, if there are any."""
    case = ledger.cases.get(action.request)
    if case is None:
        raise Violation("P1 one answer", f"{action.request} is over and goes to {action.worker}")
    if case.holder is not None:
        raise Violation("P4 failover", f"{action.request} is still held by {case.holder.worker}")
    worker = ledger.roster.workers.get(action.worker.slot)
    if worker is None or worker.id != action.worker or worker.state not in _MAY_GET_A_TRY:
        raise Violation("P3 one at a time", f"{action.worker} gets a try and is {worker}")
    _check_untried(ledger, case, worker)
    _check_times(ledger, now, case, action)
    check_sweep(ledger, now, case, worker)
    if worker.state is State.EJECTED and worker.ejected_until > now:
        check_last_resort(ledger, now, case, worker)
    # In the midst of passing dates nobody can tell from outside which of them are behind us.
    if action.request in ledger.queued and ledger.event is not None:
        check_turn(ledger, now, case, worker, earlier)
        check_way(ledger, now, case, worker)


def _check_untried(ledger: Ledger, case: Case, worker: Worker) -> None:
    request = case.arrived.request
    if any(attempt.worker == worker.id for attempt in case.attempts):
        raise Violation("P4 untried", f"{request} goes to {worker.id} once more")
    if worker.id.slot in case.excluded_slots or worker.pool in case.excluded_pools:
        raise Violation("P4 untried", f"{request} goes to {worker.id}, which would do the same")
    if case.is_final:
        raise Violation("P6 once", f"{request} may have run and goes to {worker.id}")
    if case.is_poison:
        raise Violation("P7 poison", f"{request} has {case.strikes} strikes already")


def _check_times(ledger: Ledger, now: float, case: Case, action: ev.Forward) -> None:
    if action.attempt != len(case.attempts) + 1:
        raise Violation("P4 failover", f"try {len(case.attempts) + 1} is called {action.attempt}")
    remaining_s = case.deadline - now
    if remaining_s < ledger.limits.try_start_min_s - TINY_S:
        raise Violation("P1 deadline", f"a try starts with {remaining_s} s left")
    if abs(action.remaining_s - remaining_s) > TINY_S:
        raise Violation("P1 deadline", f"{action.remaining_s} s are left by the action")
    expires_at = min(case.deadline, now + case.try_timeout_s)
    if abs(action.expires_at - expires_at) > TINY_S:
        raise Violation("P1 deadline", f"a try expires at {action.expires_at}, not {expires_at}")


def check_try_failed(ledger: Ledger, now: float, action: ev.TryFailed) -> None:
    case = ledger.cases.get(action.request)
    if case is None or case.holder is None or case.holder.worker != action.worker:
        raise Violation("P4 failover", f"{action} ends a try that is not the current one")
    if action.attempt != len(case.attempts):
        raise Violation("P4 failover", f"try {len(case.attempts)} is called {action.attempt}")
    if abs(action.took_s - (now - case.holder.started_at)) > TINY_S:
        raise Violation("P5 list of tries", f"{action} began at {case.holder.started_at}")
    if not _is_true(ledger, now, case, action):
        raise Violation("P5 list of tries", f"{action} because of {ledger.event}")
    if case.holder is ledger.roster.released:
        _check_batch_order(ledger, action)


def _check_batch_order(ledger: Ledger, action: ev.TryFailed) -> None:
    """The tries of a batch that is over end in its order: nobody before this one waits for it."""
    released = ledger.roster.released
    for request in released.requests if released is not None else ():
        if request == action.request:
            return
        case = ledger.cases.get(request)
        if case is not None and case.holder is released:
            raise Violation("turn", f"{action}, and {request} was before it in the batch")


def _is_true(ledger: Ledger, now: float, case: Case, action: ev.TryFailed) -> bool:
    """Whether the try ended for the reason that is given."""
    event, attempt = ledger.event, case.holder
    if action.why is Why.TIMEOUT:
        # Its time may also be cut short by the end of the request: the refusal follows then.
        is_cut = now >= case.deadline or (ledger.is_draining and now >= ledger.drain_ends_at)
        return event is None and attempt is not None and (is_cut or now >= attempt.times_out_at)
    if attempt is not ledger.roster.released:
        return False
    match event:
        case ev.WorkerConnected() | ev.SlotRemoved():
            return action.why is Why.DIED
        case ev.WorkerLost(undelivered=undelivered):
            return action.why is (Why.UNDELIVERED if undelivered else Why.DIED)
        case ev.ReplyArrived() | ev.BatchReplied():
            return action.why is _WHY.get(ledger.roster.replies[action.request].outcome)
    return False


_WHY = {
    Outcome.EMPTY: Why.EMPTY,
    Outcome.GARBLED: Why.GARBLED,
    Outcome.EXPIRED: Why.UNDELIVERED,
}


def check_kill(ledger: Ledger, now: float, action: ev.Kill) -> None:
    worker = ledger.roster.find(action.worker)
    if worker is None:
        raise Violation("P9 hang", f"{action} of a worker that is gone or killed already")
    attempt = worker.attempt
    if action.requests != (attempt.requests if attempt is not None else ()):
        raise Violation("P9 hang", f"{action}, but it holds {attempt}")
    if now < kill_at(worker) - TINY_S:
        raise Violation("P9 hang", f"{action} before {kill_at(worker)}")


def kill_at(worker: Worker) -> float:
    """When to lose patience with the worker, if it stays as it is."""
    if not worker.is_ours:
        return NEVER
    if worker.attempt is not None:
        return worker.attempt.kill_at
    return worker.ready_until if worker.state is State.CONNECTING else NEVER


def check_released(ledger: Ledger, now: float, action: ev.Released) -> None:
    if action.worker not in ledger.roster.to_release:
        raise Violation("retired", f"{action} because of {ledger.event}")


def check_ejected(ledger: Ledger, now: float, action: ev.Ejected) -> None:
    duration_s = ledger.roster.to_eject.get(action.worker)
    if duration_s is None or abs(action.duration_s - duration_s) > TINY_S:
        raise Violation("ejection", f"{action} because of {ledger.event}, not for {duration_s} s")


def check_readmitted(ledger: Ledger, now: float, action: ev.Readmitted) -> None:
    worker = ledger.roster.find(action.worker)
    if worker is None or worker.state is not State.EJECTED or worker.ejected_until > now:
        raise Violation("ejection", f"{action}, but it was not to be")


def check_reply_dropped(ledger: Ledger, now: float, action: ev.ReplyDropped) -> None:
    released, reply = ledger.roster.released, ledger.roster.replies.get(action.request)
    if reply is None or released is None or released.worker != action.worker:
        raise Violation("P2 its own answer", f"{action} because of {ledger.event}")
    case = ledger.cases.get(action.request)
    if case is not None and (case.holder is released or reply.outcome is Outcome.ANSWER):
        raise Violation("P1 one answer", f"{action}, and the request still waits for it")
