"""Whether each action of the core is right at its moment, and what it changes in the books."""

from balancer.core import events as ev
from balancer.core.events import Action, RequestId, Why, WorkerId
from tests.walks.books import IN_ROTATION, STRIKES, Books, Request, State, Try, Worker
from tests.walks.company import check_batch, company_until, may_wait_for_company
from tests.walks.ends import end, refuse


def note_action(books: Books, action: Action, now: float) -> None:
    """Check the action against the books, then enter it. Actions count in their order."""
    match action:
        case ev.Forward():
            _check_forward(books, action, now)
            _begin_try(books, action.worker, (action,), now)
        case ev.ForwardBatch(worker, tries):
            for place, one in enumerate(tries):
                _check_forward(books, one, now, tries[:place])
            check_batch(books, action, _known(books, worker))
            _begin_try(books, worker, tries, now)
        case ev.TryFailed():
            _try_failed(books, action, now)
        case ev.Answer(number, worker, reply, attempts, tried):
            assert books.pay("answered", number, worker, reply), "nobody gave this answer"
            end(books, number, attempts, tried, is_answered=True)
        case ev.Refuse():
            refuse(books, action, now)
        case ev.Forget(number):
            assert books.pay("forgotten", number), "its client is there"
            books.close(books.open[number])
        case ev.Kill(worker, numbers):
            _kill(books, worker, numbers, now)
        case ev.Released(worker):
            assert books.pay("released", worker), "it was not retired, or holds a request"
        case ev.Ejected(worker, duration_s):
            assert books.pay("ejected", worker, duration_s), "it was not that bad"
            ejected = _known(books, worker)
            ejected.state, ejected.ejected_until = State.EJECTED, now + duration_s
            ejected.ejections += 1
        case ev.Readmitted(worker):
            ejected = _known(books, worker)
            assert ejected.state is State.EJECTED, f"it is {ejected.state}"
            assert ejected.ejected_until <= now, "its time is not over"
        case ev.ReplyDropped(worker, number):
            assert books.pay("dropped", worker, number), "the reply was wanted"


def _known(books: Books, id: WorkerId) -> Worker:
    worker = books.find(id)
    assert worker is not None, f"there is no {id}"
    return worker


# --- a try begins -------------------------------------------------------------------------------


def _check_forward(
    books: Books, action: ev.Forward, now: float, earlier: tuple[ev.Forward, ...] = ()
) -> None:
    """With those before it in the same batch, if it is in one."""
    assert action.request in books.open, "the request is over"
    request, worker = books.open[action.request], _known(books, action.worker)
    assert request.holder is None, "another worker holds it"
    assert worker.held is None, "the worker holds another request"
    assert worker.state in (State.IDLE, State.EJECTED), f"the worker is {worker.state}"
    assert worker.id not in request.asked, "this worker was asked before"
    assert worker.id.slot not in request.shut_slots, "its slot would do the same again"
    assert worker.pool not in request.shut_pools, "its pool would do the same again"
    assert not request.is_final, "it may have run, and must run once only"
    assert action.attempt == request.attempts + 1
    assert action.remaining_s == request.deadline - now >= books.limits.try_start_min_s
    assert action.expires_at == min(request.deadline, now + request.try_timeout_s)
    # A pool that only a last resort keeps busy may be waited for, and need not be.
    is_odd = any(w.held is not None and w.held.is_last_resort for w in books.workers())
    if worker not in books.unsettled and not is_odd:
        assert worker in books.wanted(request, worker.state), "an earlier pool is up"
        if worker.state is State.EJECTED:
            _check_is_last_resort(books, request)
    _check_turn(books, request, worker, now, {one.request for one in earlier})


def _begin_try(books: Books, id: WorkerId, tries: tuple[ev.Forward, ...], now: float) -> None:
    worker = _known(books, id)
    patience_ends_at = now + books.limits.try_timeout_s
    expires_at = max(one.expires_at for one in tries)
    worker.held = Try(
        tuple(one.request for one in tries),
        now,
        expires_at,
        kill_at=max(expires_at, patience_ends_at) + books.limits.hang_kill_after_s,
        is_full=expires_at >= patience_ends_at,
        is_last_resort=worker.state is State.EJECTED,
    )
    worker.state = State.BUSY
    for one in tries:
        request = books.open[one.request]
        request.attempts += 1
        request.asked.append(worker.id)
        request.holder, request.was_in_company = worker, len(tries) > 1
        request.queue_until = request.stranded_until = request.way_until = None


