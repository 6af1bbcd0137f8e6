"""One class for each thing that a caller can do about a request that got no answer."""

import pytest

from balancer import errors
from balancer.core.events import STATUS, Reason, Refuse, RequestId
from balancer.errors import ClusterError, error_for
from balancer.wire import replies
from balancer.wire.reply import Reply, Try, decode_reply

CLASSES: dict[Reason, type[ClusterError]] = {
    Reason.MALFORMED: errors.BadRequest,
    Reason.TOO_LARGE: errors.TooLarge,
    Reason.CLIENT_LIMIT: errors.Overloaded,
    Reason.DUPLICATE: errors.Duplicate,
    Reason.POISONED: errors.Poisoned,
    Reason.EXHAUSTED: errors.Unavailable,
    Reason.NO_WORKERS: errors.Unavailable,
    Reason.QUEUE_FULL: errors.Overloaded,
    Reason.QUEUE_TIMEOUT: errors.Overloaded,
    Reason.RETRY_BUDGET: errors.Unavailable,
    Reason.DRAINING: errors.Unavailable,
    Reason.DEADLINE: errors.DeadlineExceeded,
}


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_is_the_exception_that_says_what_to_do(reason: Reason) -> None:
    reply = decode_reply(replies.encode_refusal(Refuse(RequestId(1), reason), None))
    error = error_for(reply)
    assert type(error) is CLASSES[reason]
    assert (error.status, error.reason) == (STATUS[reason], reason.value)


def test_an_error_of_the_handler_is_no_poison() -> None:
    error = error_for(Reply(500, error="ValueError: no", reason="handler_error"))
    assert type(error) is errors.HandlerError
    assert str(error) == "ValueError: no"


def test_a_payload_that_the_worker_could_not_read_is_a_bad_request() -> None:
    assert type(error_for(Reply(400, reason="malformed"))) is errors.BadRequest


def test_a_status_of_the_future_is_an_error_without_a_class_of_its_own() -> None:
    error = error_for(Reply(418, reason="teapot"))
    assert type(error) is ClusterError
    assert str(error) == "status 418"


def test_an_error_tells_who_was_tried_and_whether_it_may_have_run() -> None:
    tried = (Try("a", "died", 1.5), Try("b", "empty", 0.1))
    reply = Reply(503, error="nobody", reason="exhausted", tried=tried, may_have_run=True)
    error = error_for(reply)
    assert error.tries == tried
    assert error.may_have_run
    assert error.reply is reply
    assert not error_for(Reply(503)).may_have_run


def test_one_clause_catches_them_all() -> None:
    for kind in set(CLASSES.values()) | {errors.HandlerError}:
        assert issubclass(kind, ClusterError)
        with pytest.raises(ClusterError):
            raise kind(Reply(500))
