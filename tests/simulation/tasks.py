"""What travels between the balancer and a simulated worker: one request, or several in a batch."""

from collections.abc import Sequence

from balancer.core.events import (
    BatchReplied,
    Forward,
    ForwardBatch,
    ReplyArrived,
    RequestId,
    WorkerId,
    WorkerReply,
)

Task = Forward | ForwardBatch
Reply = ReplyArrived | BatchReplied


def tries_of(task: Task) -> tuple[Forward, ...]:
    return task.tries if isinstance(task, ForwardBatch) else (task,)


def value_of(request: RequestId, worker: WorkerId) -> bytes:
    """What a worker makes of a request: nobody else's answer looks the same."""
    return b"%d by %s#%d" % (request, worker.slot.encode(), worker.incarnation)


def replies_in(event: Reply) -> Sequence[WorkerReply]:
    return event.replies if isinstance(event, BatchReplied) else (event.reply,)


def belongs_to(event: Reply, task: Task) -> bool:
    """Whether this is said in answer to that task, and not to one before it."""
    first = tries_of(task)[0]
    return replies_in(event)[0].value == value_of(first.request, event.worker)
