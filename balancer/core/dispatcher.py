"""The way in and out of the core: ``step(event, now)`` and ``expire(now)`` say what to do.

The only way in is an event, the only way out a list of actions to perform in order. What an event
means for requests is in ``arrivals``, ``placing`` and ``requests``, for workers in ``workers``.
"""

from collections.abc import Callable, Iterable
from typing import Any

from balancer.core import events as ev
from balancer.core.arrivals import Arrivals
from balancer.core.deadlines import Alarm
from balancer.core.events import Action, Event, Reason
from balancer.core.lifecycle import Request
from balancer.core.limits import Limits
from balancer.core.placing import Placing
from balancer.core.pool import Pools
from balancer.core.queue import Queue
from balancer.core.requests import Requests
from balancer.core.workers import Workers


class Dispatcher:
    """Not thread-safe; time must not run backwards. Perform the actions before the next event."""

    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        self.pools = Pools(pools)
        self._drain_alarm: Alarm | None = None
        self._actions: list[Action] = []
        self._requests = Requests(limits, self.pools, self._actions)
        self._deadlines = self._requests.deadlines
        self.next_deadline: Callable[[], float | None] = self._deadlines.next
        """The instant at which ``expire`` has something to do, or None."""
        self._placing = Placing(limits, self.pools, self._requests, self._deadlines, self._actions)
        self._workers = workers = Workers(
            limits, self.pools, self._requests, self._placing, self._deadlines, self._actions
        )
        arrivals = Arrivals(self.pools, self._requests, self._placing)
        self._handlers: dict[type[Event], Callable[[Any, float], None]] = {
            ev.RequestArrived: arrivals.accept,
            ev.RequestsArrived: arrivals.accept_all,
            ev.RequestUnreadable: self._on_request_unreadable,
            ev.OnceNamesKnown: self._on_once_names_known,
            ev.ClientGone: self._on_client_gone,
            ev.SlotAdded: self._on_slot_added,
            ev.SlotRemoved: self._on_slot_removed,
            ev.SlotRetired: self._on_slot_retired,
            ev.Reconfigured: self._on_reconfigured,
            ev.WorkerConnected: workers.connected,
            ev.WorkerReady: workers.ready,
            ev.WorkerLost: workers.lost,
            ev.ReplyArrived: workers.replied,
            ev.BatchReplied: workers.batch_replied,
            ev.DrainStarted: self._on_drain_started,
            ev.DeadlinePassed: self._on_deadline_passed,
            ev.QueueTimedOut: self._on_queue_timed_out,
            ev.GraceEnded: self._on_grace_ended,
            ev.WayGiven: self._on_way_given,
            ev.TryTimedOut: workers.try_timed_out,
            ev.HangConfirmed: workers.hang_confirmed,
            ev.EjectionEnded: workers.ejection_ended,
            ev.FillEnded: self._on_fill_ended,
            ev.DrainTimedOut: self._on_drain_timed_out,
        }

    # --- the way in and out -------------------------------------------------------------------

    def step(self, event: Event, now: float) -> list[Action]:
        """What to do because of this event."""
        self._handlers[type(event)](event, now)
        actions = self._actions.copy()
        self._actions.clear()
        return actions

    def expire(self, now: float) -> list[Action]:
        """What to do because of the time: one due date after another, each may cancel the next.
        Where the waiting belong is looked at once, though hundreds of workers may time out."""
        actions: list[Action] = []
        while (event := self._deadlines.pop_due(now)) is not None or self._placing.must_place_all:
            if event is not None:
                actions += self.step(event, now)
            else:
                self._placing.place_all(now)
                actions += self._actions
                self._actions.clear()
        return actions

    @property
    def newcomers_wait(self) -> bool:
        """Nobody is free for a request that arrives now, nor is it refused for a drain."""
        for pool in self.pools.order:
            if pool.idle:
                return False
        return not self._requests.is_draining

    @property
    def is_draining(self) -> bool:
        return self._requests.is_draining

    @property
    def drained(self) -> bool:
        """Nothing new is taken and everything accepted has its answer."""
        return self._requests.is_draining and not self._requests

    @property
    def open_requests(self) -> int:
        return len(self._requests)

    def requests(self) -> list[Request]:
        """The open ones, for reading."""
        return self._requests.all()

    @property
    def queue(self) -> Queue:
        return self._requests.queue

    def retry_budget(self, now: float) -> tuple[int, float]:
        """How many tries after failures were made lately, and how many may be."""
        return self._placing.retry_budget(now)

    # --- requests and their clients -----------------------------------------------------------

    def _on_request_unreadable(self, event: ev.RequestUnreadable, now: float) -> None:
        refusal = ev.Refuse(event.request, Reason.MALFORMED, detail=event.error, arrived_at=now)
        self._actions.append(refusal)

    def _on_once_names_known(self, event: ev.OnceNamesKnown, now: float) -> None:
        self._requests.once_names.learn(event.names)

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

    def _on_way_given(self, event: ev.WayGiven, now: float) -> None:
        request = self._requests.find(event.request)
        assert request is not None
        self._placing.end_way(request, now)

    def _on_fill_ended(self, event: ev.FillEnded, now: float) -> None:
        self._placing.fill_ended(event.pool, now)

    def _refuse(self, id: ev.RequestId, reason: Reason, now: float) -> None:
        request = self._requests.find(id)
        assert request is not None
        self._requests.refuse(request, reason, now)

    # --- what there is to work with ---------------------------------------------------------------

    def _on_slot_added(self, event: ev.SlotAdded, now: float) -> None:
        self.pools.add(event.slot, event.pool, is_ours=event.is_ours)

    def _on_slot_removed(self, event: ev.SlotRemoved, now: float) -> None:
        self._workers.slot_removed(event.slot, now)

    def _on_slot_retired(self, event: ev.SlotRetired, now: float) -> None:
        self._workers.slot_retired(event.slot, now)

    def _on_reconfigured(self, event: ev.Reconfigured, now: float) -> None:
        self._workers.limits = event.limits
        self.pools.arrange(event.pools)
        self._placing.reconfigure(event.limits, now)

    # --- drain --------------------------------------------------------------------------------

    def _on_drain_started(self, event: ev.DrainStarted, now: float) -> None:
        self._requests.is_draining = True
        self._deadlines.cancel(self._drain_alarm)
        self._drain_alarm = self._deadlines.set(now + event.timeout_s, ev.DrainTimedOut())

    def _on_drain_timed_out(self, event: ev.DrainTimedOut, now: float) -> None:
        for request in self._requests.all():
            self._requests.refuse(request, Reason.DRAINING, now)
