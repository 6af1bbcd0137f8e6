"""Who travels together: a free worker may get several of those that wait for its pool at once.

A request that may have run in a try that failed goes alone from then on, so that the next failure
is its own; ``once`` requests always do.
"""

from balancer.core.events import Batching
from balancer.core.lifecycle import Request
from balancer.core.limits import Limits
from balancer.core.pool import Member
from balancer.core.queue import Queue


def companions(
    first: Request, member: Member, queue: Queue, limits: Limits, now: float
) -> list[Request]:
    """Those that go along with the first of the worker's line, in their order.

    The line is not searched: it ends with the first that cannot go along, so nobody overtakes.
    """
    if limits.batch_max == 1 or member.batching is Batching.NONE or first.must_go_alone:
        return []
    if member.batching is Batching.EACH and not member.pool.service.fits_two(limits.batch_budget_s):
        return []
    try_start_min_s = limits.try_start_min_s
    if first.deadline - now < try_start_min_s:
        return []
    most = _requests_max(member, queue.waiting(member.pool), limits)
    if most == 1:
        return []
    found: list[Request] = []
    size_bytes, try_timeout_s = first.size_bytes, first.try_timeout_s
    line = queue.line_of(member)
    for other in line:
        if other is first:
            break
    for other in line:
        size_bytes += other.size_bytes
        if (
            len(found) + 1 >= most
            or size_bytes > limits.max_body_bytes
            or other.must_go_alone
            or other.try_timeout_s != try_timeout_s
            or other.deadline - now < try_start_min_s
        ):
            break
        found.append(other)
    return found


def _requests_max(member: Member, waiting: int, limits: Limits) -> int:
    """No worker shall be idle while another holds several. Those that are busy will be free within
    the budget, and are to find something; but what takes less time than to hand it over is not
    worth sharing, not even with who is idle: it is done about when another would have begun. A
    model that takes its batch whole may be busy for long. Who was made to wait for company is to
    have it."""
    pool = member.pool
    if member.batching is Batching.WHOLE:
        most = limits.batch_max if limits.batch_wait_s else _share(waiting, len(pool.idle))
    else:
        share = max(_share(waiting, pool.serving), pool.service.at_once())
        most = min(share, pool.service.fit(limits.batch_budget_s))
    return min(limits.batch_max, most)


def _share(waiting: int, workers: int) -> int:
    return -(-waiting // workers)


def waits_for_company(
    request: Request, member: Member, queue: Queue, limits: Limits, now: float
) -> bool:
    """Whether the request, which is in the worker's line, had better wait for others to join."""
    return (
        member.batching is Batching.WHOLE
        and now < company_until(request, limits)
        and not request.must_go_alone
        and queue.waiting(member.pool) < limits.batch_max
    )


def company_until(request: Request, limits: Limits) -> float:
    """When its wait for others is over: they are not worth more than half of its patience."""
    ends_at = request.deadline
    if request.queue_alarm is not None:
        ends_at = min(ends_at, request.queue_alarm.when)
    return request.arrived_at + min(limits.batch_wait_s, (ends_at - request.arrived_at) / 2)
