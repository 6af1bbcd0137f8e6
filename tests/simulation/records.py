"""What a worker's replies mean for each request that it held, and for its own record."""

from balancer.core.events import BatchReplied, Outcome, ReplyArrived, RequestId, WorkerReply
from tests.simulation.books import Attempt, Worker


def replies_by_request(
    attempt: Attempt, event: ReplyArrived | BatchReplied
) -> dict[RequestId, WorkerReply]:
    """One for each request; where their number is wrong, nobody can tell which is whose."""
    replies = (event.reply,) if isinstance(event, ReplyArrived) else event.replies
    if len(replies) != len(attempt.requests):
        return dict.fromkeys(attempt.requests, WorkerReply(Outcome.GARBLED))
    return dict(zip(attempt.requests, replies, strict=True))


def time_of_each_s(attempt: Attempt, event: ReplyArrived | BatchReplied, now: float) -> float:
    """From the hand-over to the reply, unless the worker says that its work took less."""
    took_s = now - attempt.started_at
    if event.took_s is not None:
        took_s = min(took_s, event.took_s)
    return took_s / len(attempt.requests)


def note_record(worker: Worker, outcomes: set[Outcome]) -> None:
    """A reply that came in time: garbage in it is one bad try; who did any work is good."""
    if Outcome.GARBLED in outcomes:
        worker.bad_tries += 1
    elif outcomes & {Outcome.ANSWER, Outcome.EMPTY}:
        worker.bad_tries = worker.ejections = 0
