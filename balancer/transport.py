"""All sockets of the balancer on one epoll: what arrives becomes events, actions become frames.

The cost of a turn does not grow with the number of idle workers: descriptors are registered once
and only those that are ready are looked at. A ZMQ descriptor tells of changes, not of a state, and
any send or receive may swallow the news (zmq_getsockopt(3), ZMQ_FD); so every socket that was
used is looked at once more before the loop sleeps.
"""

import heapq
import selectors
import time
from collections.abc import Callable, Iterable
from itertools import count

import zmq

from balancer.core.events import (
    Action,
    Answer,
    Event,
    Forget,
    Forward,
    Outcome,
    Refuse,
    Released,
    ReplyArrived,
    WorkerId,
    WorkerLost,
    WorkerReply,
)
from balancer.core.limits import Limits
from balancer.endpoints import Endpoint, Endpoints
from balancer.frontend import Frontend
from balancer.link import Link
from balancer.wire import tasks

NO_DESCRIPTORS_PAUSE_S = 5.0
STALL_S = 0.02
"""So late a look at the clock is our own fault: what arrived meanwhile is read before it counts."""
SETTLE_S = 0.02
"""How long nothing must arrive after a stall: libzmq's thread may have been paused with us."""
SETTLE_TURNS_MAX = 50
EXIT_GRACE_S = 0.05
"""How long after a worker's exit its connection may take to end: its last reply comes first.
Longer means that somebody else, a child of it, still holds the connection."""


