"""All open requests: each is placed, tried, moved on after a failed try, and ended exactly once.

Failover is no special path: a failed try puts its request back into the queue, ahead of all that
were not tried yet, and ``choose`` decides anew. A suspect gives way to others for a while.
"""

from balancer.core.deadlines import Deadlines
from balancer.core.events import (
    Action,
    Answer,
    ClientId,
    DeadlinePassed,
    Forget,
    Forward,
    GraceEnded,
    QueueTimedOut,
    Reason,
    Refuse,
    RequestArrived,
    RequestId,
    TryFailed,
    TryTimedOut,
    Why,
    WorkerId,
    WorkerReply,
)
from balancer.core.lifecycle import Phase, Request, Signal
from balancer.core.limits import Limits
from balancer.core.once import OnceNames
from balancer.core.policy import GiveUp, RetryBudget, Try, Wait, choose
from balancer.core.pool import Held, Member, Pool, Pools, State
from balancer.core.pool import Signal as LinkSignal
from balancer.core.queue import Queue
from balancer.core.suspects import Suspects


class Requests:
    """Writes what is to be done into ``actions``, in order."""

    def __init__(
        self, limits: Limits, pools: Pools, deadlines: Deadlines, actions: list[Action]
    ) -> None:
        self.queue = Queue()
        self.limits = limits
        self._pools = pools
        self._deadlines = deadlines
        self._actions = actions
        self._open: dict[RequestId, Request] = {}
        self._clients: dict[ClientId, dict[RequestId, Request]] = {}
        self.once_names = OnceNames(limits)
        self._suspects = Suspects(limits, deadlines)
        self._budget = RetryBudget(limits)
        self._service_s = 0.0
        """A moving mean of how long workers take to reply; 0 until the first reply."""

    def reconfigure(self, limits: Limits, now: float) -> None:
        """Decide by these limits from now on; open requests keep the dates that they have."""
        self.limits = self._budget.limits = limits
        self.once_names.limits = self._suspects.limits = limits
        self.place_all(now)

    def __len__(self) -> int:
        return len(self._open)

    def all(self) -> list[Request]:
        return list(self._open.values())

    def of(self, client: ClientId) -> list[Request]:
        return list(self._clients.get(client, {}).values())

    def find(self, request: RequestId) -> Request | None:
        """The request if it is still open."""
        return self._open.get(request)

    def tried_by(self, worker: WorkerId, held: Held | None) -> list[Request]:
        """The requests that wait for just this; not those that have moved on or are over."""
        if held is None:
            return []
        requests = map(self._open.get, held.requests)
        return [request for request in requests if request is not None and request.worker == worker]

    # --- how a request begins -----------------------------------------------------------------

    def accept(self, event: RequestArrived, now: float, *, is_draining: bool) -> None:
        """Take the request in and place it, or turn it away at the door."""
        reason = self._objection(event, is_draining)
        if reason is not None:
            wait_s = self._retry_after_s(reason)
            may_have_run = reason is Reason.DUPLICATE
            self._actions.append(
                Refuse(event.request, reason, may_have_run=may_have_run, retry_after_s=wait_s)
            )
            return
        limits = self.limits
        timeout_s = limits.deadline_s if event.timeout_s is None else event.timeout_s
        deadline = now + min(timeout_s, limits.deadline_max_s)
        request = Request(event, deadline, event.try_timeout_s or limits.try_timeout_s)
        self._open[request.id] = request
        self._clients.setdefault(request.client, {})[request.id] = request
        self.once_names.add(request)
        request.deadline_alarm = self._deadlines.set(deadline, DeadlinePassed(request.id))
        self._place(request, now, is_joining=True)

    def _objection(self, event: RequestArrived, is_draining: bool) -> Reason | None:
        if event.size_bytes > self.limits.max_body_bytes:
            return Reason.TOO_LARGE
        if is_draining:
            return Reason.DRAINING
        if self.once_names.has(event):
            return Reason.DUPLICATE
        if len(self._clients.get(event.client, ())) >= self.limits.client_limit:
            return Reason.CLIENT_LIMIT
        return None

    # --- where a request goes from here -------------------------------------------------------

    def place_all(self, now: float) -> None:
        """A worker's coming or going may change where each waiting request belongs."""
        for request in self.queue.take_all():
            self._place(request, now)

    def serve(self, member: Member, now: float) -> None:
        """Give the free worker what waits for it; a request that can't finish makes room."""
        while member.state is State.IDLE:
            request = self.queue.first_for(member)
            if request is None or request.gives_way:
                break
            self.queue.remove(request)
            self._forward(request, member, now)
        if self._suspects.are_waiting:
            self.place_all(now)  # for whom they waited, and who is idle, need not be this one

    def _place(self, request: Request, now: float, *, is_joining: bool = False) -> None:
        """Forward the request, or let it wait, or give it up. It is in no line yet."""
        may_wait = not is_joining or self._has_room_for(request)
        match choose(request, self._pools):
            case Try(member) if may_wait and self._must_give_way(request, member.pool, now):
                self.queue.add(request, member.pool)
            case Try(member):
                self._forward(request, member, now)
            case Wait() if not may_wait:
                self.refuse(request, Reason.QUEUE_FULL, now)
            case Wait() as wait:
                self.queue.add(request, wait.pool)
                self._watch_wait(request, wait, now)
            case GiveUp():
                self.give_up(request, now)

    def _must_give_way(self, request: Request, pool: Pool, now: float) -> bool:
        return self._suspects.must_give_way(request, pool, self._service_s, now)

    def end_way(self, request: Request, now: float) -> None:
        """The suspect has waited long enough for workers, or for all: look again where it goes."""
        self._suspects.look_again(request, now)
        if request.id in self.queue:
            self.queue.remove(request)
            self._place(request, now)

    def _has_room_for(self, request: Request) -> bool:
        limits, queue = self.limits, self.queue
        # A failed try finds a full queue with room for what the workers hold, so that a few deaths
        # refuse nobody. Without a bound, a worker that declines all it gets would fill it forever.
        extra = len(self._pools) if request.attempts else 0
        return (
            len(queue) < limits.queue_limit + extra
            and queue.size_bytes + request.size_bytes
            <= limits.queue_limit_bytes + extra * limits.max_body_bytes
        )

    def _watch_wait(self, request: Request, wait: Wait, now: float) -> None:
        """Set the dates that end this wait, beside the deadline."""
        if wait.pool is not None or wait.is_alive:
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
        remaining_s = request.deadline - now
        if remaining_s < self.limits.try_start_min_s:
            self.refuse(request, Reason.DEADLINE, now)
            return
        self._deadlines.cancel(request.queue_alarm)
        self._deadlines.cancel(request.grace_alarm)
        request.queue_alarm = request.grace_alarm = None
        self._suspects.let_go(request)
        request.forwarded_to(member.worker, now)
        if request.attempts == 1:
            self._budget.note_first_try(now)
        expires_at = min(request.deadline, now + request.try_timeout_s)
        self._hand_over(request, member, now, expires_at)
        self._actions.append(
            Forward(member.worker, request.id, request.attempts, remaining_s, expires_at)
        )

    def _hand_over(self, request: Request, member: Member, now: float, expires_at: float) -> None:
        """The worker holds the request from now on, for as long as our patience lasts."""
        # A client's impatience is no reason to blame a worker: it has at least our own patience.
        patience_ends_at = now + self.limits.try_timeout_s
        give_up_at = max(expires_at, patience_ends_at) + self.limits.hang_kill_after_s
        self._deadlines.cancel(member.alarm)
        alarm = self._deadlines.set(expires_at, TryTimedOut(member.worker, request.id))
        member.held = Held(
            (request.id,),
            now,
            expires_at,
            give_up_at,
            is_full=expires_at >= patience_ends_at,
            is_last_resort=member.state is State.EJECTED,
            alarm=alarm,
        )
        self._pools.move(member, LinkSignal.FORWARDED)

    def fail_try(self, request: Request, member: Member, why: Why, now: float) -> None:
        """End the request's current try; go on with the next worker, or stop here."""
        request.move(Signal.TRY_FAILED)
        self._note_failed_try(request, member.worker, why, now)
        if request.is_suspect:
            self._suspects.note_failure(now)
        if why is Why.EMPTY and self.limits.on_empty_next_pool:
            request.excluded_pools |= {member.pool.name}
        if isinstance(choose(request, self._pools), GiveUp):
            self.give_up(request, now)
        elif request.strikes >= self.limits.strikes:
            self.refuse(request, Reason.POISONED, now)
        elif _costs_budget(request, why) and not self._budget.spend(now, len(self._pools)):
            self.refuse(request, Reason.RETRY_BUDGET, now)
        else:
            if request.is_suspect:
                self._suspects.add(request, now)
            self._place(request, now, is_joining=True)

    def _note_failed_try(self, request: Request, worker: WorkerId, why: Why, now: float) -> None:
        took_s = now - request.tried_at
        request.note_failed_try(worker, why, took_s)
        self._actions.append(TryFailed(worker, request.id, request.attempts, why, took_s))

    # --- how a request ends -------------------------------------------------------------------

    def answer(self, request: Request, worker: WorkerId, reply: WorkerReply) -> None:
        self._close(request, Signal.ANSWERED)
        self._actions.append(Answer(request.id, worker, reply, request.attempts, request.tried))

    def give_up(self, request: Request, now: float) -> None:
        """Refuse it because nobody is left to ask."""
        reason = Reason.EXHAUSTED if request.attempts else Reason.NO_WORKERS
        detail = "marked once: not sent to another worker" if request.is_final else ""
        self.refuse(request, reason, now, detail)

    def refuse(self, request: Request, reason: Reason, now: float, detail: str = "") -> None:
        """End it without an answer. The worker that may be trying it keeps its try."""
        worker = request.worker
        if request.phase is Phase.TRYING and worker is not None:
            self._note_failed_try(request, worker, Why.TIMEOUT, now)
        self._close(request, Signal.REFUSED)
        self._actions.append(
            Refuse(
                request.id,
                reason,
                request.attempts,
                request.tried,
                request.may_have_run,
                self._retry_after_s(reason),
                detail,
            )
        )

    def drop(self, request: Request) -> None:
        """Its client is gone: there is nobody to tell."""
        self._close(request, Signal.CLIENT_GONE)
        self._actions.append(Forget(request.id))

    def _close(self, request: Request, signal: Signal) -> None:
        """The request is over: nothing of it stays but the try that a worker may still hold."""
        if request.id in self.queue:
            self.queue.remove(request)
        was_trying = request.phase is Phase.TRYING
        request.move(signal)
        for alarm in request.alarms():
            self._deadlines.cancel(alarm)
        has_run = signal is Signal.ANSWERED or request.may_have_run or was_trying
        if not has_run:
            self.once_names.forget(request)
        del self._open[request.id]
        self._suspects.forget(request)
        of_client = self._clients[request.client]
        del of_client[request.id]
        if not of_client:
            del self._clients[request.client]

    # --- what newcomers may expect ------------------------------------------------------------

    def note_service(self, took_s: float) -> None:
        """A worker has replied after so long."""
        self._service_s = 0.9 * self._service_s + 0.1 * took_s if self._service_s else took_s

    def _retry_after_s(self, reason: Reason) -> float | None:
        """When a newcomer could expect a free worker, as far as can be told."""
        if reason is Reason.NO_WORKERS:
            return self.limits.revive_grace_s
        if reason in (Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT, Reason.CLIENT_LIMIT):
            waits = (len(self.queue) + 1) * self._service_s / max(1, self._pools.serving())
            return waits or None
        return None


def _costs_budget(request: Request, why: Why) -> bool:
    """Timeouts do, and deaths but a request's first: one worker's death must never cost an answer,
    however many other requests killed theirs lately."""
    return why is Why.TIMEOUT or (why is Why.DIED and request.strikes > 1)
