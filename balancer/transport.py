"""All sockets of the balancer on one epoll: what arrives becomes events, actions become frames.

The cost of a turn does not grow with the number of idle workers: descriptors are registered once
and only those that are ready are looked at. A ZMQ descriptor tells of changes, not of a state, and
any send or receive may swallow the news (zmq_getsockopt(3), ZMQ_FD); so every socket that was
used is looked at once more before the loop sleeps.
"""

import heapq
import sys
import time
from collections.abc import Callable, Iterable
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
)
from balancer.core.limits import Limits
from balancer.forwarder import Forwarder
from balancer.frontend import Frontend
from balancer.links import Links
from balancer.patience import PatientSelector

STALL_S = 0.02
"""So late a look at the clock is our own fault: what arrived meanwhile is read before it counts."""
SETTLE_S = 0.02
"""How long nothing must arrive after a stall: libzmq's thread may have been paused with us."""
SETTLE_MAX_S = 0.04
"""And so long at most, whatever arrives: what is due waits for it, and promises are 50 ms wide."""


NAP_S = 0.008
"""How long requests may lie unread at the most, while they would only wait for a worker. A large
one comes in many pieces: those of others may delay each by the way of a reply."""


Handle = Callable[[Event], None]


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
        connections_max: int = sys.maxsize,
        on_full: Callable[[int], None] = lambda connections: None,
    ) -> None:
        """``tell_once`` gets the name of a ``once`` request before any worker gets the request,
        which no worker does where the result is False. Beyond ``connections_max`` clients wait to
        be let in, and ``on_full`` is told how many there are."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._context.max_sockets = sockets_max
        self.selector = PatientSelector()
        self.frontend = Frontend(
            limits,
            self.selector,
            self._after,
            life,
            connections_max=connections_max,
            on_full=on_full,
        )
        self.flush: Callable[[], None] = self.frontend.flush
        """Send the answers since the last time, as ``poll`` does."""
        self.links = Links(
            self._context, limits.max_body_bytes, self.selector, self.emit, self._after
        )
        self._numbers = count(1)
        self._events: list[Event] = []
        self._forwarder = Forwarder(
            self.frontend, self.links.open, boot, tell_once, self.emit, self.links.note_undelivered
        )
        self._napping_until = 0.0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._performers: dict[type[Action], Callable[[Any], None]] = {
            Forward: self._forwarder.forward,
            ForwardBatch: self._forwarder.forward_batch,
            Answer: self.frontend.answer,
            Refuse: self.frontend.refuse,
            Forget: self.frontend.forget,
            Released: self.links.release,
        }

    # --- the way in -----------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Let the next ``poll`` hand over this event too."""
        self._events.append(event)

    def poll(self, until: float | None, handle: Handle, *, newcomers_wait: bool = False) -> None:
        """Wait for something to happen, at the longest until that instant, and ``handle`` one event
        after another: it performs what follows from one before it returns. Where newcomers would
        only wait they lie unread for a while, to be read together.

        Whoever lets dates pass when all have come has seen all that arrived before them: a worker
        that replied in time is not late because we were (SIGSTOP, a loaded machine).
        """
        self.flush()
        has_napped = self._wait(until, newcomers_wait)
        self._take_news(handle, requests_first=has_napped and self.frontend.has_priorities)
        if until is not None and time.monotonic() > until + STALL_S:
            self._settle(handle)
        self.flush()
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        if self._events:
            self._take_emitted(handle)

    def _settle(self, handle: Handle) -> None:
        """Read what arrived during a stall, until nothing comes any more or the time is up."""
        end = time.monotonic() + SETTLE_MAX_S
        while (now := time.monotonic()) < end:
            self.flush()
            has_more = self._has_more()
            has_news = self.selector.call_back(0.0 if has_more else min(SETTLE_S, end - now))
            if not has_news and not has_more:
                break
            self._take_news(handle)

    def _wait(self, until: float | None, newcomers_wait: bool) -> bool:
        """Wait until there is something to read, or that instant, and let all of whom there is
        note it: their deaths are known from now on. Whether clients were made to wait. To be woken
        by each of them costs more than to read them, and in the first half of that time it is not
        even asked who of them has news: unless some may be urgent, or need many looks until they
        have asked."""
        patience_s = self._patience_s(until)
        left_s = self._napping_until - time.monotonic() if newcomers_wait else 0.0
        nap_s = left_s if patience_s is None else min(left_s, patience_s)
        if nap_s <= 0:
            self.selector.call_back(patience_s)
            return False
        if left_s <= NAP_S / 2 or self.frontend.has_priorities or self.frontend.beginning:
            self.selector.nap(nap_s)
        elif self.selector.call_back(nap_s, urgent_only=True):
            return True
        self.selector.call_back(self._patience_s(until))
        return True

    def _take_news(self, handle: Handle, *, requests_first: bool = False) -> None:
        """Replies before requests, for they free workers; but among requests that were made to wait
        there may be one that is more urgent than what the worker would get. The very first that
        is, and the end of a client, may so come late, by NAP_S."""
        if self._events:
            self._take_emitted(handle)
        if requests_first:
            self._take_requests(handle)
        self.links.take_replies(handle)
        if self.links.touched:
            self.links.take_rest(handle)
        if not requests_first:
            self.flush()  # for the answers not to wait until all is read
            if self.frontend.readable:
                self._take_requests(handle)

    def _take_requests(self, handle: Handle) -> None:
        self.frontend.read(self._events.append)
        if self._events:
            # Not for each piece of a large request: it would take as many naps to read.
            self._napping_until = time.monotonic() + NAP_S
            self._take_emitted(handle)

    def _take_emitted(self, handle: Handle) -> None:
        events, self._events = self._events, []
        for event in events:
            handle(event)

    def _has_more(self) -> bool:
        """Whether there is something to do that no descriptor will tell of."""
        return bool(self.frontend.readable or self._events or self.links.touched)

    def _patience_s(self, until: float | None) -> float | None:
        if self.frontend.readable or self._events or self.links.touched:  # as ``_has_more``
            return 0.0
        if self._later and (until is None or self._later[0][0] < until):
            until = self._later[0][0]
        return None if until is None else max(0.0, until - time.monotonic())

    # --- the way out ----------------------------------------------------------------------------

    def tell_of(self, kind: type[Action], callback: Callable[[Any], None]) -> None:
        """Call back for every action of this kind, too, after it was performed."""
        perform = self._performers.get(kind, lambda action: None)

        def perform_and_tell(action: Action) -> None:
            perform(action)
            callback(action)

        self._performers[kind] = perform_and_tell

    def perform(self, actions: Iterable[Action]) -> None:
        """Do what the core decided; answers leave with the next ``poll`` or ``flush``, for there
        may be several for a client. Actions that only tell of something are nobody's work here."""
        performer = self._performers.get
        for action in actions:
            perform = performer(type(action))
            if perform is not None:
                perform(action)

    def request_name(self, request: int) -> str:
        """The request's name in logs and for workers; no other balancer process gives it."""
        return self._forwarder.request_name(request)

    # --- later, and the end -------------------------------------------------------------------

    def _after(self, delay_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay_s, next(self._numbers), what))

    def close(self) -> None:
        """Replies on their way get half a second; nothing else is waited for."""
        self.flush()
        self.links.close()
        self.frontend.close()
        self.selector.close()
        self._context.term()