class Transport:
    """Owned by one thread. ``selector`` is open to others, with a callback as each key's data."""

    def __init__(
        self,
        limits: Limits,
        boot: str,
        sockets_max: int,
        *,
        life: str = "",
        tell_once: Callable[[bytes], bool] = lambda name: True,
    ) -> None:
        """``tell_once`` gets the name of a ``once`` request before any worker gets the request,
        which no worker does where the result is False."""
        self._limits = limits
        self._boot = boot
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._context.max_sockets = sockets_max
        self.selector = selectors.DefaultSelector()
        self.frontend = Frontend(self._context, limits, life)
        self._tell_once = tell_once
        self._links: dict[WorkerId, Link] = {}
        self.endpoints = Endpoints(self._dial_endpoint, self._is_linked, self._after)
        self._numbers = count(1)
        self._events: list[Event] = []
        self._touched: dict[Link, None] = {}
        self._read_frontend_again = False
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        for descriptor in self.frontend.filenos():
            self.selector.register(descriptor, selectors.EVENT_READ, self._read_frontend)

    # --- the way in -----------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Let the next ``poll`` return this event too."""
        self._events.append(event)

    def poll(self, until: float | None) -> list[Event]:
        """What has happened; waits for something to happen, at the longest until that instant.

        Whoever lets dates pass after this call has seen all that arrived before them: a worker
        that replied in time is not late because we were (SIGSTOP, a loaded machine).
        """
        self._read_touched()
        self._read_ready(self._patience_s(until))
        if until is not None and time.monotonic() > until + STALL_S:
            self._catch_up()
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        events, self._events = self._events, []
        return events

    def _read_ready(self, patience_s: float | None) -> bool:
        ready = self.selector.select(patience_s)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _catch_up(self) -> None:
        for _ in range(SETTLE_TURNS_MAX):
            self._read_touched()
            if not self._read_ready(SETTLE_S):
                return

    def _patience_s(self, until: float | None) -> float | None:
        if self._events or self._read_frontend_again:
            return 0.0
        if self._later and (until is None or self._later[0][0] < until):
            until = self._later[0][0]
        return None if until is None else max(0.0, until - time.monotonic())

    def _read_touched(self) -> None:
        touched, self._touched = self._touched, {}
        for link in touched:
            self._read_link(link)
        if self._read_frontend_again:
            self._read_frontend()

    def _read_frontend(self) -> None:
        self._read_frontend_again = self.frontend.read(self.emit)

    def _read_link(self, link: Link) -> None:
        if self._links.get(link.worker) is not link:
            return  # closed since it was seen to be ready
        for event in link.read():
            self._events.append(event)
            if isinstance(event, WorkerLost):
                self._close(link)

    # --- the way out ----------------------------------------------------------------------------

    def perform(self, actions: Iterable[Action]) -> None:
        """Do what the core decided. Actions that only tell of something are nobody's work here."""
        for action in actions:
            match action:
                case Forward():
                    self._forward(action)
                case Answer():
                    self.frontend.answer(action)
                    self._read_frontend_again = True
                case Refuse():
                    self.frontend.refuse(action)
                    self._read_frontend_again = True
                case Forget(request):
                    self.frontend.forget(request)
                case Released(worker) if worker in self._links:
                    self._close(self._links[worker])
                case _:
                    pass

    def request_name(self, request: int) -> str:
        """The request's name in logs and for workers; no other balancer process gives it."""
        return f"{self._boot}-{request}"

    def _forward(self, action: Forward) -> None:
        once_name = self.frontend.once_name(action.request)
        if once_name is not None and not self._tell_once(once_name):
            # As if the worker had said that it is too late: it is free, and nothing has run.
            self.emit(ReplyArrived(action.worker, WorkerReply(Outcome.EXPIRED)))
            return
        link = self._links.get(action.worker)
        frames = tasks.encode_task(
            self.request_name(action.request),
            action.attempt,
            action.remaining_s,
            action.expires_at if link is not None and link.is_ours else None,
            self.frontend.payload(action.request),
        )
        if link is not None and link.send(frames):
            self._touched[link] = None
        else:
            self.emit(WorkerLost(action.worker, "it was gone already", undelivered=True))
            if link is not None:
                self._touched[link] = None

    # --- links ----------------------------------------------------------------------------------

    def dial(
        self,
        worker: WorkerId,
        address: str,
        *,
        is_ours: bool,
        must_ping: bool,
        beside_older: bool = False,
    ) -> None:
        """Open a link; WorkerConnected and WorkerReady follow, or WorkerLost."""
        try:
            link = Link(
                self._context,
                worker,
                address,
                is_ours=is_ours,
                must_ping=must_ping,
                beside_older=beside_older,
                max_body_bytes=self._limits.max_body_bytes,
            )
        except zmq.ZMQError:
            # Out of descriptors, which may pass: clients have them, and clients leave.
            self._after(
                NO_DESCRIPTORS_PAUSE_S,
                lambda: self.dial(
                    worker,
                    address,
                    is_ours=is_ours,
                    must_ping=must_ping,
                    beside_older=beside_older,
                ),
            )
            return
        self._links[worker] = link
        for descriptor in link.filenos():
            self.selector.register(descriptor, selectors.EVENT_READ, lambda: self._read_link(link))
        self._touched[link] = None

    def note_exit(self, worker: WorkerId, cause: str) -> None:
        """The launcher saw the worker's process end: its link has little time left to agree."""

        def give_up() -> None:
            link = self._links.get(worker)
            if link is not None:
                self._read_link(link)
            if self._links.get(worker) is link and link is not None:
                self.emit(WorkerLost(worker, cause))
                self._close(link)

        self._after(EXIT_GRACE_S, give_up)

    def _dial_endpoint(self, worker: WorkerId, endpoint: Endpoint) -> None:
        self.dial(
            worker,
            endpoint.address,
            is_ours=False,
            must_ping=endpoint.probe,
            beside_older=endpoint.follows_another,
        )

    def _is_linked(self, address: str) -> bool:
        return any(link.address == address for link in self._links.values())

    def _close(self, link: Link) -> None:
        del self._links[link.worker]
        for descriptor in link.filenos():
            self.selector.unregister(descriptor)
        link.close()
        self.endpoints.note_closed(link.worker)

    def _after(self, delay_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._numbers), what))

    def close(self) -> None:
        """Replies on their way get half a second; nothing else is waited for."""
        self.endpoints.clear()
        for link in list(self._links.values()):
            self._close(link)
        self.frontend.close()
        self.selector.close()
        self._context.term()
