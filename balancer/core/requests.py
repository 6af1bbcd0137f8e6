"""All open requests: each is taken in, or turned away at the door, and ended exactly once."""

from collections.abc import Callable

from balancer.core.deadlines import Deadlines
from balancer.core.events import (
    Action,
    Answer,
    ClientId,
    Forget,
    Reason,
    Refuse,
    RequestArrived,
    RequestId,
    TryFailed,
    Why,
    WorkerId,
    WorkerReply,
)
from balancer.core.lifecycle import Phase, Request, Signal
from balancer.core.limits import Limits
from balancer.core.once import OnceNames
from balancer.core.pool import Held, Pools
from balancer.core.queue import Queue
from balancer.core.suspects import Suspects

# What every request asks for: until Python 3.12 a member's look-up costs ten times a name's.
_TRYING, _ANSWERED = Phase.TRYING, Signal.ANSWERED


class Requests:
    """Writes what is to be done into ``actions``, in order."""

    def __init__(self, limits: Limits, pools: Pools, actions: list[Action]) -> None:
        self.queue = Queue()
        self.limits = limits
        self.is_draining = False
        """Nothing new is taken in."""
        self._pools = pools
        self._actions = actions
        self._open: dict[RequestId, Request] = {}
        self.find: Callable[[RequestId], Request | None] = self._open.get
        """The request if it is still open."""
        self.deadlines = Deadlines(self._open)
        self._clients: dict[ClientId, dict[RequestId, Request]] = {}
        self.once_names = OnceNames(limits)
        self.suspects = Suspects(limits, self.deadlines)

    def reconfigure(self, limits: Limits) -> None:
        """Decide by these limits from now on; open requests keep the dates that they have."""
        self.limits = limits
        self.once_names.limits = self.suspects.limits = limits

    def __len__(self) -> int:
        return len(self._open)

    def all(self) -> list[Request]:
        return list(self._open.values())

    def of(self, client: ClientId) -> list[Request]:
        return list(self._clients.get(client, {}).values())

    def tried_by(self, worker: WorkerId, held: Held | None) -> list[Request]:
        """The requests that wait for just this; not those that have moved on or are over."""
        if held is None:
            return []
        requests = map(self._open.get, held.requests)
        return [request for request in requests if request is not None and request.worker == worker]

    # --- how a request begins -----------------------------------------------------------------

    def take_in(self, event: RequestArrived, now: float) -> Request | None:
        """The request, in no line yet; None if it is turned away at the door."""
        limits, of_client = self.limits, self._clients.get(event.client) or {}
        reason: Reason | None = None
        if event.size_bytes > limits.max_body_bytes:
            reason = Reason.TOO_LARGE
        elif self.is_draining:
            reason = Reason.DRAINING
        elif event.once and self.once_names.has(event):
            reason = Reason.DUPLICATE
        elif len(of_client) >= limits.client_limit:
            reason = Reason.CLIENT_LIMIT
        if reason is not None:
            self._turn_away(event, reason, now)
            return None
        timeout_s = limits.deadline_s if event.timeout_s is None else event.timeout_s
        if timeout_s > limits.deadline_max_s:
            timeout_s = limits.deadline_max_s
        deadline = now + timeout_s
        try_timeout_s = event.try_timeout_s or limits.try_timeout_s
        request = Request(event, now, deadline, try_timeout_s)
        self._open[request.id] = of_client[request.id] = request
        self._clients[event.client] = of_client
        if event.once:
            self.once_names.add(request)
        self.deadlines.set_deadline(request.id, deadline)
        return request

    def _turn_away(self, event: RequestArrived, reason: Reason, now: float) -> None:
        refusal = Refuse(
            event.request,
            reason,
            may_have_run=reason is Reason.DUPLICATE,
            retry_after_s=self._retry_after_s(reason),
            arrived_at=now,
        )
        self._actions.append(refusal)

    # --- how a request ends -------------------------------------------------------------------

    def answer(
        self, request: Request, worker: WorkerId, reply: WorkerReply, started_at: float
    ) -> None:
        """The worker, which has had it since ``started_at``, has the answer."""
        self._close(request, _ANSWERED)
        self._actions.append(
            Answer(
                request.id,
                worker,
                reply,
                request.attempts,
                request.tried,
                request.arrived_at,
                started_at,
            )
        )

    def give_up(self, request: Request, now: float) -> None:
        """Refuse it because nobody is left to ask."""
        reason = Reason.EXHAUSTED if request.attempts else Reason.NO_WORKERS
        detail = "marked once: not sent to another worker" if request.is_final else ""
        self.refuse(request, reason, now, detail)

    def refuse(self, request: Request, reason: Reason, now: float, detail: str = "") -> None:
        """End it without an answer. The worker that may be trying it keeps its try."""
        worker = request.worker
        if request.phase is Phase.TRYING and worker is not None:
            self.note_failed_try(request, worker, Why.TIMEOUT, now)
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
                request.arrived_at,
            )
        )

    def drop(self, request: Request) -> None:
        """Its client is gone: there is nobody to tell."""
        self._close(request, Signal.CLIENT_GONE)
        self._actions.append(Forget(request.id, request.arrived_at))

    def _close(self, request: Request, signal: Signal) -> None:
        """The request is over: nothing of it stays but the try that a worker may still hold."""
        was_trying = request.phase is _TRYING
        if not was_trying:
            if request.id in self.queue:
                self.queue.remove(request)
            self.deadlines.cancel(request.queue_alarm)
            self.deadlines.cancel(request.grace_alarm)
        request.move(signal)
        if request.once and not (signal is _ANSWERED or request.may_have_run or was_trying):
            self.once_names.forget(request)
        del self._open[request.id]
        if request.strikes > 1 or request.has_hung:
            self.suspects.forget(request)
        of_client = self._clients[request.client]
        del of_client[request.id]
        if not of_client:
            del self._clients[request.client]

    def note_failed_try(self, request: Request, worker: WorkerId, why: Why, now: float) -> None:
        """Write down how its try ended. The phase is the caller's to move."""
        took_s = now - request.tried_at
        request.note_failed_try(worker, why, took_s)
        self._actions.append(
            TryFailed(worker, request.id, request.attempts, why, took_s, request.arrived_at)
        )

    # --- what newcomers may expect ------------------------------------------------------------

    def _retry_after_s(self, reason: Reason) -> float | None:
        """When a newcomer could expect a free worker, as far as can be told."""
        if reason is Reason.NO_WORKERS:
            return self.limits.revive_grace_s
        if reason in (Reason.QUEUE_FULL, Reason.QUEUE_TIMEOUT, Reason.CLIENT_LIMIT):
            service_s = max((pool.service.mean_s for pool in self._pools), default=0.0)
            waits_s = (len(self.queue) + 1) * service_s / max(1, self._pools.serving())
            return waits_s or None
        return None
