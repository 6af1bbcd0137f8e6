"""All sockets of the balancer on one epoll: what arrives becomes events, actions become frames.

The cost of a turn does not grow with the number of idle workers: descriptors are registered once
and only those that are ready are looked at. A ZMQ descriptor tells of changes, not of a state, and
any send or receive may swallow the news (zmq_getsockopt(3), ZMQ_FD); so every socket that was
used is looked at once more before the loop sleeps.
"""

import heapq
import selectors
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import zmq

from balancer.core.events import (
    Action,
    Answer,
    Event,
    Forget,
    Forward,
    ForwardBatch,
    Refuse,
    Released,
    WorkerId,
    WorkerLost,
)
from balancer.core.limits import Limits
from balancer.endpoints import Endpoint, Endpoints
from balancer.frontend import Frontend
from balancer.link import Link
from balancer.outbox import Outbox

NO_DESCRIPTORS_PAUSE_S = 5.0
STALL_S = 0.02
"""So late a look at the clock is our own fault: what arrived meanwhile is read before it counts."""
SETTLE_S = 0.02
"""How long nothing must arrive after a stall: libzmq's thread may have been paused with us."""
SETTLE_MAX_S = 0.04
"""And so long at most, whatever arrives: what is due waits for it, and promises are 50 ms wide."""
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
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._context.max_sockets = sockets_max
        self.selector = selectors.DefaultSelector()
        self.frontend = Frontend(self._context, limits, life)
        self._links: dict[WorkerId, Link] = {}
        self.endpoints = Endpoints(self._dial_endpoint, self._is_linked, self._after)
        self._numbers = count(1)
        self._events: list[Event] = []
        self._replying: list[Link] = []
        """Whose descriptor told of a reply."""
        self._touched: dict[Link, None] = {}
        """Who may have more to tell than a reply."""
        self._must_read_frontend = False
        self._outbox = Outbox(
            self.frontend, self._links, boot, tell_once, self.emit, self._note_undelivered
        )
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._performers: dict[type[Action], Callable[[Any], None]] = {
            Forward: self._outbox.forward,
            ForwardBatch: self._outbox.forward_batch,
            Answer: self.frontend.answer,
            Refuse: self.frontend.refuse,
            Forget: self.frontend.forget,
            Released: self._release,
        }
        messages, clients = self.frontend.filenos()
        self.selector.register(messages, selectors.EVENT_READ, self._on_requests)
        self.selector.register(
            clients, selectors.EVENT_READ, lambda: self.frontend.watch(self.emit)
        )

    # --- the way in -----------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Let the next ``poll`` return this event too."""
        self._events.append(event)

    def poll(self, until: float | None) -> Iterator[Event]:
        """What has happened; waits for something to happen, at the longest until that instant.

        Perform what follows from an event before the next is asked for. Whoever lets dates pass
        when all have come has seen all that arrived before them: a worker that replied in time
        is not late because we were (SIGSTOP, a loaded machine).
        """
        self.flush()
        self._look(self._patience_s(until))
        yield from self._news()
        if until is not None and time.monotonic() > until + STALL_S:
            yield from self._settle()
        self.flush()
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        yield from self._take_emitted()

    def _settle(self) -> Iterator[Event]:
        """Read what arrived during a stall, until nothing comes any more or the time is up."""
        end = time.monotonic() + SETTLE_MAX_S
        while (now := time.monotonic()) < end:
            self.flush()
            has_more = self._has_more()
            if not self._look(0.0 if has_more else min(SETTLE_S, end - now)) and not has_more:
                break
            yield from self._news()

    def _look(self, patience_s: float | None) -> bool:
        """Which sockets have something to read: the deaths that they tell of are known from now
        on, everything else is read as ``_news``."""
        ready = self.selector.select(patience_s)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _news(self) -> Iterator[Event]:
        """Replies before requests: they free workers, and after the last answer was sent nothing
        need be read once more."""
        yield from self._take_emitted()
        links, self._replying = self._replying, []
        for link in links:
            if self._links.get(link.worker) is link:  # not closed since it was seen to be ready
                event = link.read_reply()
                if event is not None:
                    yield event
                else:
                    self._touched[link] = None
        # Before deaths are told: what was decided for a dead worker just now certainly never left.
        self.flush()
        touched, self._touched = self._touched, {}
        for link in touched:
            self._read_link(link)
        yield from self._take_emitted()
        self.flush()
        if self._must_read_frontend:
            self._must_read_frontend = self.frontend.read(self._events.append)
            yield from self._take_emitted()

    def _take_emitted(self) -> Iterator[Event]:
        events, self._events = self._events, []
        return iter(events)

    def _has_more(self) -> bool:
        """Whether there is something to do that no descriptor will tell of."""
        if self._must_read_frontend and not self.frontend.has_message():
            self._must_read_frontend = False
        return bool(self._events or self._touched or self._must_read_frontend)

    def _patience_s(self, until: float | None) -> float | None:
        if self._has_more():
            return 0.0
        if self._later and (until is None or self._later[0][0] < until):
            until = self._later[0][0]
        return None if until is None else max(0.0, until - time.monotonic())

    def _on_requests(self) -> None:
        self._must_read_frontend = True

    def _read_link(self, link: Link) -> None:
        if self._links.get(link.worker) is not link:
            return  # closed since it was seen to be ready
        for event in link.read():
            self._events.append(event)
            if isinstance(event, WorkerLost):
                self._close(link)

    # --- the way out ----------------------------------------------------------------------------

    def tell_of(self, kind: type[Action], callback: Callable[[Any], None]) -> None:
        """Call back for every action of this kind, too, after it was performed."""
        perform = self._performers.get(kind, lambda action: None)

        def perform_and_tell(action: Action) -> None:
            perform(action)
            callback(action)

        self._performers[kind] = perform_and_tell

    def perform(self, actions: Iterable[Action]) -> None:
        """Do what the core decided; messages leave with the next ``poll`` or ``flush``. Actions
        that only tell of something are nobody's work here."""
        for action in actions:
            perform = self._performers.get(type(action))
            if perform is not None:
                perform(action)

    def _release(self, action: Released) -> None:
        link = self._links.get(action.worker)
        if link is not None:
            self._close(link)

    def request_name(self, request: int) -> str:
        """The request's name in logs and for workers; no other balancer process gives it."""
        return self._outbox.request_name(request)

    def flush(self) -> None:
        """Send what was performed since the last time, as ``poll`` does."""
        self._outbox.flush()
        if self.frontend.flush():
            self._must_read_frontend = True

    def _note_undelivered(self, worker: WorkerId, link: Link | None) -> None:
        self.emit(WorkerLost(worker, "it was gone already", undelivered=True))
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
        replies, deaths = link.filenos()
        self.selector.register(replies, selectors.EVENT_READ, lambda: self._replying.append(link))
        self.selector.register(deaths, selectors.EVENT_READ, lambda: self._watch(link))
        self._touched[link] = None

    def _watch(self, link: Link) -> None:
        """Something became of it: if that was its death, nothing is sent to it in this turn."""
        link.watch()
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
        self.flush()
        self.endpoints.clear()
        for link in list(self._links.values()):
            self._close(link)
        self.frontend.close()
        self.selector.close()
        self._context.term()
