"""What a client's call can raise: one class per thing that the caller can do about it.

ClusterError
├── BadRequest        400                      mend the request
├── TooLarge          413                      send less
├── Duplicate         409                      a request marked ``once`` came again
├── Overloaded        429, 503 queue_…         come back after ``retry_after_ms``
├── HandlerError      500 handler_error        the handler raised; the error is its own
├── Poisoned          500 poisoned             this request kills workers: do not send it again
├── Unavailable       503 exhausted, …         nobody is left to ask; try again later
└── DeadlineExceeded  504                      the time was spent
"""

from typing import Any

from balancer.wire.reply import Reply, Try


class ClusterError(Exception):
    """A request that did not get its answer; the reply says why and who was tried."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.error or f"status {reply.status}")
        self.reply = reply

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def reason(self) -> str:
        return self.reply.reason

    @property
    def tries(self) -> tuple[Try, ...]:
        return self.reply.tried

    @property
    def may_have_run(self) -> bool:
        """False means that no handler ran to the end, or only to say *not mine*."""
        return self.reply.may_have_run


class BadRequest(ClusterError):
    pass


class TooLarge(ClusterError):
    pass


class Overloaded(ClusterError):
    pass


class HandlerError(ClusterError):
    pass


class Poisoned(ClusterError):
    pass


class Duplicate(ClusterError):
    pass


class Unavailable(ClusterError):
    pass


class DeadlineExceeded(ClusterError):
    pass


_BY_STATUS: dict[int, type[ClusterError]] = {
    400: BadRequest,
    413: TooLarge,
    409: Duplicate,
    429: Overloaded,
    500: HandlerError,
    503: Unavailable,
    504: DeadlineExceeded,
}
_BY_REASON: dict[str, type[ClusterError]] = {
    "poisoned": Poisoned,
    "queue_full": Overloaded,
    "queue_timeout": Overloaded,
}


def error_for(reply: Reply) -> ClusterError:
    """The exception that tells of a reply which is not 200."""
    kind = _BY_REASON.get(reply.reason) or _BY_STATUS.get(reply.status, ClusterError)
    return kind(reply)


def outcome(reply: Reply, return_exceptions: bool) -> Any:
    """The answer; or else the exception, raised or handed back."""
    if reply.status == 200:
        return reply.body
    if not return_exceptions:
        raise error_for(reply)
    return error_for(reply)
