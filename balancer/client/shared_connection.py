"""One connection for many threads, without a thread of its own.

One of the threads that wait, the leader, sleeps on the sockets for all of them and hands the others
what is theirs; when it has its own, it appoints one of them its successor. A thread that is alone
leads itself, so that its call costs neither a hop nor a second thread.
"""

import contextlib
import math
import os
import select
import threading
from collections.abc import Iterable, Sequence
from queue import Empty, SimpleQueue
from time import monotonic

from balancer.client.calls import Call, Request
from balancer.client.connection import Connection

SLEEP_MAX_S = 1.0
"""A signal that comes between Python's last look and the sleep does not end the sleep: Ctrl-C is
noticed by the look that follows."""


class Waiter:
    """A thread that waits for its calls; what comes to its inbox wakes it as a follower."""

    __slots__ = ("inbox",)

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Call[Waiter] | None] = SimpleQueue()
        """Its calls that ended, some perhaps twice; None says that it leads from now on."""

    def take(self) -> "Call[Waiter] | None":
        """The next call that has ended, if there is one."""
        with contextlib.suppress(Empty):
            while (call := self.inbox.get_nowait()) is None:
                pass
            return call
        return None

    def sleep(self, until: float) -> "Call[Waiter] | None":
        """Until then, or less long."""
        with contextlib.suppress(Empty):
            return self.inbox.get(timeout=_pause_s(until))
        return None


class SharedConnection:
    """What ``Client`` is made of: any thread may call any method at any time."""

    def __init__(self, address: str | Sequence[str]) -> None:
        """TypeError or ValueError if it is none."""
        self._connection: Connection[Waiter] = Connection(address, monotonic())
        # Guards everything here, and is never held by a thread that sleeps.
        self._lock = threading.Lock()
        self._leader: Waiter | None = None
        self._followers: dict[Waiter, None] = {}
        self._poll = select.poll()
        self._polled_generation = 0
        self._sleeps_until: float | None = None
        """Set while the leader sleeps."""
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    def submit(self, request: Request, waiter: Waiter) -> Call[Waiter]:
        """Send a request; then ``wait``, and ``forget`` it if its answer is not wanted any more.

        RuntimeError if the connection is closed.
        """
        now = monotonic()
        with self._lock:
            if self._connection.is_closed:
                raise RuntimeError("the client is closed")
            call = self._connection.submit(request, waiter, now)
            try:
                self._advance(now)
            except BaseException:
                # A signal handler raised: the caller will never learn of this call.
                self._connection.forget(call)
                raise
        return call

    def wait(self, waiter: Waiter, until: float = math.inf) -> Call[Waiter] | None:
        """One of the waiter's calls, as soon as one has ended, or None at ``until``."""
        try:
            while (call := waiter.take()) is None and monotonic() < until:
                if self._leads(waiter):
                    self._watch(waiter, until)
                elif (call := waiter.sleep(until)) is not None:
                    return call
            return call
        finally:
            try:
                self._leave(waiter)
            except BaseException:
                # A second Ctrl-C, or a late one: without a successor everybody else would sleep on.
                self._leave(waiter)
                raise

    def forget(self, calls: Iterable[Call[Waiter]]) -> None:
        """Nobody waits for these any more."""
        with self._lock:
            for call in calls:
                self._connection.forget(call)

    def close(self) -> None:
        """Calls that other threads wait for end here, with a reply that says so."""
        with self._lock:
            if self._connection.is_closed:
                return
            self._connection.close()
            self._deliver()
            if self._leader is None:
                self._close_pipe()
            else:
                self._wake_leader()

    # --- leading --------------------------------------------------------------------------------

    def _leads(self, waiter: Waiter) -> bool:
        with self._lock:
            if self._leader is None:
                self._leader = waiter
                self._followers.pop(waiter, None)
            elif self._leader is not waiter:
                self._followers[waiter] = None
            return self._leader is waiter

    def _leave(self, waiter: Waiter) -> None:
        with self._lock:
            self._followers.pop(waiter, None)
            if self._leader is not waiter:
                return
            successor = next(iter(self._followers), None)
            if successor is not None:
                successor.inbox.put(None)
            self._leader = successor
            if successor is None and self._connection.is_closed:
                self._close_pipe()

    def _watch(self, leader: Waiter, until: float) -> None:
        """As the leader: sleep until something happens to the connection, and let it work."""
        with self._lock:
            if not leader.inbox.empty():
                return
            self._follow_sockets()
            until = min(until, self._connection.next_deadline())
            pause_s = 0.0 if self._connection.has_news() else _pause_s(until)
            self._sleeps_until = until
        try:
            events = self._poll.poll(pause_s * 1000)
        finally:
            self._sleeps_until = None
        with self._lock:
            if any(descriptor == self._wake_reader for descriptor, _ in events):
                os.read(self._wake_reader, 4096)
            self._advance(monotonic())

    def _advance(self, now: float) -> None:
        self._connection.advance(now)
        self._deliver()
        if self._sleeps_until is not None and self._must_wake_leader(self._sleeps_until):
            self._wake_leader()

    def _deliver(self) -> None:
        ended = self._connection.ended
        while ended:
            ended[0].owner.inbox.put(ended[0])
            ended.popleft()  # only now: better told twice than never, see Connection.ended

    def _must_wake_leader(self, sleeps_until: float) -> bool:
        """Whether the leader sleeps on what another thread has dealt with, closed or swallowed."""
        return (
            (self._leader is not None and not self._leader.inbox.empty())
            or self._polled_generation != self._connection.generation
            or self._connection.next_deadline() < sleeps_until
            or self._connection.has_news()
        )

    def _wake_leader(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"\0")

    def _follow_sockets(self) -> None:
        if self._polled_generation == self._connection.generation:
            return
        poll = select.poll()
        for descriptor in (self._wake_reader, *self._connection.filenos()):
            poll.register(descriptor, select.POLLIN)
        self._poll = poll
        self._polled_generation = self._connection.generation

    def _close_pipe(self) -> None:
        os.close(self._wake_reader)
        os.close(self._wake_writer)


def _pause_s(until: float) -> float:
    return min(max(0.0, until - monotonic()), SLEEP_MAX_S)
