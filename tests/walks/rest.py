"""What must be true whenever the core has done what an event or the time asks of it."""

from balancer.core.dispatcher import Dispatcher
from tests.walks.books import Books, Request, State, Worker
from tests.walks.company import company_until, may_wait_for_company
from tests.walks.deeds import time_out


def check_after_step(
    books: Books, core: Dispatcher, now: float, *, has_looked: bool = False
) -> None:
    """Whatever the clock says: nothing is owed, and everybody is where they belong. Whether the
    core has looked at the clock makes a difference for those who wait for company."""
    assert not books.owed, f"missing: {books.owed}"
    for request in books.open.values():
        request.has_just_failed = False
    assert core.open_requests == len(books.open)
    assert len(core.queue) == len(books.waiting())
    assert core.queue.size_bytes == sum(request.size_bytes for request in books.waiting())
    assert core.drained == (books.is_draining and not books.open)
    assert sum(not request.attempts for request in books.waiting()) <= books.queue_limit_max
    _check_states(books, core)
    for request in books.waiting():
        is_filling = may_wait_for_company(books, request)
        if is_filling and has_looked and now >= company_until(books, request):
            is_filling = False
        _check_wait(books, request, now, is_filling)


def _check_states(books: Books, core: Dispatcher) -> None:
    known = {
        name: slot.worker.state.value if slot.worker is not None else "down"
        for name, slot in books.slots.items()
    }
    assert {member.slot: member.state.value for member in core.pools.members()} == known
    for worker in books.workers():
        assert (worker.held is not None) == (
            worker.state in (State.BUSY, State.OVERDUE, State.DRAINING)
        )
        if books.tried_by(worker):
            assert worker.held is not None
            assert not worker.held.has_timed_out


def _check_wait(books: Books, request: Request, now: float, is_filling: bool) -> None:
    """It waits for somebody who is not to be had; the dates of that are noted."""
    assert not request.is_final, "nobody may get it any more"
    free = books.wanted(request, State.IDLE)
    busy = books.wanted(request, State.BUSY)
    if not free and not busy:
        free = books.wanted(request, State.EJECTED)
    gives_way = request.way_until is not None and free and _is_troubled(books, free[0].pool)
    must_go = free and not gives_way and not is_filling
    assert not must_go, f"{request.number} waits while {free[0].id} is to be had"
    is_alive = bool(free or busy or books.wanted(request, State.OVERDUE, State.CONNECTING))
    assert is_alive or books.may_come_back(request), f"{request.number} waits for nobody"
    if is_alive:
        request.stranded_until = None
    elif request.stranded_until is None:
        request.stranded_until = now + books.limits.revive_grace_s
    if request.queue_until is None and not request.attempts:
        timeout_s = books.limits.queue_timeout_s
        request.queue_until = None if timeout_s is None else now + timeout_s


def _is_troubled(books: Books, pool: str) -> bool:
    """Whether a suspect has anything to wait for: all are free where nobody is busy or away."""
    slots = sum(slot.pool == pool for slot in books.slots.values())
    return len(books.in_pool(pool, State.IDLE, State.EJECTED)) < slots


def begin_to_expire(books: Books, now: float) -> None:
    books.is_expiring = True
    books.unsettled = [worker for worker in books.workers() if _is_due(worker, now)]


def _is_due(worker: Worker, now: float) -> bool:
    if worker.held is not None:
        return not worker.held.has_timed_out and worker.held.expires_at <= now
    return worker.state is State.EJECTED and worker.ejected_until <= now


def check_after_expire(books: Books, core: Dispatcher, now: float) -> None:
    """All that was due is done, and the next date is the next that anything has."""
    for worker in books.unsettled:
        if books.find(worker.id) is worker and _is_due(worker, now):
            if worker.held is not None:
                time_out(worker, now)
            else:
                worker.state = State.IDLE
    books.unsettled = []
    books.is_expiring = False
    for request in books.waiting():
        if request.way_until is not None and request.way_until <= now:
            request.waits_last, last = False, request.last_way_until
            request.way_until = last if now < last else None
    if books.drain_until is not None and books.drain_until <= now:
        books.drain_until = None
        assert not books.open, "the drain is over"
    check_after_step(books, core, now, has_looked=True)
    dates = _dates(books)
    next_date = core.next_deadline()
    # A worker's timer may come early, and then waits for the end of the try that it has by now.
    assert not dates or (next_date is not None and next_date <= min(dates)), sorted(dates)
    assert not dates or min(dates) > now, "something was due"


def _dates(books: Books) -> list[float]:
    dates = [] if books.drain_until is None else [books.drain_until]
    for request in books.waiting():
        if may_wait_for_company(books, request):
            dates.append(company_until(books, request))
    for request in books.open.values():
        dates.append(request.deadline)
        for date in (request.queue_until, request.stranded_until, request.way_until):
            dates += [] if date is None else [date]
    for worker in books.workers():
        if worker.held is not None and not worker.held.has_timed_out:
            dates.append(worker.held.expires_at)
        elif worker.held is not None and worker.is_ours:
            dates.append(worker.held.kill_at)
        elif worker.state is State.CONNECTING and worker.is_ours:
            dates.append(worker.kill_at)
        elif worker.state is State.EJECTED:
            dates.append(worker.ejected_until)
    return dates
