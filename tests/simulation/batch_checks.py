"""Checks of ForwardBatch: who may travel together, how many, and to whom."""

from itertools import pairwise

from balancer.core import events as ev
from balancer.core.events import Batching, RequestId
from tests.simulation.books import Case, State, Violation, Worker
from tests.simulation.company import room_for
from tests.simulation.ledger import Ledger
from tests.simulation.order_checks import turn_of
from tests.simulation.try_checks import check_forward

ASK_EVERY = 37


def check_forward_batch(ledger: Ledger, now: float, action: ev.ForwardBatch) -> None:
    """Each try in it must be right by itself, and all of them together."""
    requests = [one.request for one in action.tries]
    if len(requests) < 2 or len(set(requests)) < len(requests):
        raise Violation("batch", f"{action} is no batch")
    if any(one.worker != action.worker for one in action.tries):
        raise Violation("batch", f"{action} goes to several workers")
    earlier: set[RequestId] = set()
    for one in action.tries:
        check_forward(ledger, now, one, earlier)
        earlier.add(one.request)
    worker = ledger.roster.workers[action.worker.slot]
    cases = [ledger.cases[request] for request in requests]
    _check_worker(now, action, worker)
    for case in cases:
        _check_company(case, cases[0])
    _check_size(ledger, now, action, worker)
    _check_order(ledger, cases)


def check_lone_forward(ledger: Ledger, now: float, action: ev.Forward) -> None:
    """It is right by itself, and so is what its worker is asked.

    How long it takes is asked now and then, and only where there may be batches.
    """
    check_forward(ledger, now, action)
    worker = ledger.roster.workers[action.worker.slot]
    may_batch = ledger.limits.batch_max > 1 and worker.batching is Batching.EACH
    if action.wants_time and not may_batch:
        raise Violation("batch", f"{worker} is asked for its time, and gets no batches")
    unasked = ledger.roster.unasked
    unasked[worker.pool] = unasked[worker.pool] + may_batch if not action.wants_time else 0
    if unasked[worker.pool] >= ASK_EVERY:
        raise Violation("batch", f"{worker} is not asked, nor were those before")


def _check_worker(now: float, action: ev.ForwardBatch, worker: Worker) -> None:
    if worker.batching is Batching.NONE:
        raise Violation("batch", f"{action}, and the worker does not know what that is")
    if worker.state is State.EJECTED and worker.ejected_until > now:
        raise Violation("batch", f"{action} goes to a last resort")


def _check_company(case: Case, first: Case) -> None:
    if case.arrived.once:
        raise Violation("P6 once", f"{case} goes in company")
    if case.must_go_alone or case.is_suspect:
        raise Violation("batch company", f"{case} must go alone")
    if case.try_timeout_s != first.try_timeout_s:
        raise Violation("batch company", f"{case} has less or more time than {first}")


def _check_size(ledger: Ledger, now: float, action: ev.ForwardBatch, worker: Worker) -> None:
    count, limits = len(action.tries), ledger.limits
    if count > limits.batch_max:
        raise Violation("P8 bounded", f"a batch of {count}, the limit is {limits.batch_max}")
    size_bytes = sum(ledger.cases[one.request].arrived.size_bytes for one in action.tries)
    if size_bytes > limits.max_body_bytes:
        raise Violation("P8 bounded", f"a batch of {size_bytes} bytes: {limits.max_body_bytes}")
    room = room_for(ledger, now, worker)
    if count > room:
        raise Violation("batch size", f"{count} go to {worker}, which should get {room}")


def _check_order(ledger: Ledger, cases: list[Case]) -> None:
    """The order of those who had waited does not change, whatever else happens at the time."""
    waited = [case for case in cases if case.arrived.request in ledger.queued]
    for one, other in pairwise(waited):
        if turn_of(other) < turn_of(one):
            raise Violation("turn", f"{one.arrived} is before {other.arrived} in a batch")
