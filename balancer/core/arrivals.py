"""Who comes: taken in or turned away, and placed; alone, or with those that came at the same time.

Of several that come together, and find somebody free, the first shall not go alone while the others
wait: before anybody gets one of them it is known how many there are.
"""

from balancer.core.events import RequestArrived, RequestsArrived
from balancer.core.lifecycle import Request
from balancer.core.placing import Placing
from balancer.core.policy import Choice, choose
from balancer.core.pool import Member, Pool, Pools, State
from balancer.core.requests import Requests

_GROUP_MIN = 3
"""A pair is done sooner by two, who have a processor each: measured, a fifth more requests."""

# What every request asks for: until Python 3.12 a member's look-up costs ten times a name's.
_IDLE = State.IDLE


class Arrivals:
    def __init__(self, pools: Pools, requests: Requests, placing: Placing) -> None:
        self._pools = pools
        self._requests = requests
        self._placing = placing

    def accept(self, event: RequestArrived, now: float) -> None:
        request = self._requests.take_in(event, now)
        if request is not None:
            self._placing.place(request, now, is_joining=True)

    def accept_all(self, event: RequestsArrived, now: float) -> None:
        """As if one came after the other, where nobody can have several of them."""
        placing = self._placing
        taken = [self._requests.take_in(arrived, now) for arrived in event.arrivals]
        left = [request for request in taken if request is not None]
        while left:
            choice = choose(left[0], self._pools.order)  # for one it is as for all that are new
            pool = self._line_for(left, choice)
            joining = placing.those_with_room(left) if pool is not None else []
            if pool is None or not joining:
                placing.follow(choice, left.pop(0), now, is_joining=True)
                continue
            placing.wait_for(pool, joining, now)
            if pool is not choice:
                placing.serve_all(pool, now)
            left = left[len(joining) :]

    def _line_for(self, newcomers: list[Request], choice: Choice) -> Pool | None:
        """Where all wait together for who is or will be free; None if the first has a place."""
        if isinstance(choice, Pool):
            return choice
        if isinstance(choice, Member) and choice.state is _IDLE:
            return choice.pool if self._may_share(newcomers, choice.pool) else None
        return None

    def _may_share(self, requests: list[Request], pool: Pool) -> bool:
        """Not where there are no batches, or they are waited for, or somebody is free for each that
        is worth a hand-over."""
        limits = self._placing.limits
        if limits.batch_max == 1 or limits.batch_wait_s:
            return False
        count = [request.must_go_alone for request in requests].count(False)
        return len(pool.idle) < count or (count >= _GROUP_MIN and pool.service.at_once() > 1)
