"""The client for asyncio, with the names of the other one; sockets on the loop, no task behind."""

import asyncio
import math
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Unpack

from balancer.client.async_mapping import AsyncCall, AsyncMap
from balancer.client.blocking import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_S
from balancer.client.calls import Request, Wishes, check_seconds
from balancer.client.connection import Connection
from balancer.client.mapping import WINDOW, Plan
from balancer.errors import error_for
from balancer.wire.reply import Reply


class AsyncClient:
    """As ``Client``, for the tasks of one event loop: the one that makes the first call."""

    def __init__(
        self,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """TypeError or ValueError if an address is none, or the timeout. Whether a balancer is
        there shows at the first call."""
        check_seconds("timeout", timeout)
        self._timeout_s = timeout
        self._connection: Connection[asyncio.Future[None]] = Connection(address, monotonic())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched: tuple[int, ...] = ()
        self._watched_generation = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    async def call(
        self,
        payload: Any,
        *,
        timeout: float | None = None,
        once: bool = False,
        id: bytes | str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Any:
        """The answer to ``payload``, or a ClusterError that says why there is none.

        Cancelling it drops the request: whether it runs is up to the balancer, its answer is lost.
        """
        reply = await self.send(payload, timeout=timeout, once=once, id=id, **wishes)
        if reply.status != 200:
            raise error_for(reply)
        return reply.body

    async def send(
        self,
        payload: Any,
        *,
        timeout: float | None = None,
        once: bool = False,
        id: bytes | str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Reply:
        """As ``call``, but the whole reply, whatever its status."""
        timeout_s = self._timeout_s if timeout is None else timeout
        request = Request.pack(payload, timeout_s=timeout_s, once=once, id=id, **wishes)
        call = self._submit(request)
        try:
            await call.owner
        finally:
            self._connection.forget(call)
        return call.reply()

    def map(
        self,
        payloads: Iterable[Any] | AsyncIterable[Any],
        *,
        timeout: float | None = None,
        once: bool = False,
        window: int = WINDOW,
        return_exceptions: bool = False,
        **wishes: Unpack[Wishes],
    ) -> AsyncIterator[Any]:
        """As that of ``Client``; the payloads may come from an asynchronous iterable."""
        timeout_s = self._timeout_s if timeout is None else timeout
        plan: Plan[Request] = Plan(
            window=window, timeout_s=timeout_s, once=once, goes_on=return_exceptions
        )

        def pack(payload: Any) -> Request:
            return Request.pack(payload, timeout_s=plan.timeout_s, once=once, **wishes)

        forget = self._connection.forget
        steps = AsyncMap(plan, payloads, pack=pack, submit=self._submit, forget=forget)
        return steps.answers(return_exceptions)

    async def close(self) -> None:
        """Calls that other tasks still wait for end with ``Unavailable``."""
        if self._connection.is_closed:
            return
        self._connection.close()
        self._tell()
        self._follow_sockets()
        if self._timer is not None:
            self._timer.cancel()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # --- on the loop ----------------------------------------------------------------------------

    def _submit(self, request: Request) -> AsyncCall:
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RuntimeError("the client belongs to another event loop")
        if self._connection.is_closed:
            raise RuntimeError("the client is closed")
        self._loop = loop
        call = self._connection.submit(request, loop.create_future(), monotonic())
        self._advance()
        return call

    def _advance(self) -> None:
        self._connection.advance(monotonic())
        self._tell()
        self._follow_sockets()
        if self._connection.has_news():
            self._set_timer(-math.inf)
        else:
            self._set_timer(self._connection.next_deadline())

    def _tell(self) -> None:
        ended = self._connection.ended
        while ended:
            if not ended[0].owner.done():  # as it is where the call was cancelled just now
                ended[0].owner.set_result(None)
            ended.popleft()

    def _follow_sockets(self) -> None:
        if self._loop is None or self._watched_generation == self._connection.generation:
            return
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)
        self._watched = self._connection.filenos()
        for descriptor in self._watched:
            self._loop.add_reader(descriptor, self._advance)
        self._watched_generation = self._connection.generation

    def _set_timer(self, when: float) -> None:
        # One that comes early finds nothing to do and sets the next: to move it back with every
        # answer would cost more.
        if self._loop is None or when >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_later(max(0.0, when - monotonic()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer_at = math.inf
        self._advance()
