"""Whether a request may end as it does at this moment, and the end of its record."""

from balancer.core import events as ev
from balancer.core.events import Reason, RequestId, Why
from tests.walks.books import Books, Request, State

AT_THE_DOOR = (
    Reason.MALFORMED,
    Reason.TOO_LARGE,
    Reason.DRAINING,
    Reason.DUPLICATE,
    Reason.CLIENT_LIMIT,
)


def end(
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


def refuse(books: Books, action: ev.Refuse, now: float) -> None:
    books.pay("refused", action.request)
    was_owed = books.pay("refused", action.request, action.reason)
    if action.reason is Reason.MALFORMED:
        assert was_owed, "it could be read"
        return
    request = end(books, action.request, action.attempts, action.tried)
    assert request.holder is None, "a worker holds it and no try has failed"
    is_duplicate = action.reason is Reason.DUPLICATE
    assert action.may_have_run == (request.may_have_run or is_duplicate)
    if action.reason in AT_THE_DOOR:
        is_drained = action.reason is Reason.DRAINING and books.drain_until is not None
        is_drained = is_drained and books.is_expiring and now >= (books.drain_until or 0.0)
        assert was_owed or is_drained, "nothing is wrong with it"
    else:
        _check_refusal(books, request, action.reason, now)
        _leave_place(books, request)


def _leave_place(books: Books, gone: Request) -> None:
    """Who is turned away leaves its place below its client's limit to the next that came with it
    and was to be refused for that limit."""
    for number, request in books.open.items():
        refusal = ("refused", number, Reason.CLIENT_LIMIT)
        if request.client == gone.client and number > gone.number and refusal in books.owed:
            earlier = [
                n for n, one in books.open.items() if n < number and one.client == gone.client
            ]
            if len(earlier) < books.limits.client_limit:
                books.pay(*refusal)
            return


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
            assert not request.was_in_company, "it is not to blame for what its company did"
            assert why is Why.TIMEOUT or (why is Why.DIED and request.strikes > 1)
        case Reason.QUEUE_TIMEOUT:
            assert books.is_expiring
            assert request.queue_until is not None
            assert request.queue_until <= now
        case Reason.QUEUE_FULL:
            assert not books.has_room_for(request), "there is room"
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
