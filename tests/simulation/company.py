"""Who waits for others to fill a batch, and how many there may be in one: by the books alone."""

from collections.abc import Iterator
from itertools import chain

from balancer.core.events import Batching
from balancer.core.limits import Limits
from tests.simulation.books import NEVER, TINY_S, Case, State, Worker
from tests.simulation.ledger import Ledger

HAND_OVER_S = 0.0002
"""What is done within so long is not worth sharing."""


def fill_until(limits: Limits, case: Case) -> float:
    """Until when the request may be made to wait for company, if it is at all: never for more than
    half of the time for which it may wait for a worker."""
    if limits.batch_max < 2 or limits.batch_wait_s <= 0 or case.must_go_alone:
        return -NEVER
    ends_at = min(case.deadline, case.patience_ends_at or NEVER)
    return case.arrived_at + min(limits.batch_wait_s, (ends_at - case.arrived_at) / 2)


def up_for(ledger: Ledger, case: Case) -> tuple[str, list[Worker]]:
    """The first pool in which somebody untried is free or busy, and all who are."""
    for pool, slots in ledger.roster.slots.items():
        if pool in case.excluded_pools:
            continue
        workers = (ledger.roster.workers.get(s) for s in slots if s not in case.excluded_slots)
        up = [w for w in workers if w is not None and w.state in (State.IDLE, State.BUSY)]
        if up:
            return pool, up
    return "", []


def waits_in(ledger: Ledger, now: float, case: Case) -> str | None:
    """The pool in whose line the request may wait though somebody is idle: until others join it.

    Until the balancer has looked at the clock it does not know that such a wait is over.
    """
    until = fill_until(ledger.limits, case)
    if until == -NEVER or (ledger.event is None and now >= until + TINY_S):
        return None
    pool, workers = up_for(ledger, case)
    is_idle = any(worker.state is State.IDLE for worker in workers)
    is_whole = any(worker.batching is Batching.WHOLE for worker in workers)
    return pool if is_idle and is_whole else None


def is_due(ledger: Ledger, cases: list[Case]) -> bool:
    """Whether those who wait for company are enough, and somebody could take them."""
    return len(cases) >= ledger.limits.batch_max and any(
        worker.state is State.IDLE and worker.batching is Batching.WHOLE
        for case in cases
        for worker in up_for(ledger, case)[1]
    )


def room_for(ledger: Ledger, now: float, worker: Worker) -> int:
    """The most that a batch to this worker may hold now, but for ``batch_max``."""
    limits = ledger.limits
    workers = list(_free_or_busy(ledger, now, worker.pool))
    if worker.batching is Batching.EACH:
        quickest_s = ledger.roster.quickest_s.get(worker.pool, 0.0)
        in_budget = limits.batch_budget_s / quickest_s + TINY_S if quickest_s else NEVER
        # Where one request fits, a second may go along: only a batch tells exactly what it takes.
        at_least = 2 if quickest_s < limits.batch_budget_s else 1
        # Everybody is to find something, but for what is done sooner than handed over.
        shared = _share(ledger, now, worker.pool, len(workers))
        at_once = HAND_OVER_S / quickest_s + TINY_S if quickest_s else NEVER
        return int(min(limits.batch_max, max(shared, at_once), max(at_least, in_budget)))
    if limits.batch_wait_s > 0:
        return limits.batch_max
    idle = sum(other.state is State.IDLE for other in workers)
    return _share(ledger, now, worker.pool, idle)


def _share(ledger: Ledger, now: float, pool: str, workers: int) -> int:
    """Who waits is shared out among so many."""
    cases = chain(ledger.queued.values(), ledger.unplaced.values())
    waiting = sum(_may_wait_for(ledger, now, case, pool) for case in cases)
    return -(-waiting // max(1, workers))


def _free_or_busy(ledger: Ledger, now: float, pool: str) -> Iterator[Worker]:
    """Certainly: at the very date of its timeout a worker may be overdue already."""
    for slot in ledger.roster.slots[pool]:
        worker = ledger.roster.workers.get(slot)
        if worker is None:
            continue
        is_known = ledger.event is not None or (
            worker.attempt is not None and worker.attempt.times_out_at > now
        )
        if worker.state is State.IDLE or (worker.state is State.BUSY and is_known):
            yield worker


def _may_wait_for(ledger: Ledger, now: float, case: Case, pool: str) -> bool:
    """Whether the request may stand in this pool's line: no earlier one is open to it."""
    if case.is_final or pool in case.excluded_pools:
        return False
    for earlier in ledger.roster.slots:
        if earlier == pool:
            return True
        if earlier not in case.excluded_pools and any(
            worker.id.slot not in case.excluded_slots
            and (worker.attempt is None or not worker.attempt.is_last_resort)
            for worker in _free_or_busy(ledger, now, earlier)
        ):
            return False
    return False
