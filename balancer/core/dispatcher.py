"""The whole life of every request: ``step(event, now)`` and ``expire(now)`` say what to do.

The only way in is an event, the only way out a list of actions to perform in order. Failover is
no special path: a failed try puts its request back at the head of the queue, and ``choose``
decides anew.
"""

from collections.abc import Callable, Iterable
from typing import Any

from balancer.core import events as ev
from balancer.core.deadlines import Deadlines
from balancer.core.events import Action, Event, Outcome, Reason, RequestId, Why, WorkerId
from balancer.core.lifecycle import STRIKES, Phase, Request
from balancer.core.lifecycle import Signal as RequestSignal
from balancer.core.limits import Limits
from balancer.core.policy import GiveUp, RetryBudget, Try, Wait, choose
from balancer.core.pool import Held, Member, Pools, State
from balancer.core.pool import Signal as LinkSignal
from balancer.core.queue import Queue

_FAILURES = {Outcome.EMPTY: Why.EMPTY, Outcome.GARBLED: Why.GARBLED}


class Dispatcher:
    """Not thread-safe; time must not run backwards. Perform the actions before the next event."""

    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        self._limits = limits
        self.pools = Pools(iter(pools))
        self.queue = Queue()
        self.is_draining = False
        self._open: dict[RequestId, Request] = {}
        self._clients: dict[ev.ClientId, dict[RequestId, Request]] = {}
        self._deadlines = Deadlines()
        self._drain_alarm: Any = None
        self._budget = RetryBudget(
            limits.retry_budget, limits.retry_budget_per_worker, limits.retry_budget_window_s
        )
        self._service_s = 0.0
        """A moving mean of how long workers take to reply; 0 until the first reply."""
        self._actions: list[Action] = []
        self._handlers: dict[type[Event], Callable[[Any, float], None]] = {
            ev.RequestArrived: self._on_request_arrived,
            ev.RequestUnreadable: self._on_request_unreadable,
            ev.ClientGone: self._on_client_gone,
            ev.SlotAdded: self._on_slot_added,
            ev.SlotRemoved: self._on_slot_removed,
            ev.WorkerConnected: self._on_worker_connected,
            ev.WorkerReady: self._on_worker_ready,
            ev.WorkerLost: self._on_worker_lost,
            ev.ReplyArrived: self._on_reply_arrived,
            ev.DrainStarted: self._on_drain_started,
            ev.DeadlinePassed: self._on_deadline_passed,
            ev.QueueTimedOut: self._on_queue_timed_out,
            ev.GraceEnded: self._on_grace_ended,
            ev.TryTimedOut: self._on_try_timed_out,
            ev.HangConfirmed: self._on_hang_confirmed,
            ev.DrainTimedOut: self._on_drain_timed_out,
        }

    # --- the way in ---------------------------------------------------------------------------

    def step(self, event: Event, now: float) -> list[Action]:
        """What to do because of this event."""
        self._handlers[type(event)](event, now)
        actions, self._actions = self._actions, []
        return actions

    def expire(self, now: float) -> list[Action]:
        """What to do because of the time: one due date after another, each may cancel the next."""
        while (event := self._deadlines.pop_due(now)) is not None:
            self._handlers[type(event)](event, now)
        actions, self._actions = self._actions, []
        return actions

    def next_deadline(self) -> float | None:
        """The instant at which ``expire`` has something to do, or None."""
        return self._deadlines.next()

    @property
    def drained(self) -> bool:
        """Nothing new is taken and everything accepted has its answer."""
        return self.is_draining and not self._open

    @property
    def open_requests(self) -> int:
        return len(self._open)

    # --- clients ------------------------------------------------------------------------------

    def _on_request_arrived(self, event: ev.RequestArrived, now: float) -> None:
        limits = self._limits
        if (reason := self._admission(event)) is not None:
            self._actions.append(
                ev.Refuse(event.request, reason, retry_after_s=self._retry_after_s(reason))
            )
            return
        timeout_s = limits.deadline_s if event.timeout_s is None else event.timeout_s
        try_timeout_s = event.try_timeout_s or limits.try_timeout_s
        request = Request(event, now + min(timeout_s, limits.deadline_max_s), try_timeout_s)
        self._open[request.id] = request
        self._clients.setdefault(request.client, {})[request.id] = request
        request.deadline_alarm = self._deadlines.set(
            request.deadline, ev.DeadlinePassed(request.id)
        )
        self._place(request, now, is_new=True)

    def _admission(self, event: ev.RequestArrived) -> Reason | None:
        """The reason to turn the request away at the door, or None."""
        if event.size_bytes > self._limits.max_body_bytes:
            return Reason.TOO_LARGE
        if self.is_draining:
            return Reason.DRAINING
        if len(self._clients.get(event.client, ())) >= self._limits.client_limit:
            return Reason.CLIENT_LIMIT
        return None

    def _on_request_unreadable(self, event: ev.RequestUnreadable, now: float) -> None:
        self._actions.append(ev.Refuse(event.request, Reason.MALFORMED, detail=event.error))

    def _on_client_gone(self, event: ev.ClientGone, now: float) -> None:
        for request in list(self._clients.get(event.client, {}).values()):
            self._close(request, RequestSignal.CLIENT_GONE)
            self._actions.append(ev.Forget(request.id))

    def _on_deadline_passed(self, event: ev.DeadlinePassed, now: float) -> None:
        self._refuse(self._open[event.request], Reason.DEADLINE, now)

    def _on_queue_timed_out(self, event: ev.QueueTimedOut, now: float) -> None:
        self._refuse(self._open[event.request], Reason.QUEUE_TIMEOUT, now)

    def _on_grace_ended(self, event: ev.GraceEnded, now: float) -> None:
        self._give_up(self._open[event.request], now)

    # --- workers ------------------------------------------------------------------------------

    def _on_slot_added(self, event: ev.SlotAdded, now: float) -> None:
        self.pools.add(event.slot, event.pool)

    def _on_slot_removed(self, event: ev.SlotRemoved, now: float) -> None:
        member = self.pools.remove(event.slot)
        if member is not None:
            self._settle_lost(member, Why.DIED, now)

    def _on_worker_connected(self, event: ev.WorkerConnected, now: float) -> None:
        member = self.pools.vacant(event.worker)
        if member is None:
            return
        member.worker = event.worker
        self.pools.move(member, LinkSignal.CONNECTED)
        patience_s = self._limits.try_timeout_s + self._limits.hang_kill_after_s
        member.alarm = self._deadlines.set(now + patience_s, ev.HangConfirmed(event.worker))
        self._place_all(now)

    def _on_worker_ready(self, event: ev.WorkerReady, now: float) -> None:
        member = self.pools.find(event.worker)
        if member is None or member.state is not State.CONNECTING:
            return
        self._deadlines.cancel(member.alarm)
        self.pools.move(member, LinkSignal.READY)
        self._place_all(now)

    def _on_worker_lost(self, event: ev.WorkerLost, now: float) -> None:
        member = self.pools.find(event.worker)
        if member is not None:
            self.pools.move(member, LinkSignal.LOST)
            self._settle_lost(member, Why.UNDELIVERED if event.undelivered else Why.DIED, now)

    def _settle_lost(self, member: Member, why: Why, now: float) -> None:
        """The worker is out of the pool already: see to its request, then to those who wait."""
        self._deadlines.cancel(member.alarm)
        held = self._release(member)
        request = self._request_tried_by(member.worker, held)
        if request is not None and held is not None:
            self._fail_try(request, member, why, now - held.started_at, now)
        self._place_all(now)

    def _on_reply_arrived(self, event: ev.ReplyArrived, now: float) -> None:
        member = self.pools.find(event.worker)
        held = self._release(member) if member is not None else None
        if member is None or held is None:
            return
        was_overdue = member.state is State.OVERDUE
        took_s = now - held.started_at
        self._service_s = 0.9 * self._service_s + 0.1 * took_s if self._service_s else took_s
        self.pools.move(member, LinkSignal.REPLIED)
        self._settle_reply(member, held, event.reply, now)
        if was_overdue:
            self._place_all(now)
        elif member.state is State.IDLE:
            self._serve(member, now)

    def _settle_reply(self, member: Member, held: Held, reply: ev.WorkerReply, now: float) -> None:
        """Give the reply to its request, if that is still open: late or not, it is the answer."""
        request = self._open.get(held.request)
        is_current = self._request_tried_by(member.worker, held) is not None
        if request is not None and reply.outcome is Outcome.ANSWER:
            self._close(request, RequestSignal.ANSWERED)
            self._actions.append(
                ev.Answer(request.id, member.worker, reply, request.attempts, request.tried)
            )
        elif request is not None and is_current:
            if reply.outcome is Outcome.EXPIRED:
                request.excluded |= {member.slot}
            why = _FAILURES.get(reply.outcome, Why.UNDELIVERED)
            self._fail_try(request, member, why, now - held.started_at, now)
        else:
            self._actions.append(ev.ReplyDropped(member.worker, held.request))

    def _on_try_timed_out(self, event: ev.TryTimedOut, now: float) -> None:
        member = self.pools.find(event.worker)
        assert member is not None
        held = member.held
        assert held is not None
        self.pools.move(member, LinkSignal.TIMED_OUT)
        held.alarm = self._deadlines.set(
            max(now, held.started_at + held.patience_s), ev.HangConfirmed(event.worker)
        )
        request = self._request_tried_by(event.worker, held)
        if request is not None:
            self._fail_try(request, member, Why.TIMEOUT, now - held.started_at, now)
        self._place_all(now)

    def _on_hang_confirmed(self, event: ev.HangConfirmed, now: float) -> None:
        member = self.pools.find(event.worker)
        assert member is not None
        held = member.held
        self._actions.append(ev.Kill(event.worker, held.request if held is not None else None))

    def _release(self, member: Member) -> Held | None:
        held, member.held = member.held, None
        if held is not None:
            self._deadlines.cancel(held.alarm)
        return held

    def _request_tried_by(self, worker: WorkerId, held: Held | None) -> Request | None:
        """The request that waits for just this try; None if it has moved on or is over."""
        request = self._open.get(held.request) if held is not None else None
        return request if request is not None and request.worker == worker else None

    # --- drain --------------------------------------------------------------------------------

    def _on_drain_started(self, event: ev.DrainStarted, now: float) -> None:
        self.is_draining = True
        self._deadlines.cancel(self._drain_alarm)
        self._drain_alarm = self._deadlines.set(now + event.timeout_s, ev.DrainTimedOut())

    def _on_drain_timed_out(self, event: ev.DrainTimedOut, now: float) -> None:
        for request in list(self._open.values()):
            self._refuse(request, Reason.DRAINING, now)

    # --- where a request goes from here -------------------------------------------------------

    def _place(
        self, request: Request, now: float, *, is_new: bool = False, at_head: bool = False
    ) -> None:
        """Forward the request, or let it wait, or give it up. It is in no line yet."""
        match choose(request, self.pools):
            case Try(member):
                self._forward(request, member, now)
            case Wait() if is_new and not self._has_room_for(request):
                self._refuse(request, Reason.QUEUE_FULL, now)
            case Wait() as wait:
                self.queue.add(request, wait.pool, at_head=at_head)
                self._watch_wait(request, wait, now)
            case GiveUp():
                self._give_up(request, now)

    def _place_all(self, now: float) -> None:
        """A worker's coming or going may change where each waiting request belongs."""
        for request in self.queue.take_all():
            self._place(request, now)

    def _has_room_for(self, request: Request) -> bool:
        limits, queue = self._limits, self.queue
        return (
            len(queue) < limits.queue_limit
            and queue.size_bytes + request.size_bytes <= limits.queue_limit_bytes
        )

    def _watch_wait(self, request: Request, wait: Wait, now: float) -> None:
        """Set the dates that end this wait, beside the deadline."""
        if wait.pool is not None or wait.is_alive:
            self._deadlines.cancel(request.grace_alarm)
            request.grace_alarm = None
        elif request.grace_alarm is None:
            request.grace_alarm = self._deadlines.set(
                now + self._limits.revive_grace_s, ev.GraceEnded(request.id)
            )
        queue_timeout_s = self._limits.queue_timeout_s
        if queue_timeout_s is not None and not request.attempts and request.queue_alarm is None:
            request.queue_alarm = self._deadlines.set(
                now + queue_timeout_s, ev.QueueTimedOut(request.id)
            )

    def _serve(self, member: Member, now: float) -> None:
        """Give the free worker what waits for it; a request that can't finish makes room."""
        while member.state is State.IDLE:
            request = self.queue.first_for(member)
            if request is None:
                return
            self.queue.remove(request)
            self._forward(request, member, now)

    def _forward(self, request: Request, member: Member, now: float) -> None:
        remaining_s = request.deadline - now
        if remaining_s < self._limits.try_start_min_s:
            self._refuse(request, Reason.DEADLINE, now)
            return
        self._deadlines.cancel(request.queue_alarm)
        self._deadlines.cancel(request.grace_alarm)
        request.queue_alarm = request.grace_alarm = None
        request.forwarded_to(member.worker)
        if request.attempts == 1:
            self._budget.note_first_try(now)
        own_s = self._limits.try_timeout_s
        # A wish for longer tries ends with the request, or a hung worker would be held for ever.
        times_out_at = min(now + request.try_timeout_s, max(request.deadline, now + own_s))
        # A client's impatience is no reason to kill a worker: it has at least our own patience.
        patience_s = max(times_out_at - now, own_s) + self._limits.hang_kill_after_s
        alarm = self._deadlines.set(times_out_at, ev.TryTimedOut(member.worker, request.id))
        member.held = Held(request.id, request.attempts, now, patience_s, alarm)
        self.pools.move(member, LinkSignal.FORWARDED)
        expires_at = min(request.deadline, times_out_at)
        self._actions.append(
            ev.Forward(member.worker, request.id, request.attempts, remaining_s, expires_at)
        )

    def _fail_try(
        self, request: Request, member: Member, why: Why, took_s: float, now: float
    ) -> None:
        """End the request's current try; go on with the next worker, or stop here."""
        request.move(RequestSignal.TRY_FAILED)
        self._note_failed_try(request, member.worker, why, took_s)
        if why is Why.EMPTY and self._limits.on_empty_next_pool:
            request.excluded |= frozenset(member.pool.members)
        if isinstance(choose(request, self.pools), GiveUp):
            self._give_up(request, now)
        elif request.strikes >= self._limits.strikes:
            self._refuse(request, Reason.POISONED, now)
        elif why in STRIKES and not self._budget.spend(now, len(self.pools)):
            self._refuse(request, Reason.RETRY_BUDGET, now)
        else:
            self._place(request, now, at_head=True)

    def _note_failed_try(self, request: Request, worker: WorkerId, why: Why, took_s: float) -> None:
        request.note_failed_try(worker, why, took_s)
        self._actions.append(ev.TryFailed(worker, request.id, request.attempts, why, took_s))

    # --- how a request ends -------------------------------------------------------------------

    def _give_up(self, request: Request, now: float) -> None:
        self._refuse(request, Reason.EXHAUSTED if request.attempts else Reason.NO_WORKERS, now)

    def _refuse(self, request: Request, reason: Reason, now: float) -> None:
        worker = request.worker
        if request.phase is Phase.TRYING and worker is not None:
            member = self.pools.find(worker)
            assert member is not None
            assert member.held is not None
            self._note_failed_try(request, worker, Why.TIMEOUT, now - member.held.started_at)
        self._close(request, RequestSignal.REFUSED)
        self._actions.append(
            ev.Refuse(
                request.id,
                reason,
                request.attempts,
                request.tried,
                request.may_have_run,
                self._retry_after_s(reason),
            )
        )

    def _close(self, request: Request, signal: RequestSignal) -> None:
        """The request is over: nothing of it stays but the try that a worker may still hold."""
        if request.id in self.queue:
            self.queue.remove(request)
        request.move(signal)
        for alarm in request.alarms():
            self._deadlines.cancel(alarm)
        del self._open[request.id]
        of_client = self._clients[request.client]
        del of_client[request.id]
        if not of_client:
            del self._clients[request.client]

    def _retry_after_s(self, reason: Reason) -> float | None:
        """When a newcomer could expect a free worker, as far as can be told."""
        if reason is Reason.NO_WORKERS:
            return self._limits.revive_grace_s
        if reason in (Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT, Reason.CLIENT_LIMIT):
            waits = (len(self.queue) + 1) * self._service_s / max(1, self.pools.serving())
            return waits or None
        return None
