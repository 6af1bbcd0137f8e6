"""The client: ask the balancer and get the answer or a typed error; threads may share it.

There is no thread behind it. One of the callers that wait, the leader, watches the sockets for all
of them and hands the others their answers; when it has its own, it appoints its successor.
"""

import os
import select
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any

from balancer.connection import Call, Connection, Request
from balancer.errors import error_for
from balancer.mapping import Plan
from balancer.wire import Reply

if TYPE_CHECKING:
    from balancer.async_client import AsyncClient

__all__ = ["DEFAULT_ADDRESS", "AsyncClient", "Client"]

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"


def __getattr__(name: str) -> Any:
    """AsyncClient on demand, for asyncio takes longer to import than all the rest."""
    if name == "AsyncClient":
        from balancer.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Waiter:
    """A thread that waits for its calls; what comes to its inbox wakes it."""

    __slots__ = ("inbox",)

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Call[_Waiter] | None] = SimpleQueue()
        """Its calls that ended; None says: look who leads."""

    def take(self, timeout_s: float | None = 0.0) -> "Call[_Waiter] | None":
        """The next call that ended, if one comes in time; None may also come early."""
        try:
            return self.inbox.get(timeout_s != 0.0, timeout_s)
        except Empty:
            return None


class Client:
    """One connection to a balancer; when it is lost the next one of the addresses is asked.

    ``timeout`` in seconds is the total time of a call that names none of its own. Close it, or use
    it as a context manager; a closed client cannot be used again.
    """

    def __init__(
        self, address: str | Sequence[str] = DEFAULT_ADDRESS, *, timeout: float = 30.0
    ) -> None:
        """ValueError if an address is none. Does not wait: whether a balancer is there shows when
        it is asked."""
        addresses = [address] if isinstance(address, str) else address
        self._timeout_s = timeout
        self._connection: Connection[_Waiter] = Connection(addresses, monotonic())
        self._lock = threading.Lock()
        """Guards everything below and the connection; never held while waiting."""
        self._leader: _Waiter | None = None
        self._followers: dict[_Waiter, None] = {}
        self._is_asleep = False
        self._sleeps_until = 0.0
        self._poll = select.poll()
        self._polled_generation = 0
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- asking ---------------------------------------------------------------------------------

    def call(
        self,
        payload: Any,
        *,
        timeout: float | None = None,
        once: bool = False,
        route: str | None = None,
        key: str | None = None,
    ) -> Any:
        """The answer to ``payload``; a ClusterError says why there is none.

        ``once``: never run it twice, even where that means to give up. ``route`` and ``key`` say
        which workers may take it. What msgpack cannot carry is a TypeError, ValueError or
        OverflowError at once.
        """
        reply = self.send(payload, timeout=timeout, once=once, route=route, key=key)
        if reply.status != 200:
            raise error_for(reply)
        return reply.body

    def send(
        self,
        payload: Any,
        *,
        timeout: float | None = None,
        once: bool = False,
        route: str | None = None,
        key: str | None = None,
    ) -> Reply:
        """As ``call``, but the whole reply, whatever its status."""
        timeout_s = self._timeout_s if timeout is None else timeout
        request = Request.pack(payload, timeout_s=timeout_s, once=once, route=route, key=key)
        waiter = _Waiter()
        call = self._submit(request, waiter)
        try:
            self._wait(waiter)
        finally:
            if call.answer is None:
                self._forget([call])
        return call.reply()

    def map(
        self,
        payloads: Iterable[Any],
        *,
        timeout: float | None = None,
        once: bool = False,
        route: str | None = None,
        key: str | None = None,
        window: int = 64,
    ) -> Iterator[Any]:
        """The answers to many payloads, in their order, with up to ``window`` of them under way.

        ``timeout`` is the time of each item. An item that had too little of it, or no room,
        because of the others is sent again with fewer at a time; one that fails by itself raises
        its ClusterError when its turn comes.
        """
        timeout_s = self._timeout_s if timeout is None else timeout
        plan: Plan[Any] = Plan(window=window, timeout_s=timeout_s, once=once)

        def pack(payload: Any) -> Request:
            return Request.pack(payload, timeout_s=timeout_s, once=once, route=route, key=key)

        return self._map(plan, map(pack, payloads))

    def _map(self, plan: Plan[Request], requests: Iterator[Request]) -> Iterator[Any]:
        waiter = _Waiter()
        under_way: dict[Call[_Waiter], int] = {}
        try:
            while not plan.is_done:
                for reply in plan.take_answers():
                    if reply.status != 200:
                        raise error_for(reply)
                    yield reply.body
                if plan.wants_item(monotonic()):
                    plan.offer(requests)
                while (item := plan.next_item(monotonic())) is not None:
                    number, request = item
                    under_way[self._submit(request, waiter)] = number
                if under_way and not plan.wants_item(monotonic()):
                    call = self._wait(waiter, plan.resumes_at)
                    while call is not None:
                        plan.ended(under_way.pop(call), call.reply(), monotonic())
                        call = waiter.take()
        finally:
            self._forget(under_way)

    def close(self) -> None:
        """Calls that other threads still wait for end with ``Unavailable``."""
        with self._lock:
            if self._connection.is_closed:
                return
            self._deliver(self._connection.close())
            if self._leader is None:
                self._close_pipe()
            else:
                self._wake_leader()

    # --- waiting --------------------------------------------------------------------------------

    def _submit(self, request: Request, waiter: _Waiter) -> Call[_Waiter]:
        now = monotonic()
        with self._lock:
            if self._connection.is_closed:
                raise RuntimeError("the client is closed")
            call = self._connection.submit(request, waiter, now)
            try:
                self._advance(now)
            except BaseException:
                # Ctrl-C: the caller will never hear of this call.
                self._connection.forget(call)
                raise
        return call
