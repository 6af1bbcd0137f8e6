"""Where a request goes: to a worker, into the line, to the next after a failed try, or nowhere.

Failover is no special path: a failed try puts its request back into the queue, ahead of all that
were not tried yet, and ``choose`` decides anew. A suspect gives way to others for a while.
"""

from collections.abc import Sequence

from balancer.core.batches import (
    companions,
    company_until,
    waits_for_company,
)
from balancer.core.deadlines import Deadlines
from balancer.core.events import (
    Action,
    Batching,
    FillEnded,
    Forward,
    ForwardBatch,
    GraceEnded,
    QueueTimedOut,
    Reason,
    RequestId,
    TryTimedOut,
    Why,
)
from balancer.core.lifecycle import Request, Signal
from balancer.core.limits import Limits
from balancer.core.policy import Choice, GiveUp, RetryBudget, choose
from balancer.core.pool import Held, Member, Pool, Pools, State
from balancer.core.pool import Signal as LinkSignal
from balancer.core.requests import Requests

# What every request asks for: until Python 3.12 a member's look-up costs ten times a name's.
_IDLE, _EJECTED, _FORWARDED = State.IDLE, State.EJECTED, LinkSignal.FORWARDED


class Placing:
    """Writes what is to be done into ``actions``, in order."""

    def __init__(
        self,
        limits: Limits,
        pools: Pools,
        requests: Requests,
        deadlines: Deadlines,
        actions: list[Action],
    ) -> None:
        self.limits = limits
        self._pools = pools
        self._requests = requests
        self._queue = requests.queue
        self._suspects = requests.suspects
        self._deadlines = deadlines
        self._actions = actions
        self._budget = RetryBudget(limits)
        self.must_place_all = False
        """As soon as all that is due has happened: who waits may belong elsewhere by now."""

    def reconfigure(self, limits: Limits, now: float) -> None:
        """Decide by these limits from now on; open requests keep the dates that they have."""
        self.limits = self._budget.limits = limits
        self._requests.reconfigure(limits)
        self.place_all(now)

    def retry_budget(self, now: float) -> tuple[int, float]:
        """How much of it is spent, of how much."""
        return self._budget.balance(now, len(self._pools))

    def place_all(self, now: float) -> None:
        """A worker's coming or going may change where each waiting request belongs."""
        self.must_place_all = False
        self._suspects.look_anew()
        for request in self._queue.take_all():
            self.place(request, now)

    def serve(self, member: Member, now: float, *, line_only: bool = False) -> None:
        """Give the free worker what waits for it; a request that can't finish makes room. With
        ``line_only`` no try has ended, which may be what somebody behind a suspect has waited for.
        """
        limits, queue = self.limits, self._queue
        while member.state is _IDLE:
            if limits.batch_wait_s:
                request = self._next_with_company(member, now)
            else:
                request = queue.first_for(member)
            if request is None or request.gives_way:
                break
            others = None
            if limits.batch_max > 1:
                others = companions(request, member, queue, limits, now)
            queue.remove(request)
            if others:
                self._forward_batch([request, *others], member, now)
            else:
                self._forward(request, member, now)
        if self._suspects.waiting and not line_only:
            self._serve_behind_suspects(member.pool, now)

    def serve_all(self, pool: Pool, now: float) -> None:
        """Give those who are free in the pool what waits for them, as far as it goes."""
        while pool.idle and self._queue.waiting(pool):
            member = pool.idle[next(reversed(pool.idle))]
            self.serve(member, now)
            if member.state is _IDLE:
                break  # what waits is not for the first, nor then for the others

    def _serve_behind_suspects(self, pool: Pool, now: float) -> None:
        """A try has ended, which may be what some have waited for; and who is idle need not be for
        them, but for those behind. Nobody's line has changed by that."""
        if not pool.idle:
            return
        self._suspects.look_anew()
        for request in list(self._queue.line(pool)):
            if request.id in self._queue and self._may_go(request, pool, now):
                self._queue.remove(request)
                self.place(request, now)
                if not pool.idle:
                    return

    def _may_go(self, request: Request, pool: Pool, now: float) -> bool:
        is_wanted = isinstance(choose(request, self._pools.order), Member)
        return is_wanted and not self._suspects.must_give_way(request, pool, now)

    def fill_ended(self, pool_name: str, now: float) -> None:
        """Who waited for company in this pool waits no more."""
        for pool in self._pools:
            if pool.name == pool_name:
                for member in reversed(list(pool.idle.values())):
                    self.serve(member, now, line_only=True)

    def _next_with_company(self, member: Member, now: float) -> Request | None:
        """The first of the worker's line, unless all there give way to others or wait for them."""
        first: Request | None = None
        for request in self._queue.line_of(member):
            if request.gives_way:
                continue
            first = first or request
            if not waits_for_company(request, member, self._queue, self.limits, now):
                return request if request.must_go_alone else first
            self._watch_filling(request, member.pool)
        return None

    def _watch_filling(self, request: Request, pool: Pool) -> None:
        """Look into the line again when the request has waited for company long enough."""
        ends_at = company_until(request, self.limits)
        if pool.fill_alarm is None or not pool.fill_alarm.is_set or ends_at < pool.fill_alarm.when:
            self._deadlines.cancel(pool.fill_alarm)
            pool.fill_alarm = self._deadlines.set(ends_at, FillEnded(pool.name))

    def place(self, request: Request, now: float, *, is_joining: bool = False) -> None:
        """Forward the request, or let it wait, or give it up. It is in no line yet."""
        choice = choose(request, self._pools.order)
        self.follow(choice, request, now, is_joining=is_joining)

    def follow(self, choice: Choice, request: Request, now: float, *, is_joining: bool) -> None:
        """As ``place``, where it is known already what to do."""
        if isinstance(choice, Member):
            if request.gives_way or self.limits.batch_wait_s:
                self._place_beside(request, choice, now, is_joining=is_joining)
            else:
                self._forward(request, choice, now)
        elif isinstance(choice, GiveUp):
            self._requests.give_up(request, now)
        elif is_joining and not self.has_room_for(request):
            self._requests.refuse(request, Reason.QUEUE_FULL, now)
        elif isinstance(choice, Pool):
            self.wait_for(choice, (request,), now)
        else:
            self._queue.add(request, None)
            self._watch_wait(request, now, is_alive=choice.is_alive)

    def _place_beside(
        self, request: Request, member: Member, now: float, *, is_joining: bool
    ) -> None:
        """There may be a reason to wait although this worker is idle, if there is room."""
        if is_joining and not self.has_room_for(request):
            self._forward(request, member, now)
        elif self._suspects.must_give_way(request, member.pool, now):
            self._queue.add(request, member.pool)
        elif self._may_fill(request, member):
            self.wait_for(member.pool, (request,), now)
            self._watch_filling(request, member.pool)
            self.serve(member, now, line_only=True)
        else:
            self._forward(request, member, now)

    def _may_fill(self, request: Request, member: Member) -> bool:
        """Whether it joins the line although there is an idle worker, to be served with others."""
        is_worth_it = self.limits.batch_wait_s > 0 and self.limits.batch_max > 1
        is_whole = member.batching is Batching.WHOLE and member.state is State.IDLE
        return is_worth_it and is_whole and not request.must_go_alone

    def end_way(self, request: Request, now: float) -> None:
        """The suspect has waited long enough for workers, or for all: look again where it goes."""
        self._suspects.look_again(request, now)
        if request.id in self._queue:
            self._queue.remove(request)
            self.place(request, now)

    def wait_for(self, pool: Pool, requests: Sequence[Request], now: float) -> None:
        """Put them into the line of the pool, in which somebody is up."""
        self._queue.add_all(requests, pool)
        has_timeout = self.limits.queue_timeout_s is not None
        for request in requests:
            if has_timeout or request.grace_alarm is not None:
                self._watch_wait(request, now, is_alive=True)

    def those_with_room(self, newcomers: list[Request]) -> list[Request]:
        """As many of them as may join the queue, in their order."""
        limits, queue = self.limits, self._queue
        places = limits.queue_limit - len(queue.places)
        if places <= 0:
            return []
        size_bytes = queue.size_bytes + sum([request.size_bytes for request in newcomers])
        if len(newcomers) <= places and size_bytes <= limits.queue_limit_bytes:
            return newcomers
        size_bytes, fitting = queue.size_bytes, 0
        for request in newcomers[:places]:
            size_bytes += request.size_bytes
            if size_bytes > limits.queue_limit_bytes:
                break
            fitting += 1
        return newcomers[:fitting]

    def has_room_for(self, request: Request) -> bool:
        """Whether it may join the queue."""
        limits, queue = self.limits, self._queue
        size_bytes = queue.size_bytes + request.size_bytes
        if len(queue.places) < limits.queue_limit and size_bytes <= limits.queue_limit_bytes:
            return True
        # A failed try finds a full queue with room for what the workers hold, so that a few deaths
        # refuse nobody. Without a bound, a worker that declines all it gets would fill it forever.
        extra = len(self._pools) * limits.batch_max if request.attempts else 0
        return (
            len(queue) < limits.queue_limit + extra
            and size_bytes <= limits.queue_limit_bytes + extra * limits.max_body_bytes
        )

    def _watch_wait(self, request: Request, now: float, *, is_alive: bool) -> None:
        """Set the dates that end this wait, beside the deadline."""
        if is_alive:
            if request.grace_alarm is not None:
                self._deadlines.cancel(request.grace_alarm)
                request.grace_alarm = None
        elif request.grace_alarm is None:
            request.grace_alarm = self._deadlines.set(
                now + self.limits.revive_grace_s, GraceEnded(request.id)
            )
        queue_timeout_s = self.limits.queue_timeout_s
        if queue_timeout_s is not None and not request.attempts and request.queue_alarm is None:
            request.queue_alarm = self._deadlines.set(
                now + queue_timeout_s, QueueTimedOut(request.id)
            )

    def _forward(self, request: Request, member: Member, now: float) -> None:
        if request.deadline - now < self.limits.try_start_min_s:
            self._requests.refuse(request, Reason.DEADLINE, now)
            return
        may_batch = self.limits.batch_max > 1 and member.batching is Batching.EACH
        wants_time = may_batch and member.pool.service.is_to_be_told(self.limits.batch_budget_s)
        [forward] = self._begin_tries((request,), member, now, wants_time)
        if forward.attempt == 1:
            self._budget.note_first_tries(now, 1)
        is_timed = wants_time or not may_batch
        self._hand_over((request.id,), member, now, forward.expires_at, is_timed=is_timed)
        self._actions.append(forward)

    def _forward_batch(self, requests: list[Request], member: Member, now: float) -> None:
        self._queue.remove_all(requests[1:])
        # From lists: CPython keeps thousands of tuples that were grown by a generator, for others.
        tries = tuple(self._begin_tries(requests, member, now))
        self._budget.note_first_tries(now, [one.attempt for one in tries].count(1))
        # Who has less time than the others gets its answer from its own deadline.
        expires_at = max([one.expires_at for one in tries])
        self._hand_over(tuple([one.request for one in tries]), member, now, expires_at)
        self._actions.append(ForwardBatch(member.worker, tries))

    def _begin_tries(
        self, requests: Sequence[Request], member: Member, now: float, wants_time: bool = False
    ) -> list[Forward]:
        """Of one, or of those that go together."""
        worker, is_accompanied = member.worker, len(requests) > 1
        tries: list[Forward] = []
        for request in requests:
            if request.queue_alarm is not None or request.grace_alarm is not None:
                self._deadlines.cancel(request.queue_alarm)
                self._deadlines.cancel(request.grace_alarm)
                request.queue_alarm = request.grace_alarm = None
            if request.gives_way:
                self._suspects.let_go(request)
            attempt = request.forwarded_to(worker, now, is_accompanied)
            deadline, expires_at = request.deadline, now + request.try_timeout_s
            if deadline < expires_at:
                expires_at = deadline
            tries.append(
                Forward(worker, request.id, attempt, deadline - now, expires_at, wants_time)
            )
        return tries

    def _hand_over(
        self,
        requests: tuple[RequestId, ...],
        member: Member,
        now: float,
        expires_at: float,
        *,
        is_timed: bool = True,
    ) -> None:
        """The worker holds the requests from now on."""
        if member.alarm is not None:
            self._deadlines.cancel(member.alarm)
            member.alarm = None
        if member.try_alarm is None or member.try_alarm.when > expires_at:
            self._deadlines.cancel(member.try_alarm)
            member.try_alarm = self._deadlines.set(expires_at, TryTimedOut(member.worker))
        is_last_resort = member.state is _EJECTED
        member.held = Held(requests, now, expires_at, self.limits, is_last_resort, is_timed)
        self._pools.move(member, _FORWARDED)

    def fail_try(self, request: Request, member: Member, why: Why, now: float) -> None:
        """End the request's current try; go on with the next worker, or stop here."""
        request.move(Signal.TRY_FAILED)
        self._requests.note_failed_try(request, member.worker, why, now)
        if request.is_suspect:
            for other in self._suspects.note_failure(now):
                if other.id in self._queue:
                    self._queue.reorder(other)
        if why is Why.EMPTY and self.limits.on_empty_next_pool:
            request.excluded_pools |= {member.pool.name}
        if isinstance(choose(request, self._pools.order), GiveUp):
            self._requests.give_up(request, now)
        elif request.strikes >= self.limits.strikes:
            self._requests.refuse(request, Reason.POISONED, now)
        elif _costs_budget(request, why) and not self._budget.spend(now, len(self._pools)):
            self._requests.refuse(request, Reason.RETRY_BUDGET, now)
        else:
            if request.is_suspect:
                self._suspects.add(request, now)
            self.place(request, now, is_joining=True)


def _costs_budget(request: Request, why: Why) -> bool:
    """Timeouts do, and deaths but a request's first: one worker's death must never cost an answer,
    however many other requests killed theirs lately. Who was in company goes on alone for free."""
    if request.is_accompanied:
        return False
    return why is Why.TIMEOUT or (why is Why.DIED and request.strikes > 1)
