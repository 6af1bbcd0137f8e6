"""Who may travel together, and who waits for others to join: what the books say of it."""

from balancer.core import events as ev
from balancer.core.events import Batching
from tests.walks.books import IN_ROTATION, Books, Request, State, Worker


def company_until(books: Books, request: Request) -> float:
    """Until when it may be made to wait for company: for half of its patience at most."""
    limits = books.limits
    if limits.batch_max < 2 or not limits.batch_wait_s or request.must_go_alone:
        return 0.0
    patience_ends_at = min(request.deadline, request.queue_until or request.deadline)
    half_s = (patience_ends_at - request.arrived_at) / 2
    return request.arrived_at + min(limits.batch_wait_s, half_s)


def may_wait_for_company(books: Books, request: Request) -> bool:
    """Were there time: somebody whom it may ask takes a batch whole, and somebody is idle."""
    if not company_until(books, request):
        return False
    up = books.wanted(request, *IN_ROTATION)
    return any(worker.state is State.IDLE for worker in up) and any(
        worker.batching is Batching.WHOLE for worker in up
    )


def check_batch(books: Books, batch: ev.ForwardBatch, worker: Worker) -> None:
    """What is right or wrong with all of them together."""
    requests = [books.open[one.request] for one in batch.tries]
    numbers = {request.number for request in requests}
    assert len(batch.tries) == len(numbers) > 1, "that is no batch"
    assert all(one.worker == worker.id for one in batch.tries), "not all go to one worker"
    assert worker.batching is not Batching.NONE, "it knows no batches"
    assert not any(request.must_go_alone for request in requests), "somebody must go alone"
    assert not any(request.way_until is not None for request in requests), "somebody gives way"
    assert len({request.try_timeout_s for request in requests}) == 1, "some have less time"
    assert len(requests) <= books.limits.batch_max, "too many"
    size_bytes = sum(request.size_bytes for request in requests)
    assert size_bytes <= books.limits.max_body_bytes, "too large"
    if not books.limits.batch_wait_s:
        assert len(requests) <= _share(books, worker.pool), "others are idle"


def _share(books: Books, pool: str) -> int:
    """What one of the pool's idle workers may take of those that wait."""
    waiting = [request for request in books.waiting() if pool not in request.shut_pools]
    idle = [one for one in books.in_pool(pool, State.IDLE) if one not in books.unsettled]
    return -(-len(waiting) // max(1, len(idle)))
