"""Whether each action of the core is right at its moment, and what it changes in the books."""

from balancer.core import events as ev
from balancer.core.events import Action, Reason, RequestId, Why, WorkerId
from tests.walks.books import IN_ROTATION, STRIKES, Books, Request, State, Try, Worker

AT_THE_DOOR = (
    Reason.MALFORMED,
    Reason.TOO_LARGE,
    Reason.DRAINING,
    Reason.DUPLICATE,
    Reason.CLIENT_LIMIT,
)


def note_action(books: Books, action: Action, now: float) -> None:
    """Check the action against the books, then enter it. Actions count in their order."""
    match action:
        case ev.Forward():
            _forward(books, action, now)
        case ev.TryFailed():
            _try_failed(books, action, now)
        case ev.Answer(number, worker, reply, attempts, tried):
            assert books.pay("answered", number, worker, reply), "nobody gave this answer"
            _end(books, number, attempts, tried, is_answered=True)
        case ev.Refuse():
            _refuse(books, action, now)
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
        case ev.ReplyDropped(worker, number):
            assert books.pay("dropped", worker, number), "the reply was wanted"


def _known(books: Books, id: WorkerId) -> Worker:
    worker = books.find(id)
    assert worker is not None, f"there is no {id}"
    return worker


# --- a try begins -------------------------------------------------------------------------------


def _forward(books: Books, action: ev.Forward, now: float) -> None:
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
    _check_turn(books, request, worker, now)
    request.attempts += 1
    request.asked.append(worker.id)
    is_last_resort = worker.state is State.EJECTED
    request.holder, worker.state = worker, State.BUSY
    request.queue_until = request.stranded_until = request.way_until = None
    patience_ends_at = now + books.limits.try_timeout_s
    worker.held = Try(
        request.number,
        now,
        action.expires_at,
        kill_at=max(action.expires_at, patience_ends_at) + books.limits.hang_kill_after_s,
        is_full=action.expires_at >= patience_ends_at,
        is_last_resort=is_last_resort,
    )


def _check_is_last_resort(books: Books, request: Request) -> None:
    others = books.wanted(request, *IN_ROTATION)
    assert not [w for w in others if w not in books.unsettled], "others are in rotation"


def _check_turn(books: Books, request: Request, worker: Worker, now: float) -> None:
    """Nobody else who waits for this worker comes before the request. One that just failed goes on
    at once. While dates are over, we cannot know which of them the core has seen to."""
    is_unsettled = any(r.way_until is not None and r.way_until <= now for r in books.waiting())
    if request.has_just_failed or books.unsettled or is_unsettled:
        return
    for other in books.waiting():
        if other is request or other.way_until is not None:
            continue
        if not other.is_final and not other.has_just_failed:
            suits = worker in books.wanted(other, State.IDLE)
            assert not (suits and _rank(other) < _rank(request)), f"{other.number} comes before it"


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
    request.strikes += action.why in STRIKES
    if action.why in (Why.EMPTY, Why.GARBLED, Why.TIMEOUT):
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
    assert numbers == ((worker.held.request,) if worker.held is not None else ())
    assert worker.held is not None or worker.state is State.CONNECTING
    assert now >= (worker.kill_at if worker.held is None else worker.held.kill_at), "too early"
    books.lose(worker, Why.DIED)
    books.promote(id.slot)


# --- a request ends -----------------------------------------------------------------------------


def _end(
    books: Books,
    number: RequestId,
    attempts: int,
    tried: tuple[ev.FailedTry, ...],
    *,
    is_answered: bool = False,
) -> Request:
    assert number in books.open, "the request is over"
    request = books.open[number]
    assert attempts == request.attempts
    assert [(one.worker, one.why) for one in tried] == request.tried
    books.close(request, is_answered=is_answered)
    return request


def _refuse(books: Books, action: ev.Refuse, now: float) -> None:
    books.pay("refused", action.request)
    was_owed = books.pay("refused", action.request, action.reason)
    if action.reason is Reason.MALFORMED:
        assert was_owed, "it could be read"
        return
    request = _end(books, action.request, action.attempts, action.tried)
    assert request.holder is None, "a worker holds it and no try has failed"
    is_duplicate = action.reason is Reason.DUPLICATE
    assert action.may_have_run == (request.may_have_run or is_duplicate)
    if action.reason in AT_THE_DOOR:
        is_drained = action.reason is Reason.DRAINING and books.drain_until is not None
        is_drained = is_drained and books.is_expiring and now >= (books.drain_until or 0.0)
        assert was_owed or is_drained, "nothing is wrong with it"
    else:
        _check_refusal(books, request, action.reason, now)


def _check_refusal(books: Books, request: Request, reason: Reason, now: float) -> None:
    limits = books.limits
    match reason:
        case Reason.DEADLINE:
            assert request.deadline - now < limits.try_start_min_s or request.deadline <= now
        case Reason.EXHAUSTED | Reason.NO_WORKERS:
            assert (reason is Reason.EXHAUSTED) == (request.attempts > 0)
            _check_nobody_is_left(books, request, now)
        case Reason.POISONED:
            assert request.strikes >= limits.strikes, "it has harmed too few"
        case Reason.RETRY_BUDGET:
            why = request.tried[-1][1]
            assert why is Why.TIMEOUT or (why is Why.DIED and request.strikes > 1)
        case Reason.QUEUE_TIMEOUT:
            assert books.is_expiring
            assert request.queue_until is not None
            assert request.queue_until <= now
        case Reason.QUEUE_FULL:
            extra = len(books.slots) if request.attempts else 0
            others = books.waiting()
            size_bytes = sum(other.size_bytes for other in others) + request.size_bytes
            limit_bytes = limits.queue_limit_bytes + extra * limits.max_body_bytes
            is_full = len(others) >= limits.queue_limit + extra
            assert is_full or size_bytes > limit_bytes, "there is room"
        case _:
            raise AssertionError(f"{reason} is no reason for that")


def _check_nobody_is_left(books: Books, request: Request, now: float) -> None:
    assert not books.wanted(request, *(state for state in State)), "somebody is left to ask"
    if books.may_come_back(request):
        assert books.is_expiring
        # One that is stranded by this very turn of the clock has its whole grace before it.
        until = request.stranded_until
        until = now + books.limits.revive_grace_s if until is None else until
        assert until <= now, "somebody may come back in time"
