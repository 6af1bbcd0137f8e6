"""The way in and out of the core: ``step(event, now)`` and ``expire(now)`` say what to do.

The only way in is an event, the only way out a list of actions to perform in order. This file
knows what an event means for workers; what it means for requests is in ``requests``.
"""

from collections.abc import Callable, Iterable
from typing import Any

from balancer.core import events as ev
from balancer.core.deadlines import Alarm, Deadlines
from balancer.core.events import Action, Event, Outcome, Reason, Why
from balancer.core.limits import Limits
from balancer.core.pool import Held, Member, Pools, Signal, State
from balancer.core.queue import Queue
from balancer.core.requests import Requests

_FAILURES = {Outcome.EMPTY: Why.EMPTY, Outcome.GARBLED: Why.GARBLED}


class Dispatcher:
    """Not thread-safe; time must not run backwards. Perform the actions before the next event."""

    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        self.pools = Pools(iter(pools))
        self.is_draining = False
        self._limits = limits
        self._deadlines = Deadlines()
        self._drain_alarm: Alarm | None = None
        self._actions: list[Action] = []
        self._requests = Requests(limits, self.pools, self._deadlines, self._actions)
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

    # --- the way in and out -------------------------------------------------------------------

    def step(self, event: Event, now: float) -> list[Action]:
        """What to do because of this event."""
        self._handlers[type(event)](event, now)
        return self._take_actions()

    def expire(self, now: float) -> list[Action]:
        """What to do because of the time: one due date after another, each may cancel the next."""
        while (event := self._deadlines.pop_due(now)) is not None:
            self._handlers[type(event)](event, now)
        return self._take_actions()

    def next_deadline(self) -> float | None:
        """The instant at which ``expire`` has something to do, or None."""
        return self._deadlines.next()

    @property
    def drained(self) -> bool:
        """Nothing new is taken and everything accepted has its answer."""
        return self.is_draining and not self._requests

    @property
    def open_requests(self) -> int:
        return len(self._requests)

    @property
    def queue(self) -> Queue:
        return self._requests.queue

    def _take_actions(self) -> list[Action]:
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    # --- requests and their clients -----------------------------------------------------------

    def _on_request_arrived(self, event: ev.RequestArrived, now: float) -> None:
        self._requests.accept(event, now, is_draining=self.is_draining)

    def _on_request_unreadable(self, event: ev.RequestUnreadable, now: float) -> None:
        self._actions.append(ev.Refuse(event.request, Reason.MALFORMED, detail=event.error))

    def _on_client_gone(self, event: ev.ClientGone, now: float) -> None:
        for request in self._requests.of(event.client):
            self._requests.drop(request)

    def _on_deadline_passed(self, event: ev.DeadlinePassed, now: float) -> None:
        self._refuse(event.request, Reason.DEADLINE, now)

    def _on_queue_timed_out(self, event: ev.QueueTimedOut, now: float) -> None:
        self._refuse(event.request, Reason.QUEUE_TIMEOUT, now)

    def _on_grace_ended(self, event: ev.GraceEnded, now: float) -> None:
        request = self._requests.find(event.request)
        assert request is not None
        self._requests.give_up(request, now)

    def _refuse(self, id: ev.RequestId, reason: Reason, now: float) -> None:
        request = self._requests.find(id)
        assert request is not None
        self._requests.refuse(request, reason, now)

    # --- workers come and go ------------------------------------------------------------------

    def _on_slot_added(self, event: ev.SlotAdded, now: float) -> None:
        self.pools.add(event.slot, event.pool, is_ours=event.is_ours)

    def _on_slot_removed(self, event: ev.SlotRemoved, now: float) -> None:
        member = self.pools.remove(event.slot)
        if member is not None:
            self._settle_lost(member, Why.DIED, now)

    def _on_worker_connected(self, event: ev.WorkerConnected, now: float) -> None:
        older = self.pools.predecessor(event.worker)
        if older is not None:
            # A slot holds one process: this one lives, so the other is dead, told or not yet.
            self._on_worker_lost(ev.WorkerLost(older.worker), now)
        member = self.pools.vacant(event.worker)
        if member is None:
            return
        member.worker = event.worker
        self.pools.move(member, Signal.CONNECTED)
        if member.is_ours:
            patience_s = self._limits.try_timeout_s + self._limits.hang_kill_after_s
            member.alarm = self._deadlines.set(now + patience_s, ev.HangConfirmed(event.worker))
        self._requests.place_all(now)

    def _on_worker_ready(self, event: ev.WorkerReady, now: float) -> None:
        member = self.pools.find(event.worker)
        if member is None or member.state is not State.CONNECTING:
            return
        self._deadlines.cancel(member.alarm)
        self.pools.move(member, Signal.READY)
        self._requests.place_all(now)

    def _on_worker_lost(self, event: ev.WorkerLost, now: float) -> None:
        member = self.pools.find(event.worker)
        if member is not None:
            self.pools.move(member, Signal.LOST)
            self._settle_lost(member, Why.UNDELIVERED if event.undelivered else Why.DIED, now)

    def _settle_lost(self, member: Member, why: Why, now: float) -> None:
        """The worker is out of the pool already: see to its request, then to those who wait."""
        self._deadlines.cancel(member.alarm)
        held = self._release(member)
        request = self._requests.tried_by(member.worker, held)
        if request is not None and held is not None:
            self._requests.fail_try(request, member, why, now - held.started_at, now)
        self._requests.place_all(now)

    def _release(self, member: Member) -> Held | None:
        held, member.held = member.held, None
        if held is not None:
            self._deadlines.cancel(held.alarm)
        return held

    # --- workers reply, or do not -------------------------------------------------------------

    def _on_reply_arrived(self, event: ev.ReplyArrived, now: float) -> None:
        member = self.pools.find(event.worker)
        held = self._release(member) if member is not None else None
        if member is None or held is None:
            return
        was_overdue = member.state is State.OVERDUE
        self.pools.move(member, Signal.REPLIED)
        self._requests.note_service(now - held.started_at)
        self._settle_reply(member, held, event.reply, now)
        if was_overdue:
            self._requests.place_all(now)
        else:
            self._requests.serve(member, now)

    def _settle_reply(self, member: Member, held: Held, reply: ev.WorkerReply, now: float) -> None:
        """Give the reply to its request, if that is still open: late or not, it is the answer."""
        request = self._requests.find(held.request)
        if request is not None and reply.outcome is Outcome.ANSWER:
            self._requests.answer(request, member.worker, reply)
        elif request is not None and self._requests.tried_by(member.worker, held) is request:
            if reply.outcome is Outcome.EXPIRED:
                request.excluded |= {member.slot}
            why = _FAILURES.get(reply.outcome, Why.UNDELIVERED)
            self._requests.fail_try(request, member, why, now - held.started_at, now)
        else:
            self._actions.append(ev.ReplyDropped(member.worker, held.request))

    def _on_try_timed_out(self, event: ev.TryTimedOut, now: float) -> None:
        member = self.pools.find(event.worker)
        assert member is not None
        held = member.held
        assert held is not None
        self.pools.move(member, Signal.TIMED_OUT)
        if member.is_ours:
            held.alarm = self._deadlines.set(held.give_up_at, ev.HangConfirmed(event.worker))
        request = self._requests.tried_by(event.worker, held)
        if request is not None:
            self._requests.fail_try(request, member, Why.TIMEOUT, now - held.started_at, now)
        self._requests.place_all(now)

    def _on_hang_confirmed(self, event: ev.HangConfirmed, now: float) -> None:
        member = self.pools.find(event.worker)
        assert member is not None
        held = member.held
        self._actions.append(ev.Kill(event.worker, held.request if held is not None else None))
        self.pools.move(member, Signal.LOST)
        self._settle_lost(member, Why.DIED, now)

    # --- drain --------------------------------------------------------------------------------

    def _on_drain_started(self, event: ev.DrainStarted, now: float) -> None:
        self.is_draining = True
        self._deadlines.cancel(self._drain_alarm)
        self._drain_alarm = self._deadlines.set(now + event.timeout_s, ev.DrainTimedOut())

    def _on_drain_timed_out(self, event: ev.DrainTimedOut, now: float) -> None:
        for request in self._requests.all():
            self._requests.refuse(request, Reason.DRAINING, now)