def _check_is_last_resort(books: Books, request: Request) -> None:
    others = books.wanted(request, *IN_ROTATION)
    assert not [w for w in others if w not in books.unsettled], "others are in rotation"


def _check_turn(
    books: Books, request: Request, worker: Worker, now: float, earlier: set[RequestId]
) -> None:
    """Nobody else who waits for this worker comes before the request. One that just failed goes on
    at once, and who waits for company lets others pass that do not. While dates are over, we cannot
    know which of them the core has seen to."""
    is_unsettled = any(r.way_until is not None and r.way_until <= now for r in books.waiting())
    if request.has_just_failed or books.unsettled or is_unsettled:
        return
    for other in books.waiting():
        if other is request or other.way_until is not None or other.number in earlier:
            continue
        if may_wait_for_company(books, other) and not _joins_those_who_wait(books, request, now):
            continue
        if not other.is_final and not other.has_just_failed:
            suits = worker in books.wanted(other, State.IDLE)
            assert not (suits and _rank(other) < _rank(request)), f"{other.number} comes before it"


def _joins_those_who_wait(books: Books, request: Request, now: float) -> bool:
    """For company; not if it must go alone, has waited long enough or finds the queue full."""
    return now < company_until(books, request) and books.has_room_for(request)


def _rank(request: Request) -> tuple[bool, int, bool, int]:
    """The order among those that were tried is that of their failures, which we do not know; all
    suspects are alike."""
    if request.way_until is not None and request.waits_last:
        return True, 0, False, 0
    is_new = request.attempts == 0
    return False, request.priority, is_new, request.number if is_new else 0


# --- a try ends ---------------------------------------------------------------------------------


def _try_failed(books: Books, action: ev.TryFailed, now: float) -> None:
    assert action.request in books.open, "the request is over"
    request = books.open[action.request]
    worker = request.holder
    assert worker is not None, "nobody tries it"
    assert worker.id == action.worker, "another worker tries it"
    assert action.attempt == request.attempts
    if not books.pay("try failed", request.number, worker.id, action.why):
        assert action.why is Why.TIMEOUT, "nothing like that has happened"
        assert worker.held is not None
        assert action.took_s == now - worker.held.started_at
        if books.is_expiring and worker.held.expires_at <= now:
            time_out(worker, now)
        else:
            books.owe("refused", request.number)
    request.holder = None
    request.has_just_failed = True
    request.tried.append((worker.id.slot, action.why))
    if not request.was_in_company:
        request.strikes += action.why in STRIKES
        request.has_hung = request.has_hung or action.why is Why.TIMEOUT
        if action.why is Why.TIMEOUT:
            request.shut_slots.add(worker.id.slot)
    if action.why is Why.EMPTY and books.limits.on_empty_next_pool:
        request.shut_pools.add(worker.pool)
    if request.strikes >= books.limits.strikes or request.is_final:
        books.owe("ended", request.number)
    if request.is_suspect:
        patience_s = books.limits.hang_kill_after_s + books.limits.revive_grace_s
        last = request.last_way_until = request.deadline - request.try_timeout_s
        request.way_until = min(now + patience_s, last) if last > now else None
        request.waits_last = last > now
        held = worker.held
        is_cut = held is not None and held.expires_at >= request.deadline
        for other in books.waiting():
            if other.way_until is not None and not (is_cut and action.why is Why.TIMEOUT):
                other.way_until = min(now + patience_s, other.last_way_until)
                other.waits_last = True


def time_out(worker: Worker, now: float) -> None:
    """Its try has lasted too long, whether or not anybody waits for it."""
    assert worker.held is not None
    if not worker.held.has_timed_out:
        worker.held.has_timed_out = True
        # If the core was held up, that is not the worker's fault.
        worker.held.kill_at += now - worker.held.expires_at
        worker.bad_tries += worker.held.is_full
        if worker.state is State.BUSY:
            worker.state = State.OVERDUE


def _kill(books: Books, id: WorkerId, numbers: tuple[RequestId, ...], now: float) -> None:
    worker = _known(books, id)
    assert worker.is_ours, "it is not ours to kill"
    assert books.is_expiring, "only the time shows that a worker hangs"
    assert numbers == (worker.held.requests if worker.held is not None else ())
    assert worker.held is not None or worker.state is State.CONNECTING
    assert now >= (worker.kill_at if worker.held is None else worker.held.kill_at), "too early"
    books.lose(worker, Why.DIED)
    books.promote(id.slot)
