"""Checks of whose turn it is: which worker is asked first, and which request goes first."""

from collections.abc import Collection, Iterator
from itertools import chain

from balancer.core.events import Batching, RequestId
from tests.simulation.books import AT_ONCE, Case, State, Violation, Worker
from tests.simulation.company import fill_until, up_for, waits_in
from tests.simulation.ledger import Ledger, arrivals_of


def check_sweep(ledger: Ledger, now: float, case: Case, chosen: Worker) -> None:
    """Pools in their order, a busy one is waited for; within a pool who became free last."""
    workers = ledger.roster.workers
    # Who was made to wait for company goes to whoever takes it first.
    has_waited = fill_until(ledger.limits, case) > 0 and any(
        worker.pool == chosen.pool and worker.batching is Batching.WHOLE
        for worker in workers.values()
    )
    for pool, slots in ledger.roster.slots.items():
        if pool in case.excluded_pools:
            continue
        untried = [
            worker
            for slot in slots
            if slot not in case.excluded_slots and (worker := workers.get(slot)) is not None
        ]
        for other in untried:
            is_before = other.idle_order > chosen.idle_order and not has_waited
            if other.state is State.IDLE and (pool != chosen.pool or is_before):
                raise Violation("sweep order", f"{other.id} comes before {chosen.id}")
            if pool != chosen.pool and _is_worth_a_wait(other, now):
                raise Violation("sweep order", f"{chosen.id} is asked, {other.id} is worth a wait")
        if pool == chosen.pool:
            return


def _is_worth_a_wait(worker: Worker, now: float) -> bool:
    attempt = worker.attempt
    return attempt is not None and not attempt.is_last_resort and _is_busy(worker, now)


def check_last_resort(ledger: Ledger, now: float, case: Case, chosen: Worker) -> None:
    """An ejected worker is asked only if nobody in rotation is left."""
    for pool, slots in ledger.roster.slots.items():
        for slot in slots:
            other = ledger.roster.workers.get(slot)
            if other is None or slot in case.excluded_slots or pool in case.excluded_pools:
                continue
            if other.state is State.IDLE or _is_busy(other, now):
                raise Violation("ejection", f"{chosen.id} is ejected, and {other.id} is not")


def _is_busy(worker: Worker, now: float) -> bool:
    """Certainly: at the very date of its timeout it may be overdue already."""
    attempt = worker.attempt
    return worker.state is State.BUSY and attempt is not None and attempt.times_out_at > now


def check_turn(
    ledger: Ledger, now: float, case: Case, worker: Worker, earlier: Collection[RequestId]
) -> None:
    """The most urgent first; of these who comes back from a failed try, then who came first."""
    for request, other in chain(ledger.queued.items(), _came_with_it(ledger, case)):
        if (
            turn_of(other) < turn_of(case)
            and request not in earlier
            and worker.id.slot not in other.excluded_slots
            and worker.pool not in other.excluded_pools
            and other.gives_way_until is None
            and ledger.prospect(other) in AT_ONCE
            and not _may_be_overtaken(ledger, now, other, case, worker, is_alone=not earlier)
        ):
            raise Violation("turn", f"{case.arrived} overtakes {other.arrived}")


def _came_with_it(ledger: Ledger, case: Case) -> Iterator[tuple[RequestId, Case]]:
    """Those that came with the request and before it, and were not placed yet."""
    for arrived in arrivals_of(ledger.event):
        other = ledger.unplaced.get(arrived.request)
        if other is not None and arrived.request < case.arrived.request:
            yield arrived.request, other


def _may_be_overtaken(
    ledger: Ledger, now: float, other: Case, case: Case, worker: Worker, *, is_alone: bool
) -> bool:
    """It waits elsewhere, or here but for company, and the one that goes has no use for that."""
    pool, _ = up_for(ledger, other)
    if pool and pool != worker.pool:
        return True
    goes_alone = is_alone and (case.must_go_alone or worker.batching is not Batching.WHOLE)
    return goes_alone and waits_in(ledger, now, other) is not None


_AFTER_ALL = 1 << 60


def turn_of(case: Case) -> tuple[int, int]:
    # Of those who come back, the latest is the head of the queue: there is no order to check.
    if case.gives_way_until is not None and case.waits_last:
        return _AFTER_ALL, 0
    return case.arrived.priority, 0 if case.failed else case.arrived.request


def check_way(ledger: Ledger, now: float, case: Case, worker: Worker) -> None:
    """A suspect goes only where less than a quarter of the pool is in trouble, or nobody."""
    if case.gives_way_until is None:
        return
    slots, trouble = ledger.roster.slots[worker.pool], 0
    for slot in slots:
        other = ledger.roster.workers.get(slot)
        is_own = case.strikes == 1 and slot in case.excluded_slots
        if other is None or other.state in (State.CONNECTING, State.OVERDUE):
            trouble += now < case.patient_until and not is_own
        elif other.state is State.BUSY and other.attempt is not None:
            beside = ledger.cases.get(other.attempt.requests[0])
            trouble += beside is not None and beside.is_suspect
    if trouble >= max(1, len(slots) // 4):
        raise Violation("suspects", f"{case} goes while {trouble} workers are in trouble")
